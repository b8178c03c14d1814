"""The training loop of all torch recipes: phases of epochs, a checkpoint after each epoch, resumable."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from acoustic_kit.data.clips import ALL_TARGETS, FitResult, Fold
from acoustic_kit.errors import AkitError
from acoustic_kit.files import write_atomically
from acoustic_kit.metrics.names import beside, get_metric, validate_metric
from acoustic_kit.metrics.scores import score_or_nan
from acoustic_kit.training.allocator import keep_freed_memory
from acoustic_kit.training.average import WeightAverage, recompute_statistics
from acoustic_kit.training.batch import Batch, Loss
from acoustic_kit.training.batches import Batches, Loader
from acoustic_kit.training.checkpoint import (
    load_state,
    load_tensors,
    optimizer_tensors,
    restore_optimizer,
    save_tensors,
)
from acoustic_kit.training.clip_rng import digest64
from acoustic_kit.training.evaluation import accuracy, logits_of, to_probabilities
from acoustic_kit.training.fabric import compiled, make_fabric, suggesting_micro_batch, sum_over_processes, use_fused
from acoustic_kit.training.loss_scale import LossScale
from acoustic_kit.training.losses import TargetLoss, default_loss
from acoustic_kit.training.sam import Sam
from acoustic_kit.training.schedules import Plateau, Progress, Schedule
from acoustic_kit.training.shared_norm import share_batch_norm


@dataclass(frozen=True)
class Phase:
    """Some epochs under one learning-rate schedule."""

    epochs: int
    schedule: Schedule
    patience: int | None = None  # epochs without a better validation loss before it stops; the run is `optimistic`
    beta1: Schedule | None = None  # of Adam and its variants; None leaves the optimizer's
    from_best: bool = False  # start from the weights kept so far, and choose those to keep again

    @property
    def looks_at_validation(self) -> bool:
        """Whether the fold that a run is scored on decides the length or the rate of training."""
        return self.patience is not None or isinstance(self.schedule, Plateau)


@dataclass
class _State:
    """State of a stage beside the tensors."""

    phase: int = 0
    epoch: int = 0  # done, in this phase
    done: bool = False
    best: float = -math.inf  # of the figure by which the checkpoint is kept; higher is better
    best_loss: float = math.inf  # of this phase, for patience
    waited: int = 0  # epochs without a better validation loss
    history: list[dict[str, float]] = field(default_factory=list)  # one line of `log.jsonl` per epoch
    scale: dict[str, float] = field(default_factory=dict)  # of the loss, in float16


def fit(
    fold: Fold,
    stage: str,
    net: nn.Module,
    *,
    batches: Batches,
    phases: Sequence[Phase],
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    loss: Loss | None = None,
    keep: str = "last",
    clip_norm: float | None = None,
    ema: float | None = None,
    swa: int | None = None,
    micro_batch: int | None = None,
    sam: float | None = None,
    valid_batches: Sequence[Batches] = (),
) -> FitResult:
    """Train a network on one fold. The same call resumes a stopped training, and returns at once after a finished one.

    >>> def train(fold, s):
    ...     net, phases = build_model(s, fold.n_classes), [Phase(s.epochs, cosine(s.lr))]
    ...     return akit.fit(fold, "net", net, batches=batches(s), phases=phases, optimizer=torch.optim.AdamW)

    All state is written after each epoch. On a CPU a resumed training ends with the same weights, bit for bit, as an
    uninterrupted one.

    Parameters
    ----------
    stage : name of the checkpoints; two stages of one fold are two calls
    net : maps the inputs of `batches`, x (clips, …) and a side input if there is one, to logits (clips, classes)
    optimizer : makes the optimizer; the schedules of the phases set its learning rate before every step
    loss : of logits and targets; the default is cross entropy, or its binary form in multi-label tasks. A `TargetLoss`
        is also given soft and unknown targets, and weights if there are any, unless `batches` has a `batch_augment`
    keep : epoch whose weights are returned: `last`; or the best one by `valid_loss`, by the workspace's metric
        (`valid_metric`) or by a named metric (`accuracy`), which makes the run `optimistic`: the fold that it is scored
        on decides
    clip_norm : largest norm of the gradient, in both of SAM's passes
    ema : decay of an exponential moving average of the weights (see `WeightAverage`), which is then validated and
        returned. Before its weights are kept, statistics of batch normalization are recomputed for them in one more
        pass over the training clips: in the last epoch, or in each if the best one is kept
    swa : first epoch of stochastic weight averaging, instead of `ema`; see `WeightAverage`
    micro_batch : clips per forward pass, in each process; gradients are accumulated to those of the whole batch, except
        through layers that depend on the batch, such as batch normalization
    sam : ρ of sharpness-aware minimization (see `Sam`), two passes per step; None is the optimizer's own step
    valid_batches : validate on these instead of `batches`, cut at places drawn in every epoch; losses and probabilities
        are averaged over them

    If torchrun started several processes, each makes this call and trains on its part of every batch. Their steps are
    those of one process, except for rounding and dropout, which each process draws separately.

    Returns the network in evaluation mode, on the device that the run uses, with the reasons why the score of the fold
    is biased upward: the fold decided which epoch is kept, how long training took, or its rate.

    """
    training = _Training(
        fold, stage, net, batches, phases, optimizer, loss or default_loss(fold.train.task), keep, clip_norm, ema,
        swa, micro_batch, sam, valid_batches,
    )  # fmt: skip
    bias_warnings = []
    if keep != "last":
        if fold.valid is None:
            raise AkitError(f"keep={keep!r} needs a validation fold; with --full, use --set checkpoint=last.")
        bias_warnings.append(f"{stage}: kept the epoch that was best on the fold it is scored on")
    if any(phase.looks_at_validation for phase in phases):
        if fold.valid is None:
            raise AkitError("This schedule needs a validation fold, and --full has none.")
        bias_warnings.append(f"{stage}: its rate or its end was decided by the fold it is scored on")
    notes = (f"{stage}: trained through torch.compile",) if fold.compute.compile else ()
    return FitResult(training.run(), tuple(bias_warnings), notes, frozenset() if training.hard else ALL_TARGETS)


@dataclass
class _Training:
    """A stage in progress. Tensors are in `net`, `average` and `optimizer`, everything else in `state`."""

    fold: Fold
    stage: str
    given: nn.Module
    batches: Batches
    phases: Sequence[Phase]
    make_optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    loss: Loss
    keep: str
    clip_norm: float | None
    ema: float | None
    swa: int | None
    micro_batch: int | None
    rho: float | None
    valid_batches: Sequence[Batches]
    state: _State = field(default_factory=_State)

    def __post_init__(self) -> None:
        self.fabric = make_fabric(self.fold.compute)
        self.scale = LossScale(self.fabric)
        self.rank, self.world = self.fabric.global_rank, self.fabric.world_size
        if self.fabric.device.type == "cpu":
            keep_freed_memory()
        self.bare = self.given
        if self.world > 1:  # the returned network keeps its own layers
            self.bare = share_batch_norm(deepcopy(self.given), self.fabric.device)
        if self.fabric.device.type == "cuda":
            self.bare.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the format of tensor cores
        optimizer = use_fused(self.make_optimizer(self.bare.parameters()), self.fabric.device)
        self.net, self.optimizer = self.fabric.setup(self.bare, optimizer)
        self.sam = None if self.rho is None else Sam(self.optimizer, self.rho)
        self.average = WeightAverage(self.bare, self.ema, swa=self.swa) if self.ema or self.swa else None
        self.folder: Path = self.fold.folder / self.stage
        self.hard = not isinstance(self.loss, TargetLoss) or self.batches.batch_augment is not None
        named = None if self.keep in {"last", "valid_loss", "valid_metric"} else self.keep
        self.kept_metric = beside(named or self.fold.metric, self.fold.metric)
        validate_metric(self.kept_metric, self.fold.train.task)

    def run(self) -> nn.Module:
        """Train the remaining epochs, and return the network with the kept weights."""
        self._restore()
        if not self.state.done:
            place = (self.fabric.device, self.rank, self.world, self.hard)
            train = self.batches.open(self.fold.train, *place)
            forms = self.valid_batches or [self.batches]
            valid = [form.open(self.fold.valid, *place) for form in forms] if self.fold.valid else []
            with compiled(self.bare, enabled=self.fold.compute.compile):
                self._run_phases(train, valid)
            self.state.done = True
            self._save()
        self.given.load_state_dict(self._kept(len(self.phases) - 1))
        return self.given.to(self.fabric.device).eval()

    def _run_phases(self, train: Loader, valid: Sequence[Loader]) -> None:
        while self.state.phase < len(self.phases):
            phase = self.phases[self.state.phase]
            if phase.from_best and self.state.epoch == 0:
                self._start_from(self._kept(self.state.phase - 1))
            self._run_phase(phase, train, valid)
            self.state.phase += 1
            self.state.epoch, self.state.best_loss, self.state.waited = 0, math.inf, 0

    def _kept(self, phase: int) -> dict[str, torch.Tensor]:
        """Read, in all processes, the weights that the first one stored."""
        self.fabric.barrier()
        weights = load_tensors(self._kept_path(phase))
        self.fabric.barrier()  # from here on they may be deleted
        return weights

    def _kept_path(self, phase: int) -> Path:
        """Return the file of the weights kept by the end of a phase, chosen since the last phase with `from_best`."""
        choice = sum(p.from_best for p in self.phases[: phase + 1])
        return self.folder / f"kept{choice or ''}.safetensors"

    def _start_from(self, weights: dict[str, torch.Tensor]) -> None:
        self.bare.load_state_dict(weights)
        if self.average is not None:
            self.average.module.load_state_dict(weights)
        self.state.best = -math.inf

    def _run_phase(self, phase: Phase, train: Loader, valid: Sequence[Loader]) -> None:
        while self.state.epoch < phase.epochs and (phase.patience is None or self.state.waited < phase.patience):
            began = time.monotonic()
            key = f"{self.fold.seed}/{self.stage}/{self.state.phase}/{self.state.epoch}"
            torch.manual_seed(digest64(f"{key}/rank {self.rank}" if self.rank else key) >> 1)  # dropout
            epoch = len(self.state.history) + 1
            figures = self._train_epoch(phase, train.training(key, epoch), len(train))
            if self.average is not None:
                self.average.after_epoch(self.bare, epoch)
            if self.average is not None and self._may_be_kept(phase):
                self._recompute_statistics(self.average.module, train.training(f"{key}/statistics", epoch))
            train_seconds = time.monotonic() - began
            if valid:
                figures |= self._validate(valid, key)
            figures = self.fabric.broadcast(figures)  # so that all processes decide equally
            self.state.epoch += 1
            self._keep(figures)
            self._note(figures, {"train_seconds": train_seconds, "seconds": time.monotonic() - began})
            self._save()

    def _may_be_kept(self, phase: Phase) -> bool:
        """Return whether the epoch that was just trained may be the last of the phase, or the best."""
        return self.keep != "last" or phase.patience is not None or self.state.epoch + 1 == phase.epochs

    def _recompute_statistics(self, net: nn.Module, batches: Iterator[Batch]) -> None:
        def inputs() -> Iterator[tuple[torch.Tensor, ...]]:
            for batch in batches:
                parts = self._weight_and_parts(batch)[1]
                yield from zip(*(tensor.tensor_split(parts) for tensor in batch.inputs), strict=True)

        with self.fabric.autocast():
            recompute_statistics(net, inputs())

    def _train_epoch(self, phase: Phase, batches: Iterator[Batch], n_batches: int) -> dict[str, float]:
        """Train one epoch. Return loss and accuracy, means over clips as they were trained on."""
        self.net.train()
        total, clips = torch.zeros(2, device=self.fabric.device), 0  # summed on the device: no synchronization per step
        losses = tuple(
            e["valid_loss"] for e in self.state.history if "valid_loss" in e and e["phase"] == self.state.phase
        )
        for number, batch in enumerate(batches):
            progress = Progress(self.state.epoch * n_batches + number, n_batches, phase.epochs, losses)
            for group in self.optimizer.param_groups:
                group["lr"] = phase.schedule(progress)
                if phase.beta1 is not None:
                    group["betas"] = (phase.beta1(progress), group["betas"][1])
            clips_of_all = batch.whole or len(batch)
            total += self._step(batch) * clips_of_all
            clips += clips_of_all
        total = sum_over_processes(self.fabric, total) / self.world
        loss, right = total.tolist()
        self.scale.require_finite(loss, self.stage)
        return {"train_loss": loss / clips, "train_accuracy": right / clips}

    def _step(self, batch: Batch) -> torch.Tensor:
        """Take a step of the optimizer. Return what `_gradients` does, for the weights before the step."""
        figures = self._gradients(batch)
        if self.sam is None:
            self.optimizer.step()
            self.optimizer.zero_grad()
        else:
            self.sam.ascend(enabled=self.scale.end_pass())
            self._gradients(batch)
            self.sam.descend()
        if self.average is not None:
            self.average.after_step(self.bare)
        return figures

    def _gradients(self, batch: Batch) -> torch.Tensor:
        """Write the clipped gradients of the whole batch, without the loss scale, to the parameters.

        Return this process's part of its mean loss and accuracy, (2,): the mean over processes is that of all clips.
        """
        total = torch.zeros(2, device=batch.x.device)
        weight, parts = self._weight_and_parts(batch)
        given = (batch.targets,) if batch.weights is None else (batch.targets, batch.weights)
        split = [tensor.tensor_split(parts) for tensor in (*batch.inputs, *given)]
        with suggesting_micro_batch(math.ceil(len(batch) / parts)):
            for number, tensors in enumerate(zip(*split, strict=True), start=1):
                inputs, (targets, *weights) = tensors[: len(batch.inputs)], tensors[len(batch.inputs) :]
                with self.fabric.no_backward_sync(self.net, enabled=number < parts):
                    logits, fraction = self.net(*inputs), weight * len(targets) / len(batch)
                    loss = (batch.loss or self.loss)(logits, targets, *weights) * fraction
                    self.fabric.backward(loss)
                known = logits.detach()[:, : targets.shape[1]]  # a network may have more outputs than classes
                right = accuracy(known, targets, self.fold.train.task) * fraction
                total += torch.stack([loss.detach().float(), right])
        self.scale.unscale_and_clip(self.net, self.optimizer, self.clip_norm)
        return total

    def _weight_and_parts(self, batch: Batch) -> tuple[float, int]:
        """Return the weight of this process's clips in the mean over processes, and the number of micro-batches.

        That number is the same in all processes, which synchronize in layers that depend on the whole batch, and no
        micro-batch is empty.
        """
        n, whole = len(batch), batch.whole or len(batch)
        micro_batch = self.micro_batch or whole
        if n == whole:  # the only process, or a batch with fewer clips than processes
            return 1.0, math.ceil(n / micro_batch)
        largest, smallest = math.ceil(whole / self.world), whole // self.world
        return n * self.world / whole, min(math.ceil(largest / micro_batch), smallest)

    def _validate(self, valid: Sequence[Loader], key: str) -> dict[str, float]:
        """Compute loss and metrics on the validation clips."""
        assert self.fold.valid is not None
        task = self.fold.valid.task
        crops = [one.crops(f"{key}/valid {i}" if self.valid_batches else None) for i, one in enumerate(valid)]
        logits = [logits_of(self._validated, one, self.fabric, of) for one, of in zip(valid, crops, strict=True)]
        weights = () if valid[0].weights is None else (valid[0].weights,)
        losses = [self.loss(one, valid[0].targets, *weights).item() for one in logits]
        probabilities = torch.stack([to_probabilities(one, task) for one in logits]).double().mean(dim=0).cpu().numpy()
        figures = {"valid_loss": sum(losses) / len(losses)}
        wanted = dict.fromkeys((self.fold.metric, self.kept_metric))
        scores = {metric: score_or_nan(metric, self.fold.valid.scored, probabilities) for metric in wanted}
        figures |= {f"valid_{metric}": value for metric, value in scores.items() if not math.isnan(value)}
        right = accuracy(torch.from_numpy(probabilities), valid[0].targets.cpu(), task, threshold=0.5)
        return figures | {"valid_accuracy": right.item()}

    @property
    def _validated(self) -> nn.Module:
        """The network that is validated and kept: the average if there is one."""
        return self.bare if self.average is None else self.average.module

    def _keep(self, figures: dict[str, float]) -> None:
        """Store the weights if they are those to return so far."""
        if self.keep != "last":
            key = "valid_loss" if self.keep == "valid_loss" else f"valid_{self.kept_metric}"
            sign = -1 if self.keep == "valid_loss" else get_metric(self.kept_metric).sign
            figure = sign * figures.get(key, math.nan)
            if figure <= self.state.best:  # while the metric is undefined, each epoch replaces the one before
                return
            self.state.best = figure
        if self.fabric.is_global_zero:
            save_tensors(self._kept_path(self.state.phase), self._validated.state_dict())

    def _note(self, figures: dict[str, float], times: dict[str, float]) -> None:
        """Append the figures of the epoch to the log, and report them."""
        if "valid_loss" in figures:
            better = figures["valid_loss"] < self.state.best_loss
            self.state.waited = 0 if better else self.state.waited + 1
            self.state.best_loss = min(self.state.best_loss, figures["valid_loss"])
        now = {"epoch": len(self.state.history) + 1, "phase": self.state.phase}
        self.state.history.append({**now, "lr": self.optimizer.param_groups[0]["lr"], **figures, **times})
        if self.fabric.is_global_zero:
            write_atomically(self.folder / "log.jsonl", "".join(json.dumps(e) + "\n" for e in self.state.history))
        done = sum(p.epochs for p in self.phases[: self.state.phase]) + self.state.epoch
        self.fold.on_epoch(self.stage, done, sum(p.epochs for p in self.phases), figures)

    def _save(self) -> None:
        self.state.scale = self.scale.state_dict()
        tensors = {f"net.{name}": tensor for name, tensor in self.bare.state_dict().items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(self.optimizer).items()}
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        if self.fabric.is_global_zero:
            save_tensors(self.folder / "state.safetensors", tensors, asdict(self.state))

    def _restore(self) -> None:
        path = self.folder / "state.safetensors"
        if not path.exists():
            return
        self.state = _State(**load_state(path))
        self.scale.load_state_dict(self.state.scale)
        parts: dict[str, dict[str, torch.Tensor]] = {"net": {}, "optimizer": {}, "average": {}}
        for name, tensor in load_tensors(path).items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        self.bare.load_state_dict(parts["net"])
        restore_optimizer(self.optimizer.optimizer, parts["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(parts["average"])
