"""Inputs and targets of one training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from acoustic_kit.training.clip_rng import ClipRng

Loss = Callable[..., torch.Tensor]  # logits and targets (clips, classes); a `TargetLoss` also: weights → a scalar


@dataclass(frozen=True)
class Batch:
    """Inputs and targets of one training step."""

    inputs: tuple[torch.Tensor, ...]  # x, float32 (clips, …, frames), and the side input if there is one
    targets: torch.Tensor  # float32 (clips, classes): one-hot, mixed, soft, or several labels; NaN if unknown
    loss: Loss | None = None  # instead of the stage's
    whole: int | None = None  # clips of the whole batch, if this is the part of one of several processes
    weights: torch.Tensor | None = None  # float32 (clips,), see `Loader.weights`; None: all are 1, all targets known

    @property
    def x(self) -> torch.Tensor:
        """The feature: float32 (clips, …, frames)."""
        return self.inputs[0]

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class BatchRng:
    """Random numbers of a batch and of its clips, and the epoch."""

    epoch: int  # of the stage, from 1
    clips: ClipRng  # of each clip
    batch: ClipRng  # of the batch: one row


BatchAugment = Callable[[Batch, BatchRng], Batch]
