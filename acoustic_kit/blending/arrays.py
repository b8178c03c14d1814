"""What goes into a blend: arrays that fit each other, and their logarithms."""

from collections.abc import Sequence

import numpy as np

FLOOR = 1e-7  # a probability below counts as this much: one run's hard zero must not veto all others


def checked(probabilities: np.ndarray) -> np.ndarray:
    """The array itself; ValueError where it is not finite numbers of shape (runs, clips, classes)."""
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 3 or probabilities.dtype.kind not in "fiu" or probabilities.size == 0:
        raise ValueError(
            f"probabilities must be float (runs, clips, classes); they are {probabilities.dtype} {probabilities.shape}"
        )
    for number, run in enumerate(probabilities):
        if not np.isfinite(run).all():
            clip, column = (int(i) for i in np.argwhere(~np.isfinite(run))[0])
            raise ValueError(f"run {number} holds non-finite values, the first in clip {clip}, class {column}")
    return probabilities


def group_codes(groups: Sequence | np.ndarray | None, n_clips: int) -> np.ndarray:
    """Groups as int (clips,), 0 … groups - 1; every clip its own group where there are none."""
    if groups is None:
        return np.arange(n_clips)
    values = np.asarray(groups)
    if values.shape != (n_clips,):
        raise ValueError(f"groups must have one value a clip, ({n_clips},); they are {values.shape}")
    if values.dtype == object and any(value is None for value in values):
        raise ValueError("groups hold None; give every clip a group, or pass groups=None")
    return np.unique(values, return_inverse=True)[1]


def task_of(targets: np.ndarray) -> str:
    """``single`` for int (clips,), ``multi`` for bool (clips, classes)."""
    return "multi" if targets.ndim == 2 else "single"


def log_odds(run: np.ndarray, task: str) -> np.ndarray:
    """The logarithms of one run's probabilities, float64 (clips, classes): of the odds where ``task`` is multi.

    Values are first clipped to [1e-7, 1] (``multi``: to [1e-7, 1 - 1e-7]).
    """
    if task == "single":
        return np.asarray(np.log(np.clip(run, FLOOR, 1, dtype=np.float64)))
    p = np.clip(run, FLOOR, 1 - FLOOR, dtype=np.float64)
    return np.asarray(np.log(p) - np.log1p(-p))


def from_log_odds(logits: np.ndarray, task: str) -> np.ndarray:
    """Probabilities of logits (clips, classes): softmax over a row, or each value's sigmoid (``multi``)."""
    if task == "multi":
        return np.asarray(np.exp(-np.logaddexp(0, -logits)))
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True))
