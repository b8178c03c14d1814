"""The training loop: phases of epochs, a checkpoint after each, resumable, one for every torch recipe."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from acoustic_kit.atomic_write import write_atomically
from acoustic_kit.errors import AkitError
from acoustic_kit.fold import Clips, Fold, Task
from acoustic_kit.metrics import score, validate_metric
from acoustic_kit.training.allocator import keep_freed_memory
from acoustic_kit.training.batches import Batch, Batches, Loader, Loss
from acoustic_kit.training.checkpoint import (
    load_state,
    load_tensors,
    optimizer_tensors,
    restore_optimizer,
    save_tensors,
)
from acoustic_kit.training.draws import digest64
from acoustic_kit.training.sam import Sam, frozen_statistics
from acoustic_kit.training.schedules import Plateau, Progress, Schedule

View = Callable[[torch.Tensor], torch.Tensor]  # x → x


@dataclass(frozen=True)
class Phase:
    """Some epochs under one learning-rate schedule."""

    epochs: int
    schedule: Schedule
    patience: int | None = None  # epochs without a better validation loss, then stop; makes the run `optimistic`
    beta1: Schedule | None = None  # of Adam and its kin, where it is cycled too; else as the optimiser was made
    from_best: bool = False  # start from the weights that are kept so far, and choose those to keep anew

    @property
    def looks_at_validation(self) -> bool:
        """Whether the fold that a run is scored on decides how long, or at which rate, it trains."""
        return self.patience is not None or isinstance(self.schedule, Plateau)


@dataclass
class _State:
    """What a resumed stage needs to know beside the tensors."""

    phase: int = 0
    epoch: int = 0  # done, in this phase
    done: bool = False
    best: float = -math.inf  # of the figure by which the checkpoint is kept; more is better
    best_loss: float = math.inf  # of this phase, for patience
    waited: int = 0  # epochs without a better validation loss
    history: list[dict[str, float]] = field(default_factory=list)  # a line of `log.jsonl` an epoch


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
    micro_batch: int | None = None,
    sam: float | None = None,
    sam_statistics: Literal["both", "first"] = "both",
    valid_batches: Sequence[Batches] = (),
) -> nn.Module:
    """Train a network on one fold; the same call goes on where it was stopped, and returns at once when it is finished.

    After each epoch all state is on disk. On a CPU a resumed training ends with the same weights, bit for bit, as one
    that was not stopped.

    Parameters
    ----------
    stage : names the checkpoints; two stages of one fold are two calls
    net : maps the inputs of `batches`, x (clips, …) and a side input where there is one, to logits (clips, classes)
    optimizer : makes the optimiser; its learning rate is set by the phases' schedules before every step
    loss : of logits and targets; the default is cross entropy, or its binary form for several labels a clip
    keep : which weights are returned: `last`, those after the last epoch; or those after the best one by `valid_loss`,
        by the workspace's metric (`valid_metric`) or by a metric that is named (`accuracy`), which makes the run
        `optimistic`: it looked at the fold that it is scored on
    clip_norm : the gradient's norm is cut to this, in both of SAM's passes
    ema : decay of an exponential moving average of the weights, which is then what is validated and returned
    micro_batch : clips that go through the network at once; gradients add up to those of the whole batch (but for
        layers that look at the batch, such as batch normalisation)
    sam : ρ of sharpness-aware minimisation (see `Sam`), two passes a step; None is the optimiser's own step
    sam_statistics : in which of SAM's passes batch normalisation moves its running statistics
    valid_batches : validate on these instead of `batches`, each cut at places drawn anew every epoch; losses and
        probabilities are averaged over them

    Returns the network in evaluation mode, on the device that the run uses.

    """
    training = _Training(
        fold, stage, net, batches, phases, optimizer, loss or default_loss(fold.train.task), keep, clip_norm, ema,
        micro_batch or batches.batch_size, sam, sam_statistics, valid_batches,
    )  # fmt: skip
    if keep != "last":
        if fold.valid is None:
            raise AkitError(f"keep={keep!r} needs a validation fold; with --full, use --set checkpoint=last.")
        fold.optimistic.append(f"{stage}: kept the epoch that was best on the fold it is scored on")
    if any(phase.looks_at_validation for phase in phases):
        if fold.valid is None:
            raise AkitError("This schedule looks at a validation fold, which --full leaves out.")
        fold.optimistic.append(f"{stage}: its rate or its end was decided by the fold it is scored on")
    return training.run()


@dataclass
class _Training:
    """One stage in progress. The tensors are in `net`, `average` and `optimizer`, all else in `state`."""

    fold: Fold
    stage: str
    bare: nn.Module
    batches: Batches
    phases: Sequence[Phase]
    make_optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    loss: Loss
    keep: str
    clip_norm: float | None
    ema: float | None
    micro_batch: int
    rho: float | None
    sam_statistics: Literal["both", "first"]
    valid_batches: Sequence[Batches]
    state: _State = field(default_factory=_State)

    def __post_init__(self) -> None:
        self.fabric = make_fabric(self.fold.device)
        if self.fabric.device.type == "cpu":
            keep_freed_memory()
        self.net, self.optimizer = self.fabric.setup(self.bare, self.make_optimizer(self.bare.parameters()))
        self.sam = None if self.rho is None else Sam(self.optimizer, self.rho)
        self.average: AveragedModel | None = None
        if self.ema is not None:
            averaging = get_ema_multi_avg_fn(self.ema)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(self.bare, multi_avg_fn=averaging, use_buffers=True)
        self.folder: Path = self.fold.folder / self.stage
        self.kept_metric = self.fold.metric if self.keep in {"last", "valid_loss", "valid_metric"} else self.keep
        validate_metric(self.kept_metric, self.fold.train.task)

    def run(self) -> nn.Module:
        """Train what is left, and return the kept weights in the network."""
        self._restore()
        if not self.state.done:
            train = self.batches.open(self.fold.train, self.fabric.device)
            forms = self.valid_batches or [self.batches]
            valid = [form.open(self.fold.valid, self.fabric.device) for form in forms] if self.fold.valid else []
            while self.state.phase < len(self.phases):
                phase = self.phases[self.state.phase]
                if phase.from_best and self.state.epoch == 0:
                    self._start_from(load_tensors(self._kept_path(self.state.phase - 1)))
                self._run_phase(phase, train, valid)
                self.state.phase += 1
                self.state.epoch, self.state.best_loss, self.state.waited = 0, math.inf, 0
            self.state.done = True
            self._save()
        self.bare.load_state_dict(load_tensors(self._kept_path(len(self.phases) - 1)))
        return self.bare.eval()

    def _kept_path(self, phase: int) -> Path:
        """The weights kept up to the end of a phase: of all phases since the last one that began from the best."""
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
            torch.manual_seed(digest64(key) >> 1)  # dropout
            epoch = len(self.state.history) + 1
            figures = {"train_loss": self._train_epoch(phase, train.training(key, epoch), len(train))}
            train_seconds = time.monotonic() - began
            if valid:
                figures |= self._validate(valid, key)
            self.state.epoch += 1
            self._keep(figures)
            self._note(figures, {"train_seconds": train_seconds, "seconds": time.monotonic() - began})
            self._save()

    def _train_epoch(self, phase: Phase, batches: Iterator[Batch], n_batches: int) -> float:
        """One pass over the training clips; returns the mean loss of a clip."""
        self.net.train()
        total, clips = torch.zeros((), device=self.fabric.device), 0  # summed on the device: no step waits for it
        losses = tuple(
            e["valid_loss"] for e in self.state.history if "valid_loss" in e and e["phase"] == self.state.phase
        )
        for number, batch in enumerate(batches):
            progress = Progress(self.state.epoch * n_batches + number, n_batches, phase.epochs, losses)
            for group in self.optimizer.param_groups:
                group["lr"] = phase.schedule(progress)
                if phase.beta1 is not None:
                    group["betas"] = (phase.beta1(progress), group["betas"][1])
            total += self._step(batch) * len(batch)
            clips += len(batch)
        if not math.isfinite(total.item()):
            raise AkitError(f"The training loss of stage {self.stage!r} is not finite. Lower the learning rate.")
        return total.item() / clips

    def _step(self, batch: Batch) -> torch.Tensor:
        """One step of the optimiser; returns the mean loss of the batch, as it was before."""
        loss = self._gradients(batch)
        if self.sam is None:
            self.optimizer.step()
            self.optimizer.zero_grad()
        else:
            self.sam.ascend()
            with nullcontext() if self.sam_statistics == "both" else frozen_statistics(self.net):
                self._gradients(batch)
            self.sam.descend()
        if self.average is not None:
            self.average.update_parameters(self.bare)
        return loss

    def _gradients(self, batch: Batch) -> torch.Tensor:
        """Leave the clipped gradients of the batch in the parameters; returns its mean loss."""
        total = torch.zeros((), device=batch.x.device)
        try:
            parts = math.ceil(len(batch) / self.micro_batch)
            split = [tensor.tensor_split(parts) for tensor in (*batch.inputs, batch.targets)]
            for *inputs, targets in zip(*split, strict=True):
                loss = (batch.loss or self.loss)(self.net(*inputs), targets) * (len(targets) / len(batch))
                self.fabric.backward(loss)
                total += loss.detach()
        except torch.cuda.OutOfMemoryError as error:
            raise AkitError(
                f"The GPU's memory does not hold {min(self.micro_batch, len(batch))} clips at once. "
                f"Add gradients up over smaller parts: --set micro_batch={max(1, self.micro_batch // 2)}."
            ) from error
        if self.clip_norm is not None:
            self.fabric.clip_gradients(self.net, self.optimizer, max_norm=self.clip_norm)
        return total

    def _validate(self, valid: Sequence[Loader], key: str) -> dict[str, float]:
        """Loss and metric on the validation clips."""
        assert self.fold.valid is not None
        task = self.fold.valid.task
        places = [f"{key}/valid {i}" if self.valid_batches else None for i in range(len(valid))]
        logits = [_logits(self._validated, loader, self.fabric, k) for loader, k in zip(valid, places, strict=True)]
        losses = [self.loss(one, valid[0].targets).item() for one in logits]
        probabilities = torch.stack([to_probabilities(one, task) for one in logits]).double().mean(dim=0).cpu().numpy()
        figures = {"valid_loss": sum(losses) / len(losses)}
        for metric in dict.fromkeys((self.fold.metric, self.kept_metric)):
            figures[f"valid_{metric}"] = score(metric, self.fold.valid.labels, probabilities)
        return figures

    @property
    def _validated(self) -> nn.Module:
        """The network whose predictions count: the average where there is one."""
        return self.net if self.average is None else self.average.module

    def _keep(self, figures: dict[str, float]) -> None:
        """Store the weights that are to be returned, if these are they so far."""
        if self.keep != "last":
            figure = -figures["valid_loss"] if self.keep == "valid_loss" else figures[f"valid_{self.kept_metric}"]
            if figure <= self.state.best:
                return
            self.state.best = figure
        weights = self.bare if self.average is None else self.average.module
        save_tensors(self._kept_path(self.state.phase), weights.state_dict())

    def _note(self, figures: dict[str, float], times: dict[str, float]) -> None:
        """Remember how the epoch went, and tell the run's listener."""
        if "valid_loss" in figures:
            better = figures["valid_loss"] < self.state.best_loss
            self.state.waited = 0 if better else self.state.waited + 1
            self.state.best_loss = min(self.state.best_loss, figures["valid_loss"])
        lr = self.optimizer.param_groups[0]["lr"]
        epoch = len(self.state.history) + 1
        self.state.history.append({"epoch": epoch, "phase": self.state.phase, "lr": lr, **figures, **times})
        lines = "".join(json.dumps(entry) + "\n" for entry in self.state.history)
        write_atomically(self.folder / "log.jsonl", lines)
        done = sum(p.epochs for p in self.phases[: self.state.phase]) + self.state.epoch
        self.fold.on_epoch(self.stage, done, sum(p.epochs for p in self.phases), figures)

    def _save(self) -> None:
        tensors = {f"net.{name}": tensor for name, tensor in self.bare.state_dict().items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(self.optimizer).items()}
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        save_tensors(self.folder / "state.safetensors", tensors, asdict(self.state))

    def _restore(self) -> None:
        path = self.folder / "state.safetensors"
        if not path.exists():
            return
        self.state = _State(**load_state(path))
        parts: dict[str, dict[str, torch.Tensor]] = {"net": {}, "optimizer": {}, "average": {}}
        for name, tensor in load_tensors(path).items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        self.bare.load_state_dict(parts["net"])
        restore_optimizer(self.optimizer.optimizer, parts["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(parts["average"])


def make_fabric(device: str) -> Fabric:
    """One device: bf16 autocast on a GPU that has it, else float32.

    Raises AkitError where `device` is "cuda" and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise AkitError("This machine has no CUDA device that torch can use. Use --device cpu, or auto.")
    accelerator = "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
    bf16 = accelerator == "cuda" and torch.cuda.is_bf16_supported()
    return Fabric(accelerator=accelerator, devices=1, precision="bf16-mixed" if bf16 else "32-true")


def default_loss(task: Task, label_smoothing: float = 0.0) -> Loss:
    """Cross entropy of soft targets, or binary cross entropy for several labels a clip; the mean over clips."""
    if task == "single":
        return nn.CrossEntropyLoss(label_smoothing=label_smoothing)
    return nn.BCEWithLogitsLoss()


def to_probabilities(logits: torch.Tensor, task: Task) -> torch.Tensor:
    """Softmax over classes, or for several labels a clip the sigmoid of each: (clips, classes)."""
    return logits.softmax(dim=1) if task == "single" else logits.sigmoid()


def forward(
    net: nn.Module,
    clips: Clips,
    batches: Batches,
    views: Sequence[View] = (lambda x: x,),
    key: str | None = None,
) -> np.ndarray:
    """A trained network's class probabilities: float64 (clips, classes), on the device where the network lies.

    Parameters
    ----------
    views : map x to another x, for test-time augmentation; the probabilities are averaged over them
    key : clips are cut at random places that it decides; None cuts them in the middle

    """
    device = next(net.parameters()).device
    loader, fabric = batches.open(clips, device), make_fabric(device.type)
    found = [to_probabilities(_logits(net, loader, fabric, key, view), clips.task) for view in views]
    return torch.stack(found).double().mean(dim=0).cpu().numpy()


@torch.no_grad()
def _logits(
    net: nn.Module, loader: Loader, fabric: Fabric, key: str | None = None, view: View = lambda x: x
) -> torch.Tensor:
    net.eval()
    with fabric.autocast():
        return torch.cat([net(view(x), *side).float() for x, *side in loader.in_order(key)])
