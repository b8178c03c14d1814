"""Losses against their formulas and torch's."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from acoustic_kit.errors import UsageError
from acoustic_kit.training.losses import (
    TargetLoss,
    binary_cross_entropy,
    cross_entropy,
    default_loss,
    make_loss,
    smoothed_cross_entropy,
    summed,
    with_frame_loss,
)

LOGITS, LABELS = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 4, 0])
TARGETS = functional.one_hot(LABELS, 5).float()


def test_smoothing_goes_to_the_other_classes() -> None:
    found = smoothed_cross_entropy(LOGITS, TARGETS, 0.1)
    logs = LOGITS.log_softmax(dim=1)
    others = (logs.sum(dim=1) - logs[range(6), LABELS]) / 4
    torch.testing.assert_close(found, -0.9 * logs[range(6), LABELS] - 0.1 * others)
    # torch spreads it over all classes: 0.1 of ours is 0.125 of its own.
    torch.testing.assert_close(found.mean(), functional.cross_entropy(LOGITS, LABELS, label_smoothing=0.125))


def test_even_logits_lose_the_logarithm_of_the_classes() -> None:
    loss = summed(smoothed_cross_entropy, 6)(torch.zeros(6, 5), TARGETS)
    assert loss.item() == pytest.approx(6 * math.log(5))


def test_the_others_are_torchs() -> None:
    torch.testing.assert_close(
        cross_entropy(LOGITS, TARGETS).sum(), functional.cross_entropy(LOGITS, LABELS, reduction="sum")
    )
    expected = functional.binary_cross_entropy_with_logits(LOGITS, TARGETS, reduction="sum")
    torch.testing.assert_close(binary_cross_entropy(LOGITS, TARGETS).sum(), expected)


def test_a_sum_is_the_mean_of_its_parts_as_the_loop_adds_them() -> None:
    loss = summed(binary_cross_entropy, 6)
    parts = [(0, 2), (2, 6)]
    found = sum(loss(LOGITS[a:b], TARGETS[a:b]) * (b - a) / 6 for a, b in parts)
    torch.testing.assert_close(found, binary_cross_entropy(LOGITS, TARGETS).sum())


SOFT = torch.rand(6, 5, generator=torch.Generator().manual_seed(1))
LOSSES = [
    pytest.param(make_loss("bce", "multi"), id="bce"),
    pytest.param(make_loss("focal", "multi"), id="focal"),
    pytest.param(make_loss("cross_entropy", "single", 0.1), id="cross_entropy"),
]


def gradient(loss: TargetLoss, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    logits = LOGITS.clone().requires_grad_()
    loss(logits, targets, weights).backward()
    assert logits.grad is not None
    return logits.grad


def test_default_losses_are_torchs_bit_for_bit() -> None:
    assert default_loss("single", 0.1)(LOGITS, SOFT) == nn.CrossEntropyLoss(label_smoothing=0.1)(LOGITS, SOFT)
    assert default_loss("multi", 0.1)(LOGITS, SOFT) == nn.BCEWithLogitsLoss()(LOGITS, SOFT)


def test_focal_loss_is_torchvisions() -> None:
    expected = sigmoid_focal_loss(LOGITS, SOFT, alpha=0.25, gamma=2, reduction="mean")
    torch.testing.assert_close(make_loss("focal", "multi")(LOGITS, SOFT), expected)


def test_cross_entropy_needs_clips_of_one_label() -> None:
    with pytest.raises(UsageError, match="loss=bce"):
        make_loss("cross_entropy", "multi")


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_of_one_change_nothing(loss: TargetLoss) -> None:
    torch.testing.assert_close(loss(LOGITS, SOFT, torch.ones(6)), loss(LOGITS, SOFT))
    torch.testing.assert_close(gradient(loss, SOFT, torch.ones(6)), gradient(loss, SOFT))


@pytest.mark.parametrize("loss", LOSSES)
def test_weight_of_two_is_a_clip_twice(loss: TargetLoss) -> None:
    weights = torch.tensor([2.0, 1, 1, 1, 1, 1])
    twice = loss(torch.cat([LOGITS[:1], LOGITS]), torch.cat([SOFT[:1], SOFT]))
    torch.testing.assert_close(loss(LOGITS, SOFT, weights / weights.mean()), twice)


@pytest.mark.parametrize("loss", LOSSES)
def test_unknown_targets_have_neither_loss_nor_gradient(loss: TargetLoss) -> None:
    unknown = torch.zeros(6, 5, dtype=torch.bool)
    unknown[0, 2] = unknown[3, [0, 4]] = unknown[5] = True  # of the last clip, all
    targets, weights = SOFT.masked_fill(unknown, torch.nan), torch.rand(6) + 0.5
    found = gradient(loss, targets, weights)
    assert torch.isfinite(found).all()
    assert (found[unknown] == 0).all()
    assert (found[:5][~unknown[:5]] != 0).all()
    moved = LOGITS + 3 * unknown
    assert loss(moved, targets, weights) == loss(LOGITS, targets, weights)


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_is_that_of_the_classes_that_are_known(loss: TargetLoss) -> None:
    targets, known = SOFT.clone(), [0, 1, 3, 4]
    targets[:, 2] = torch.nan
    weights = torch.ones(6) * (5 / 4 if loss is not LOSSES[2].values[0] else 1)  # as the loader scales them
    torch.testing.assert_close(loss(LOGITS, targets, weights), loss(LOGITS[:, known], SOFT[:, known]))


@pytest.mark.parametrize("loss", LOSSES)
def test_weighted_loss_is_the_mean_of_its_parts(loss: TargetLoss) -> None:
    targets, weights = SOFT.clone(), torch.rand(6) + 0.5
    targets[0, 2] = targets[4, 1] = torch.nan
    parts = [(0, 1), (1, 6)]
    found = sum(loss(LOGITS[a:b], targets[a:b], weights[a:b]) * (b - a) / 6 for a, b in parts)
    torch.testing.assert_close(found, loss(LOGITS, targets, weights))


@pytest.mark.parametrize("name", ["bce", "cross_entropy", "focal"])
@pytest.mark.parametrize("weights", [(), (torch.linspace(0.5, 2, 6),)], ids=["equal", "weighted"])
def test_the_loss_of_the_largest_frame_is_added_in_training(name: str, weights: tuple[torch.Tensor, ...]) -> None:
    loss, targets = make_loss(name, "single"), TARGETS.clone()  # type: ignore[arg-type]
    if weights:
        targets[0, 1] = math.nan
    total = with_frame_loss(loss, 0.5)
    frames = LOGITS.flip(0)
    expected = loss(LOGITS, targets, *weights) + 0.5 * loss(frames, targets, *weights)
    torch.testing.assert_close(total(torch.cat([LOGITS, frames], dim=1), targets, *weights), expected)
    torch.testing.assert_close(total(LOGITS, targets, *weights), loss(LOGITS, targets, *weights))
