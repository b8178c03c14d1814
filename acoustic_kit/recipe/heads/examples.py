"""Rows of numbers with targets and weights, and the log loss of their logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, softmax

from acoustic_kit.data.clips import Clips
from acoustic_kit.task import Task


@dataclass(frozen=True)
class Examples:
    """Clips as rows of numbers, with soft, unknown and weighted targets."""

    x: np.ndarray  # float32 (clips, columns)
    targets: np.ndarray  # float32 (clips, classes), from 0 to 1; NaN if unknown
    weights: np.ndarray  # float32 (clips,)
    task: Task

    @staticmethod
    def of(clips: Clips, x: np.ndarray) -> Examples:
        """Return clips with their rows, (clips, columns); weights are scaled to a mean of one."""
        return Examples(x, clips.targets, clips.weights / clips.weights.mean(), clips.task)

    def __len__(self) -> int:
        return len(self.x)

    def filter(self, chosen: np.ndarray) -> Examples:
        """Return some of the clips, chosen by bool (clips,)."""
        return Examples(self.x[chosen], self.targets[chosen], self.weights[chosen], self.task)

    @property
    def frequencies(self) -> np.ndarray:
        """The weighted mean of the known targets of each class, within (0, 1): float64 (classes,)."""
        known = ~np.isnan(self.targets)
        total = self.weights @ known
        mean = (self.weights @ np.nan_to_num(self.targets)) / np.where(total > 0, total, 1)
        rare = 0.5 / len(self)
        return np.asarray(np.clip(mean, rare, 1 - rare), np.float64)


class LogLoss:
    """Weighted mean over clips of the log loss: cross entropy, or in multi-label tasks the sum of that of each class.

    Unknown targets contribute nothing: a softmax is over the known classes of a clip.
    """

    def __init__(self, clips: Examples) -> None:
        unknown = np.isnan(clips.targets)
        self.unknown = unknown if unknown.any() else None
        self.targets = np.nan_to_num(clips.targets)
        self.weights = clips.weights / max(clips.weights.sum(), 1e-9)
        self.task = clips.task

    def __call__(self, logits: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss of logits, float32 (clips, classes), which are overwritten by its gradient, the second."""
        return (self._sigmoids if self.task == "multi" else self._softmax)(logits)

    def hessian(self, logits: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Return the product of the Hessian with changes of the logits; the logits are overwritten."""
        _, weighted = self(logits)
        weighted += self.weights[:, None] * self.targets  # probabilities, each times `total`; 0 if unknown
        total = self.weights if self.task == "multi" else weighted.sum(axis=1)
        p = weighted / np.where(total > 0, total, 1)[:, None]
        if self.task == "multi":
            weighted *= 1 - p
            return lambda change: weighted * change
        return lambda change: weighted * (change - np.einsum("nc,nc->n", p, change)[:, None])

    def _softmax(self, logits: np.ndarray) -> tuple[float, np.ndarray]:
        if self.unknown is not None:
            logits[self.unknown] = np.finfo(logits.dtype).min
        logits -= logits.max(axis=1, keepdims=True)
        of_true = np.einsum("nc,nc->n", self.targets, logits)
        p = np.exp(logits, out=logits)
        total, mass = p.sum(axis=1), self.targets.sum(axis=1)
        value = float(self.weights @ (mass * np.log(total) - of_true))
        p *= (mass / total)[:, None]
        p -= self.targets
        p *= self.weights[:, None]
        return value, p

    def _sigmoids(self, logits: np.ndarray) -> tuple[float, np.ndarray]:
        small = np.exp(-np.abs(logits))
        losses = np.maximum(logits, 0) + np.log1p(small) - logits * self.targets
        gradient = np.where(logits >= 0, 1, small)
        gradient /= 1 + small
        gradient -= self.targets
        if self.unknown is not None:
            losses[self.unknown] = gradient[self.unknown] = 0
        gradient *= self.weights[:, None]
        return float((self.weights @ losses).sum()), gradient


def probabilities(logits: np.ndarray, task: Task) -> np.ndarray:
    """Return the softmax of logits (clips, classes), in multi-label tasks their sigmoids: float64."""
    return np.asarray(expit(logits.astype(np.float64)) if task == "multi" else softmax(logits.astype(np.float64), 1))
