"""Weights by which training draws clips, for `Batches.weights`."""

from __future__ import annotations

import numpy as np

from acoustic_kit.data.clips import Clips


def class_balanced(clips: Clips) -> np.ndarray:
    """Return weights with which all classes are drawn equally often: float64 (clips,).

    >>> Batches("wave", s.batch_size, weights=class_balanced)

    A clip's weight is the sum over its classes of its target, divided by the sum of that class's targets. Clips without
    a class, such as windows of background, count as one more class; unknown targets count as zero.
    """
    targets = np.nan_to_num(clips.targets.astype(np.float64))
    targets = np.column_stack([targets, targets.max(axis=1) == 0])
    weights: np.ndarray = targets @ (1 / np.maximum(targets.sum(axis=0), 1e-12))
    return weights
