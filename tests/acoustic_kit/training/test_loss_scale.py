"""Training in float16 with a scaled loss, on the CPU: the steps of float32, and none if gradients overflow."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from acoustic_kit.data.clips import Fold
from acoustic_kit.device import Compute
from acoustic_kit.errors import AkitError
from acoustic_kit.training import Batches, Phase, constant, fit
from acoustic_kit.training.fabric import make_fabric
from acoustic_kit.training.loss_scale import LossScale

BATCHES = Batches("mel", 8, 12, "wrap")
ADAM = partial(torch.optim.AdamW, lr=1.0, eps=1e-4)
Make = Callable[..., torch.nn.Module]
HUGE = 2.0**40  # overflows in float16, until it is halved about thirty times


def in_precision(fold: Fold, precision: str, name: str) -> Fold:
    assert fold.valid is not None
    train, valid = (replace(clips, compute=Compute("cpu", precision)) for clips in (fold.train, fold.valid))
    return replace(fold, train=train, valid=valid, folder=fold.folder / name)


def train(fold: Fold, net: torch.nn.Module, epochs: int = 3, **options: Any) -> torch.nn.Module:
    settings = {"batches": BATCHES, "phases": [Phase(epochs, constant(0.03))], "optimizer": ADAM}
    return fit(fold, "stage", net, **{**settings, **options}).model


def log(fold: Fold) -> list[dict]:
    return [json.loads(line) for line in (fold.folder / "stage" / "log.jsonl").read_text().splitlines()]


def weights(net: torch.nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten().double() for tensor in net.state_dict().values()])


@pytest.fixture
def first_scale(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A function that sets the scale with which trainings start."""
    name = "acoustic_kit.training.loss_scale.GradScaler"
    return lambda scale: monkeypatch.setattr(name, partial(torch.amp.GradScaler, init_scale=scale))


OPTIONS: list[dict[str, Any]] = [
    {},
    {"clip_norm": 0.1},
    {"micro_batch": 3},
    {"sam": 0.05},
    {"sam": 0.05, "clip_norm": 0.1, "micro_batch": 5, "ema": 0.9},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "plain")
@pytest.mark.parametrize("scale", [16.0, 2.0**12])
def test_steps_are_those_of_float32(
    fold: Fold, net: Make, first_scale: Callable[[float], None], options: dict, scale: float
) -> None:
    first_scale(scale)
    found = []
    for precision in ("fp16", "32"):
        of = in_precision(fold, precision, precision)
        model = train(of, net(dropout=0.0), **options)
        found.append((weights(model), [entry["train_loss"] for entry in log(of)]))
    (own, own_losses), (exact, losses) = found
    assert own_losses == pytest.approx(losses, rel=0.01)
    torch.testing.assert_close(own, exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("options", OPTIONS[1:4], ids="-".join)
def test_no_step_is_taken_while_gradients_overflow(
    fold: Fold, net: Make, first_scale: Callable[[float], None], options: dict
) -> None:
    first_scale(HUGE)
    fold = in_precision(fold, "fp16", "overflow")
    before = net(dropout=0.0, norm=False)
    start = weights(before)
    unmoved = weights(train(fold, before, epochs=1, **options))
    torch.testing.assert_close(unmoved, start, rtol=0, atol=0)
    longer = replace(fold, folder=fold.folder / "longer")
    moved = weights(train(longer, net(dropout=0.0, norm=False), epochs=12, **options))
    assert moved.isfinite().all()
    assert (moved - start).abs().max() > 0.01
    assert log(longer)[-1]["train_loss"] < log(longer)[0]["train_loss"]


def test_a_resumed_training_has_the_scale_it_had(fold: Fold, net: Make, first_scale: Callable[[float], None]) -> None:
    first_scale(HUGE)
    whole = train(in_precision(fold, "fp16", "whole"), net(), epochs=8)

    class Killed(BaseException):
        pass

    def kill(_: str, epoch: int, *__: object) -> None:
        if epoch == 3:
            raise Killed

    parts = in_precision(fold, "fp16", "parts")
    with pytest.raises(Killed):
        train(replace(parts, on_epoch=kill), net(), epochs=8)
    # the kill came before the state of the third epoch was written
    torch.testing.assert_close(weights(train(parts, net(), epochs=8)), weights(whole), rtol=0, atol=0)


def test_each_training_starts_with_a_new_scale() -> None:
    fabric = make_fabric(Compute("cpu", "fp16"))
    first = LossScale(fabric)
    first.load_state_dict({**first.state_dict(), "scale": 8.0})
    assert first.state_dict()["scale"] == 8
    assert LossScale(fabric).state_dict()["scale"] == 2**16


def test_another_precision_has_no_scale() -> None:
    scale = LossScale(make_fabric(Compute("cpu", "32")))
    scale.load_state_dict({"scale": 8.0})  # of a run that was started on another GPU
    assert scale.state_dict() == {}
    assert scale.end_pass()
    with pytest.raises(AkitError, match="'stage'") as error:
        scale.require_finite(float("nan"), "stage")
    assert "--precision" not in str(error.value)


def test_a_scale_that_cannot_help_is_an_error() -> None:
    scale = LossScale(make_fabric(Compute("cpu", "fp16")))
    scale.require_finite(1.0, "stage")
    scale.load_state_dict({**scale.state_dict(), "scale": 0.5})
    with pytest.raises(AkitError, match=r"'stage'.*--precision 32"):
        scale.require_finite(1.0, "stage")


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.1}, {"sam": 0.05}], ids=str)
def test_an_optimizer_that_was_made_fused_is_unscaled(fold: Fold, net: Make, options: dict) -> None:
    fused = partial(ADAM, fused=True)
    models = [
        train(in_precision(fold, "fp16", name), net(dropout=0.0), optimizer=make, **options)
        for name, make in (("fused", fused), ("plain", ADAM))
    ]
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_network_is_given_its_inputs_unrounded(fold: Fold, net: Make, precision: str) -> None:
    seen: set[torch.dtype] = set()
    model = net()
    model.register_forward_pre_hook(lambda _, inputs: seen.add(inputs[0].dtype))
    train(in_precision(fold, precision, precision), model, epochs=1)
    assert seen == {torch.float32}
