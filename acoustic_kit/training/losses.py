"""Losses that torch does not have, per clip."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from acoustic_kit.training.batches import Loss

ByClip = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # logits, targets (clips, classes) → losses (clips,)


def smoothed_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, smoothing: float = 0.1) -> torch.Tensor:
    """Return cross entropy with 1 - `smoothing` on the true class and the rest spread over the others: (clips,).

    torch's label smoothing spreads it over all classes, the true one included.
    """
    soft = (1 - smoothing) * targets + smoothing * (1 - targets) / (targets.shape[1] - 1)
    return -(soft * logits.log_softmax(dim=1)).sum(dim=1)


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return cross entropy of one-hot or soft targets: (clips,)."""
    return functional.cross_entropy(logits, targets, reduction="none")


def binary_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return binary cross entropy, summed over the classes: (clips,)."""
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1)


def summed(loss: ByClip, n: int) -> Loss:
    """Return the sum of a loss over a batch of `n` clips, correct also for parts of it, whose losses `fit` averages."""
    return lambda logits, targets: n * loss(logits, targets).mean()
