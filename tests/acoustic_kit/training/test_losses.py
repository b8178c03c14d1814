"""Losses against their formulas and torch's."""

import math

import pytest
import torch
from torch.nn import functional

from acoustic_kit.training.losses import binary_cross_entropy, cross_entropy, smoothed_cross_entropy, summed

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
