"""How the eighth place of Freesound 2018 is trained: stages, phases, batches, starting weights and options."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

import acoustic_kit
from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.data.clips import FitResult, Fold
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.training import Batch, Phase, Progress

RECIPE = load_recipe("freesound_mobilenet_pca")
STEPS = 133  # batches in an epoch


class Labels:
    """As much of some clips as a recipe's `train` looks at: 12 of class 0, 3 of class 1, 5 components."""

    task, labels, classes = "single", np.repeat([0, 1], [12, 3]), ("a", "b")

    def __len__(self) -> int:
        return 15

    def __getitem__(self, _: str) -> np.ndarray:
        return np.ones((15, 5), np.float32)


@pytest.fixture
def fit_calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[FitResult, list[dict[str, Any]]]]:
    """What the recipe hands to `fit`, stage by stage, without training: each network starts as it would."""

    def call(*assignments: str) -> tuple[FitResult, list[dict[str, Any]]]:
        seen: list[dict[str, Any]] = []

        def fit(_fold: Fold, stage: str, net: nn.Module, **rest: Any) -> FitResult:
            seen.append(
                {"stage": stage, "net": net, "start": {k: v.clone() for k, v in net.state_dict().items()}} | rest
            )
            with torch.no_grad():  # "training"
                for tensor in net.state_dict().values():
                    tensor.add_(0.25 if tensor.is_floating_point() else 1)
            return FitResult(net, (f"{stage} looked",))

        monkeypatch.setattr(acoustic_kit, "fit", fit)
        clips: Any = Labels()
        fold = Fold("1", clips, clips, 3, "map3", tmp_path, lambda *_: None)
        settings = RECIPE.settings(parse_assignments(RECIPE, ["pretrained=false", "width=0.1", *assignments]))
        return RECIPE.train(fold, settings), seen

    return call


def rates(phase: Phase, losses: tuple[float, ...] = (), epochs: int = 4) -> list[float]:
    steps = range(epochs * STEPS)
    return [phase.schedule(Progress(step, STEPS, phase.epochs, losses[: step // STEPS])) for step in steps]


def test_both_stages_have_the_three_phases(fit_calls: Callable) -> None:
    result, calls = fit_calls()
    assert [call["stage"] for call in calls] == ["mel", "mel_pca"]
    assert result.bias_warnings == ("mel looked", "mel_pca looked")
    for call in calls:
        a, b, c = call["phases"]
        assert [phase.epochs for phase in (a, b, c)] == [100, 100, 100]
        assert [phase.patience for phase in (a, b, c)] == [None, 10, 10]
        assert [phase.from_best for phase in (a, b, c)] == [False, True, True]
        step = np.arange(4 * STEPS)
        x = np.abs(step / STEPS - 2 * np.floor(1 + step / (2 * STEPS)) + 1)  # the formula of Keras' CyclicLR
        np.testing.assert_allclose(rates(a), 1e-4 + 9e-4 * np.maximum(0, 1 - x), rtol=1e-9)
        losses = (1.0, 0.9, 0.89995, 0.9, 0.9, 0.8, 0.8)  # less than 1e-4 better is not better
        for phase, first in ((b, 1e-5), (c, 1e-4)):
            by_epoch = rates(phase, losses, epochs=7)[::STEPS]
            np.testing.assert_allclose(by_epoch, [first] * 5 + [first / 10] * 2)
        optimizer = call["optimizer"]([nn.Parameter(torch.zeros(1))])
        assert type(optimizer) is torch.optim.Adam
        group = optimizer.param_groups[0]
        assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-7, 0)
        assert call["keep"] == "valid_loss"


def test_batches_are_the_published_ones(fit_calls: Callable) -> None:
    _, calls = fit_calls()
    for call, alpha, has_side in zip(calls, (1.0, 0.5), (False, True), strict=True):
        form = call["batches"]
        assert (form.frames, form.pad, form.batch_size) == (range(263, 763), "symmetric", 64)
        assert (form.mixup, form.mixup_by, form.mixup_share, form.drop_last) == (alpha, "clip", 1.0, False)
        assert (form.side is not None, len(form.augment), form.batch_augment) == (has_side, 2, None)
        assert [valid.frames for valid in call["valid_batches"]] == [263, 363, 463, 563, 663, 763]
        assert [valid.side is not None for valid in call["valid_batches"]] == [has_side] * 6
        assert {valid.pad for valid in call["valid_batches"]} == {"symmetric"}
    assert len(fit_calls("erasing=0.5")[1][0]["batches"].augment) == 3


def test_stage_2_takes_all_but_the_head_from_stage_1(fit_calls: Callable) -> None:
    _, (first, second) = fit_calls()
    trained, start = first["net"].state_dict(), second["start"]
    carried = {key for key in start if key.split(".")[0] in {"norm", "colours", "backbone"}}
    assert all(torch.equal(start[key], trained[key]) for key in carried)
    assert carried == {key for key in trained if not key.startswith("head")}
    assert {key.split(".")[0] for key in set(start) - carried} == {"pca_norm", "head"}
    assert not torch.equal(start["head.3.weight"], trained["head.3.weight"])
    assert not start["head.3.bias"].any()
    assert bool((trained["head.3.bias"] == 0.25).all())
    assert bool((start["head.2.weight"] == 1).all())


def test_without_components_it_is_stage_1_alone(fit_calls: Callable) -> None:
    result, calls = fit_calls("n_pca=0")
    assert [call["stage"] for call in calls] == ["mel"]
    assert result.notes == ("MobileNetV2 started from random weights: pretrained=false",)
    assert result.bias_warnings == ("mel looked",)
    assert list(calls[0]["start"]) == list(RECIPE.build_model(2, n_pca=0, width=0.1).state_dict())


def test_fewer_components_are_noted_and_padded_with_zeros(fit_calls: Callable) -> None:
    result, (_, second) = fit_calls()
    assert "5 principal components, not 350: there are no more clips to find them in" in result.notes
    side = second["batches"].side(Labels())
    assert side.shape == (15, 350)
    assert side[:, :5].all()
    assert not side[:, 5:].any()
    assert second["net"].pca_norm.num_features == 350  # the network is the same for any data set
    result, _ = fit_calls("n_pca=5")
    assert not [note for note in result.notes if "components" in note]


def test_the_last_checkpoint_looks_at_nothing(fit_calls: Callable) -> None:
    _, calls = fit_calls("checkpoint=last")
    for call in calls:
        assert call["keep"] == "last"
        assert not any(phase.looks_at_validation or phase.from_best for phase in call["phases"])
        assert [phase.epochs for phase in call["phases"]] == [100, 15, 15]
        by_epoch = rates(call["phases"][2], epochs=15)[::STEPS]
        np.testing.assert_allclose(by_epoch, [1e-4] * 5 + [1e-5] * 5 + [1e-6] * 5)


def test_class_weights_balance_the_classes_in_stage_2_only(fit_calls: Callable) -> None:
    _, (first, second) = fit_calls("balanced=true")
    assert first["batches"].batch_augment is None
    targets = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    batch = Batch((torch.zeros(2, 1, 64, 40),), targets)
    loss = second["batches"].batch_augment(batch, None).loss
    logits = torch.randn(2, 2)
    each = nn.functional.cross_entropy(logits, targets, reduction="none")
    assert loss(logits, targets).item() == pytest.approx((15 / 24 * each[0] + 15 / 6 * each[1]).item() / 2, rel=1e-5)


def test_imagenets_weights_are_taken_where_they_can_be_had(
    fit_calls: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = mobilenet_v2().state_dict()
    monkeypatch.setattr(MobileNet_V2_Weights, "get_state_dict", lambda *_, **__: trained)
    result, (first,) = fit_calls("width=1", "pretrained=true", "n_pca=0")
    assert result.notes == ()
    taken = {key.removeprefix("backbone."): t for key, t in first["start"].items() if key.startswith("backbone.")}
    assert set(taken) == {key for key in trained if not key.startswith("classifier")}
    assert all(torch.equal(tensor, trained[key]) for key, tensor in taken.items())


def test_the_record_says_that_weights_are_missing(fit_calls: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(MobileNet_V2_Weights, "get_state_dict", fail)
    result, calls = fit_calls("pretrained=true")
    assert len(calls) == 2
    (note,) = [note for note in result.notes if "random weights" in note]
    assert note.startswith("MobileNetV2 started from random weights: ")
    assert "https://" in note
    assert "no network" in note
