"""The strength of a head, and the calibration of its scores, by inner folds of the training clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from acoustic_kit.data.clips import TargetKind
from acoustic_kit.features.build.worker import worker_count
from acoustic_kit.recipe.heads.examples import Examples, LogLoss


class Head(Protocol):
    """A head fitted to some clips, for any strength."""

    NEEDS_CALIBRATION: ClassVar[bool]  # whether its scores are no logits yet
    STRENGTHS: ClassVar[tuple[float, ...]]  # to choose from, from the strongest regularization to the weakest
    USES: ClassVar[frozenset[TargetKind]]

    def __init__(self, clips: Examples) -> None: ...

    def scores(self, x: np.ndarray, strengths: Sequence[float]) -> Iterator[np.ndarray]:
        """Yield the scores of float32 (clips, columns) for each strength: float32 (clips, classes)."""

    def model(self, strength: float, slope: float = 1.0, offset: float = 0.0) -> Any:
        """Return the model of one strength, whose logits are `slope` · scores + `offset`."""


@dataclass(frozen=True)
class Choice:
    """The strength with the least log loss, and the calibration of its scores."""

    strength: float
    slope: float
    offset: float
    losses: np.ndarray  # float64 (strengths,), means over the inner folds, the strongest regularization first


def choose(head: type[Head], clips: Examples, strengths: Sequence[float], folds: np.ndarray) -> Choice:
    """Choose the strength whose calibrated scores of held-out clips have the least log loss.

    In each inner fold the head is fitted to the other clips. Its scores of the fold's clips become logits by a slope
    and, in multi-label tasks, an offset, which all classes share: those with the least log loss (temperature and Platt
    scaling). The result has their means over the folds.

    Parameters
    ----------
    strengths : to choose from, in any order
    folds : int (clips,), the inner fold of each clip, which keeps groups whole; -1 for clips that are only trained on

    """

    def of_fold(number: int) -> np.ndarray:
        held = folds == number
        return _along_path(head(clips.filter(~held)), clips.filter(held), strengths)

    strengths = sorted(strengths, reverse=bool(head.STRENGTHS[0] > head.STRENGTHS[-1]))
    numbers = np.unique(folds[folds >= 0])
    with ThreadPoolExecutor(min(worker_count(None), len(numbers))) as threads:
        found = np.mean(list(threads.map(of_fold, numbers.tolist())), axis=0)  # (strengths, 3)
    best = int(found[:, 0].argmin())
    return Choice(strengths[best], float(np.exp(found[best, 1])), float(found[best, 2]), found[:, 0])


def _along_path(head: Head, held: Examples, strengths: Sequence[float]) -> np.ndarray:
    """Return the log loss, the logarithm of the slope and the offset for each strength: float64 (strengths, 3).

    The path ends where two strengths in succession are worse than an earlier one; the losses of the rest are infinite.
    """
    log_loss, calibration = LogLoss(held), np.zeros(2)
    found = np.full((len(strengths), 3), np.inf)
    for i, scores in enumerate(head.scores(held.x, strengths)):
        if head.NEEDS_CALIBRATION:
            calibration = _calibrate(scores, log_loss, calibration)
        logits = np.float32(np.exp(calibration[0])) * scores + np.float32(calibration[1])
        found[i] = log_loss(logits)[0], *calibration
        if i > 1 and found[i - 1 : i + 1, 0].min() > found[: i - 1, 0].min():
            break
    return found


def _calibrate(scores: np.ndarray, log_loss: LogLoss, start: np.ndarray) -> np.ndarray:
    """Return a and b with the least log loss of exp(a) · scores + b: float64 (2,)."""
    from scipy.optimize import minimize

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope = np.float32(np.exp(parameters[0]))
        value, gradient = log_loss(slope * scores + np.float32(parameters[1]))
        return value, np.array([slope * np.vdot(gradient, scores), gradient.sum()], np.float64)

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-7, 7), (-20, 20)], options={"gtol": 1e-5})
    return np.asarray(found.x)
