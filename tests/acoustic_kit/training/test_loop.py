"""The loop: it learns, resumes to the same bits, keeps the weights that were asked for, and says what it did."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acoustic_kit.data.clips import Clips, FitResult, Fold
from acoustic_kit.device import Compute
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.metrics import MetricName
from acoustic_kit.training import (
    Batch,
    Batches,
    BatchRng,
    Phase,
    Plateau,
    constant,
    cosine,
    default_loss,
    fit,
    forward,
    load_tensors,
    spec_augment,
)

BATCHES = Batches("mel", 8, 12, "wrap", augment=[spec_augment(3, 3)], mixup=0.3)
ADAM = partial(torch.optim.AdamW, lr=1.0)
Make = Callable[..., torch.nn.Module]


def result_of(fold: Fold, net: torch.nn.Module, epochs: int = 4, **options: Any) -> FitResult:
    settings = {"batches": BATCHES, "phases": [Phase(epochs, constant(0.03))], "optimizer": ADAM}
    return fit(fold, "stage", net, **{**settings, **options})


def train(fold: Fold, net: torch.nn.Module, epochs: int = 4, **options: Any) -> torch.nn.Module:
    return result_of(fold, net, epochs, **options).model


def weights(net: torch.nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten().double() for tensor in net.state_dict().values()])


def log(fold: Fold) -> list[dict]:
    return [json.loads(line) for line in (fold.folder / "stage" / "log.jsonl").read_text().splitlines()]


def test_it_learns(fold: Fold, net: Make) -> None:
    trained = train(fold, net(), epochs=25)
    assert fold.valid is not None
    assert not trained.training
    probabilities = forward(trained, fold.valid, BATCHES)
    assert np.mean(probabilities.argmax(1) == fold.valid.labels) > 0.6
    np.testing.assert_allclose(probabilities.sum(1), 1)
    entries = log(fold)
    assert [entry["epoch"] for entry in entries] == list(range(1, 26))
    assert entries[-1]["train_loss"] < entries[0]["train_loss"]
    assert entries[-1]["train_accuracy"] > max(0.6, entries[0]["train_accuracy"])
    figures = {"train_loss", "train_accuracy", "valid_loss", "valid_accuracy"}
    assert set(entries[0]) == {"epoch", "phase", "lr", "train_seconds", "seconds"} | figures


def on(fold: Fold, device: str) -> Fold:
    assert fold.valid is not None
    train, valid = (replace(clips, compute=Compute(device)) for clips in (fold.train, fold.valid))
    return replace(fold, train=train, valid=valid)


class Killed(BaseException):
    """Stands for a kill between two epochs, or within one."""


def killed_at(fold: Fold, epoch: int) -> Fold:
    def stop(stage: str, done: int, total: int, figures: object) -> None:
        if done == epoch:
            raise Killed

    return replace(fold, on_epoch=stop)


@pytest.mark.parametrize(
    "options",
    [{}, {"ema": 0.9}, {"swa": 2}, {"keep": "valid_loss"}, {"clip_norm": 0.1}, {"micro_batch": 3}, {"sam": 0.05}],
)
def test_a_resumed_training_ends_with_the_same_bits(fold: Fold, net: Make, tmp_path: Path, options: dict) -> None:
    phases = [Phase(3, cosine(0.03)), Phase(2, constant(0.003))]
    whole = train(fold, net(), phases=phases, **options)
    stopped = replace(fold, folder=tmp_path / "stopped")
    for epoch in (1, 2, 4):
        with pytest.raises(Killed):
            train(killed_at(stopped, epoch), net(), phases=phases, **options)
    resumed = train(stopped, net(), phases=phases, **options)
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)
    assert [entry["valid_loss"] for entry in log(stopped)] == [entry["valid_loss"] for entry in log(fold)]


def test_a_finished_stage_returns_its_model_at_once(fold: Fold, net: Make) -> None:
    trained = train(fold, net())
    again = train(killed_at(fold, 1), net())
    torch.testing.assert_close(weights(again), weights(trained), rtol=0, atol=0)


def test_kept_checkpoint_is_best_and_reports_bias(fold: Fold, net: Make) -> None:
    result = result_of(fold, net(), epochs=8, keep="valid_loss", phases=[Phase(8, constant(0.5))])
    kept = result.model
    losses = [entry["valid_loss"] for entry in log(fold)]
    assert min(losses) < losses[-1]
    assert fold.valid is not None
    loader = BATCHES.open(fold.valid, torch.device("cpu"))
    with torch.no_grad():
        logits = torch.cat([kept(x) for (x,) in loader.in_order()])
    assert default_loss("single")(logits, loader.targets).item() == pytest.approx(min(losses))
    assert result.bias_warnings == ("stage: kept the epoch that was best on the fold it is scored on",)


def test_the_best_epoch_can_be_that_of_a_metric_that_is_named(fold: Fold, net: Make) -> None:
    metric = "0.8*accuracy+0.2*f1"
    train(fold, net(), epochs=3, keep=metric)
    assert set(log(fold)[0]) >= {"valid_accuracy", f"valid_{metric}"}
    with pytest.raises(UsageError, match="f2"):
        train(fold, net(), keep="f2")


def test_the_best_epoch_has_the_lowest_log_loss(fold: Fold, net: Make) -> None:
    kept = train(fold, net(), epochs=8, keep="log_loss", phases=[Phase(8, constant(0.5))])
    losses = [entry["valid_log_loss"] for entry in log(fold)]
    assert min(losses) < losses[-1]
    assert fold.valid is not None
    loader = BATCHES.open(fold.valid, torch.device("cpu"))
    with torch.no_grad():
        logits = torch.cat([kept(x) for (x,) in loader.in_order()])
    assert default_loss("single")(logits, loader.targets).item() == pytest.approx(min(losses), rel=1e-5)


def test_the_best_epoch_can_be_that_of_a_metric_of_ones_own(fold: Fold, net: Make, tmp_path: Path) -> None:
    (tmp_path / "misses.py").write_text(
        "greater_is_better = False\ndef score(t, p): return float((p.argmax(axis=1) != t).mean())\n"
    )
    own = replace(fold, metric=MetricName("f1", tmp_path))
    kept = weights(train(own, net(), epochs=4, keep="misses"))
    assert [entry["valid_misses"] for entry in log(own)] == pytest.approx(
        [1 - entry["valid_accuracy"] for entry in log(own)]
    )
    torch.testing.assert_close(
        kept, weights(train(replace(fold, folder=fold.folder / "b"), net(), epochs=4, keep="accuracy"))
    )


def test_an_undefined_metric_keeps_the_last_epoch(fold: Fold, net: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fold.valid is not None
    monkeypatch.setattr("acoustic_kit.training.loop.score_or_nan", lambda *_: math.nan)
    kept = weights(train(fold, net(), keep="roc_auc"))
    assert "valid_roc_auc" not in log(fold)[0]
    torch.testing.assert_close(kept, weights(train(replace(fold, folder=fold.folder / "last"), net())))


def test_plateau_cuts_rate_reports_bias_and_survives_a_kill(fold: Fold, net: Make, tmp_path: Path) -> None:
    phases = [Phase(6, Plateau(1e-9, patience=2))]
    result = result_of(fold, net(norm=False, dropout=0.0), phases=phases)
    whole = result.model
    assert [entry["lr"] for entry in log(fold)] == pytest.approx([1e-9, 1e-9, 1e-9, 1e-10, 1e-10, 1e-11])
    assert result.bias_warnings == ("stage: its rate or its end was decided by the fold it is scored on",)
    stopped = replace(fold, folder=tmp_path / "stopped")
    with pytest.raises(Killed):
        train(killed_at(stopped, 4), net(norm=False, dropout=0.0), phases=phases)
    resumed = train(stopped, net(norm=False, dropout=0.0), phases=phases)
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)
    with pytest.raises(AkitError, match="--full"):
        train(replace(fold, valid=None), net(), phases=phases)


def test_the_first_beta_follows_its_schedule(fold: Fold, net: Make) -> None:
    seen = []

    class Spy(torch.optim.AdamW):
        def step(self, closure: Any = None) -> None:
            seen.append(self.param_groups[0]["betas"])
            super().step(closure)

    phases = [Phase(2, constant(0.01), beta1=lambda progress: 0.9 if progress.epoch else 0.8)]
    train(fold, net(), phases=phases, optimizer=partial(Spy, lr=1.0, betas=(0.95, 0.99)))
    assert set(seen) == {(0.8, 0.99), (0.9, 0.99)}


def test_sam_trains_in_two_passes_per_step(fold: Fold, net: Make, tmp_path: Path) -> None:
    trained = train(fold, net(), epochs=25, sam=0.05)
    assert fold.valid is not None
    assert np.mean(forward(trained, fold.valid, BATCHES).argmax(1) == fold.valid.labels) > 0.6
    seen, passes = net(dropout=0.0), []
    seen.norm.register_forward_hook(lambda *_: passes.append(1))
    train(replace(fold, folder=tmp_path / "other", valid=None), seen, epochs=1, sam=0.05)
    assert len(passes) == 10


def test_validation_is_averaged_over_several_forms(fold: Fold, net: Make) -> None:
    forms = [replace(BATCHES, frames=5), replace(BATCHES, frames=9)]
    phases = [Phase(3, constant(0.0))]
    trained = train(fold, net(dropout=0.0, norm=False), phases=phases, valid_batches=forms)
    losses = [entry["valid_loss"] for entry in log(fold)]
    assert len(set(losses)) == 3  # cut anew every epoch, by the same weights
    assert fold.valid is not None
    found = []
    for i, form in enumerate(forms):
        loader = form.open(fold.valid, torch.device("cpu"))
        with torch.no_grad():
            logits = torch.cat(
                [trained(x) for (x,) in loader.in_order(loader.crops(f"{fold.seed}/stage/0/2/valid {i}"))]
            )
        found.append(default_loss("single")(logits, loader.targets).item())
    assert losses[-1] == pytest.approx(np.mean(found), rel=1e-5)


def test_a_phase_can_start_from_the_best_weights_and_choose_anew(fold: Fold, net: Make, tmp_path: Path) -> None:
    phases = [Phase(4, constant(0.5)), Phase(1, constant(0.0), from_best=True), Phase(2, constant(2.0), from_best=True)]
    kept = train(fold, net(norm=False), phases=phases, keep="valid_loss")
    losses = [entry["valid_loss"] for entry in log(fold)]
    assert losses[4] == pytest.approx(min(losses[:4]))  # nothing moved since
    assert fold.valid is not None
    loader = BATCHES.open(fold.valid, torch.device("cpu"))
    with torch.no_grad():
        logits = torch.cat([kept(x) for (x,) in loader.in_order()])
    last = default_loss("single")(logits, loader.targets).item()
    assert last == pytest.approx(min(losses[5:]))  # the last phase's best, though another's was better
    assert last > min(losses)
    stopped = replace(fold, folder=tmp_path / "stopped")
    for epoch in (4, 5, 6):
        with pytest.raises(Killed):
            train(killed_at(stopped, epoch), net(norm=False), phases=phases, keep="valid_loss")
    resumed = train(stopped, net(norm=False), phases=phases, keep="valid_loss")
    torch.testing.assert_close(weights(resumed), weights(kept), rtol=0, atol=0)


def test_a_batch_that_brings_its_own_loss_is_trained_on_it(fold: Fold, net: Make) -> None:
    def without_loss(batch: Batch, rng: BatchRng) -> Batch:
        return replace(batch, loss=lambda logits, targets: logits.sum() * 0)

    before = weights(net(norm=False))
    batches = replace(BATCHES, batch_augment=without_loss)
    optimizer = partial(torch.optim.SGD, lr=1.0)
    torch.testing.assert_close(weights(train(fold, net(norm=False), batches=batches, optimizer=optimizer)), before)


def test_views_are_averaged(fold: Fold, net: Make) -> None:
    trained = train(fold, net(), epochs=1)
    assert fold.valid is not None
    plain, louder = (forward(trained, fold.valid, BATCHES, [view]) for view in (lambda x: x, lambda x: x * 1.5))
    both = forward(trained, fold.valid, BATCHES, [lambda x: x, lambda x: x * 1.5])
    np.testing.assert_allclose(both, (plain + louder) / 2, atol=1e-6)


def test_a_network_gets_its_side_input(fold: Fold) -> None:
    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(11, 3)

        def forward(self, x: torch.Tensor, side: torch.Tensor) -> torch.Tensor:
            return self.head(torch.cat([x.mean(-1), side], 1))

    def one_hot(clips: Clips) -> np.ndarray:
        return np.eye(3)[clips.labels]

    batches = replace(BATCHES, side=one_hot)
    trained = train(fold, Two(), epochs=15, batches=batches, micro_batch=5)
    assert fold.valid is not None
    assert np.mean(forward(trained, fold.valid, batches).argmax(1) == fold.valid.labels) == 1  # the side tells it


def test_the_last_checkpoint_is_honest(fold: Fold, net: Make) -> None:
    assert result_of(fold, net()).bias_warnings == ()


def test_keeping_the_best_needs_a_validation_fold(fold: Fold, net: Make) -> None:
    with pytest.raises(AkitError, match="checkpoint=last"):
        train(replace(fold, valid=None), net(), keep="valid_loss")
    train(replace(fold, valid=None), net())


def test_a_micro_batch_leaves_the_steps_as_they_are(fold: Fold, net: Make, tmp_path: Path) -> None:
    plain = train(fold, net(dropout=0.0, norm=False))
    split = train(replace(fold, folder=tmp_path / "split"), net(dropout=0.0, norm=False), micro_batch=3)
    torch.testing.assert_close(weights(split), weights(plain), rtol=1e-4, atol=1e-5)


def test_patience_ends_a_phase_and_says_that_it_looked(fold: Fold, net: Make) -> None:
    phases = [Phase(30, constant(0.0), patience=2), Phase(2, constant(0.01))]
    result = result_of(fold, net(norm=False), phases=phases)
    assert [entry["phase"] for entry in log(fold)] == [0, 0, 0, 1, 1]
    assert result.bias_warnings == ("stage: its rate or its end was decided by the fold it is scored on",)


def test_the_average_of_the_weights_is_what_is_returned(fold: Fold, net: Make, tmp_path: Path) -> None:
    """It begins with the weights of the first step and follows a tenth of the steps: its path is the shorter."""
    averaged = train(fold, net(norm=False), ema=0.99)
    plain = train(replace(fold, folder=tmp_path / "plain"), net(norm=False))
    raw = load_tensors(fold.folder / "stage" / "state.safetensors")
    torch.testing.assert_close(
        {f"net.{k}": v for k, v in plain.state_dict().items()}, {k: v for k, v in raw.items() if k.startswith("net.")}
    )
    start = net(norm=False)
    assert 0 < (weights(averaged) - weights(plain)).norm() < (weights(plain) - weights(start)).norm()


def test_an_average_over_fewer_steps_than_its_decay_learns(fold: Fold, net: Make) -> None:
    """With a constant decay, 125 steps would leave 0.9999 ** 125 = 99 % of the weights that training began with."""
    plain = replace(BATCHES, mixup=0.0, augment=[])
    trained = train(fold, net(dropout=0.0), ema=0.9999, batches=plain, phases=[Phase(25, cosine(0.03))])
    assert np.mean(forward(trained, fold.train, plain).argmax(1) == fold.train.labels) > 0.6


def test_gradients_are_clipped(fold: Fold, net: Make) -> None:
    start = net()
    sgd = partial(torch.optim.SGD, lr=1.0)
    phases = [Phase(1, constant(1.0))]
    trained = train(fold, net(), clip_norm=1e-4, optimizer=sgd, phases=phases, batches=replace(BATCHES, batch_size=64))
    moved = torch.cat([(b - a).flatten() for a, b in zip(start.parameters(), trained.parameters(), strict=True)])
    assert moved.norm().item() == pytest.approx(1e-4, rel=1e-3)


def test_the_schedule_sets_the_rate_of_every_step(fold: Fold, net: Make) -> None:
    seen: list[float] = []

    def schedule(progress: Any) -> float:
        seen.append(progress.fraction)
        return 0.01

    train(fold, net(), phases=[Phase(2, schedule)])
    np.testing.assert_allclose(seen, np.arange(10) / 10)


def test_a_loss_that_is_not_finite_is_told(fold: Fold, net: Make) -> None:
    with pytest.raises(AkitError, match="learning rate"):
        train(fold, net(), loss=lambda logits, targets: (logits - targets).mean() * math.inf)


def test_out_of_memory_says_what_to_set(fold: Fold, net: Make) -> None:
    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError

    with pytest.raises(AkitError, match=r"8 clips at once.*--set micro_batch=4"):
        train(fold, net(), loss=loss)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_said(fold: Fold, net: Make) -> None:
    with pytest.raises(AkitError, match="no CUDA device"):
        train(on(fold, "cuda"), net())


@pytest.mark.gpu
def test_it_learns_on_a_gpu_and_goes_on_there(fold: Fold, net: Make) -> None:
    on_gpu = on(fold, "cuda")
    with pytest.raises(Killed):
        train(killed_at(on_gpu, 10), net(), epochs=25)
    trained = train(on_gpu, net(), epochs=25)
    assert fold.valid is not None
    assert next(trained.parameters()).is_cuda
    assert np.mean(forward(trained, on_gpu.valid, BATCHES).argmax(1) == fold.valid.labels) > 0.6


def test_damaged_state_is_named(fold: Fold, net: Make) -> None:
    train(fold, net())
    path = fold.folder / "stage" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AkitError, match=r"state\.safetensors holds no training state(.|\n)*Delete"):
        train(fold, net())
    with pytest.raises(AkitError, match="nothing"):
        load_tensors(fold.folder / "nothing")


def test_another_seed_trains_another_model(fold: Fold, net: Make, tmp_path: Path) -> None:
    first = train(fold, net())
    second = train(replace(fold, folder=tmp_path / "other", seed=8), net())
    assert not torch.equal(weights(first), weights(second))
