"""Losses of soft, unknown and weighted targets, and losses per clip that torch does not have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from acoustic_kit.errors import UsageError
from acoustic_kit.task import Task
from acoustic_kit.training.batch import Loss

LossName = Literal["auto", "bce", "cross_entropy", "focal"]
Weighted = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
ByClip = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # logits, targets (clips, classes) → losses (clips,)

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0  # of Lin et al. 2017


@dataclass(frozen=True)
class TargetLoss:
    """Loss of soft targets that leaves out unknown ones and weights the clips.

    Without weights, all targets are known: the mean over clips, or over targets with a loss per class. With weights,
    float (clips,), a target may be NaN, which is unknown: it contributes neither to the loss nor to the gradient. The
    mean then counts it as zero; `Loader.weights` are scaled so that an epoch's mean is the weighted one of the known
    targets.
    """

    unweighted: Loss
    weighted: Weighted

    def __call__(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss of logits (clips, classes), a scalar."""
        return self.unweighted(logits, targets) if weights is None else self.weighted(logits, targets, weights)


def make_loss(name: LossName, task: Task, label_smoothing: float = 0.0) -> TargetLoss:
    """Return a loss by name.

    >>> loss = make_loss("focal", fold.train.task)

    Parameters
    ----------
    name : `cross_entropy` of soft targets, for single-label tasks; `bce`, binary cross entropy of each class; `focal`,
        which weights it by how wrong the prediction is (Lin et al. 2017, α 0.25, γ 2); or `auto`: cross entropy, in
        multi-label tasks its binary form
    task : single-label tasks may be trained with each loss, and are predicted by softmax
    label_smoothing : fraction of the target that is spread over all classes, by cross entropy

    Raises UsageError for cross entropy in a multi-label task.

    """
    if name == "cross_entropy" and task == "multi":
        raise UsageError("loss=cross_entropy is for clips of one label; use loss=bce or loss=focal.")
    if name == "focal":
        return TargetLoss(lambda logits, targets: _focal(logits, targets).mean(), _over_known(_focal))
    if name == "bce" or task == "multi":
        return TargetLoss(nn.BCEWithLogitsLoss(), _over_known(_bce))
    return TargetLoss(nn.CrossEntropyLoss(label_smoothing=label_smoothing), _known_cross_entropy(label_smoothing))


def default_loss(task: Task, label_smoothing: float = 0.0) -> TargetLoss:
    """Return cross entropy of soft targets, or binary cross entropy for multi-label tasks; the mean over clips."""
    return make_loss("auto", task, label_smoothing)


def with_frame_loss(loss: TargetLoss, weight: float) -> TargetLoss:
    """Return a loss of the clip-wise output plus `weight` times that of the largest frame-wise one.

    It is for networks that return both in training, side by side, see `FrameNet`; of other outputs it is `loss`.
    """

    def total(logits: torch.Tensor, targets: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        clip, *frames = torch.split(logits, targets.shape[1], dim=1)
        return sum((weight * loss(one, targets, *weights) for one in frames), start=loss(clip, targets, *weights))

    return TargetLoss(total, total)


def _bce(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def _focal(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the focal loss of each target: (clips, classes)."""
    p = logits.sigmoid()
    missed = p + targets - 2 * p * targets  # 1 - the probability of the true answer
    alpha = FOCAL_ALPHA * targets + (1 - FOCAL_ALPHA) * (1 - targets)
    return alpha * missed**FOCAL_GAMMA * _bce(logits, targets)


def _over_known(of_each: ByClip) -> Weighted:
    """Return the weighted mean of a loss per class, float (clips, classes), in which unknown targets are zero."""

    def loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        each = of_each(logits, targets.nan_to_num()).masked_fill(targets.isnan(), 0)
        return (each * weights[:, None]).mean()

    return loss


def _known_cross_entropy(label_smoothing: float) -> Weighted:
    """Return the weighted mean of cross entropy, in which the softmax is over the known classes of each clip."""

    def loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        unknown = targets.isnan()
        n_known = (~unknown).sum(dim=1, keepdim=True)
        soft = (targets * (1 - label_smoothing) + label_smoothing / n_known).masked_fill(unknown, 0)
        known_logits = logits.masked_fill(unknown, torch.finfo(logits.dtype).min)
        return (-(soft * known_logits.log_softmax(dim=1)).sum(dim=1) * weights).mean()

    return loss


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
