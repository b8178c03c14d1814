"""Mixup: the weighted mean of the clips of two batches (Zhang et al. 2018)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from scipy.special import betaincinv

from acoustic_kit.training.batch import Batch

MixupLabels = Literal["weighted", "union"]


def beta(alpha: float, uniform: np.ndarray) -> np.ndarray:
    """Transform numbers in [0, 1) to Beta(α, α) by its inverse distribution function: float32."""
    found: np.ndarray = betaincinv(alpha, alpha, uniform)
    return found.astype(np.float32)


def mixed(first: Batch, second: Batch, lam: np.ndarray, labels: MixupLabels) -> Batch:
    """Return λ·first + (1-λ)·second, with λ per clip: float32 (clips,), and targets as `labels` says."""
    weight = torch.from_numpy(lam).to(first.targets.device, non_blocking=True)

    def mix(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.lerp(other, one, weight.reshape(-1, *[1] * (one.ndim - 1)).expand_as(one))

    inputs = tuple(mix(one, other) for one, other in zip(first.inputs, second.inputs, strict=True))
    targets = (mix if labels == "weighted" else union)(first.targets, second.targets)
    if first.weights is None or second.weights is None:
        return replace(first, inputs=inputs, targets=targets, weights=None)
    return replace(first, inputs=inputs, targets=targets, weights=mix(first.weights, second.weights))


def union(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the larger of two targets, NaN (unknown) if either is, unless the other one is 1."""
    return torch.maximum(one, other).masked_fill((one == 1) | (other == 1), 1)
