"""Checks and logarithms of probability arrays."""

from collections.abc import Sequence

import numpy as np

FLOOR = 1e-7  # lower probabilities are raised to it: the zero of one run must not outweigh all others


def checked(probabilities: np.ndarray | Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the runs of (runs, clips, classes), each a contiguous float array (clips, classes) in its own precision.

    Neither an array nor a sequence of arrays (clips, classes), one per run, is copied. Raises ValueError if they are
    not finite numbers of one shape.
    """
    runs = [np.ascontiguousarray(run) for run in probabilities]
    shapes = {run.shape for run in runs}
    if (
        len(shapes) != 1
        or np.ndim(runs[0]) != 2
        or runs[0].size == 0
        or any(run.dtype.kind not in "fiu" for run in runs)
    ):
        kind = getattr(probabilities, "dtype", "not one array")
        raise ValueError(
            f"probabilities must be float (runs, clips, classes); they are {kind} {np.shape(probabilities)}"
        )
    for number, run in enumerate(runs):
        if not np.isfinite(run).all():
            clip, column = (int(i) for i in np.argwhere(~np.isfinite(run))[0])
            raise ValueError(f"run {number} holds non-finite values, the first in clip {clip}, class {column}")
    return [run if run.dtype in (np.float32, np.float64) else run.astype(np.float64) for run in runs]


def first_of_equal(runs: Sequence[np.ndarray]) -> list[int]:
    """Return for each run the position of the first run with the same predictions: its own if it is not a duplicate.

    ``runs``: (clips, classes) each. Two runs are equal if all their values are; a blend uses the first only.
    """
    like: dict[tuple[bytes, float], list[int]] = {}  # first runs, by their first clip and their sum
    found = []
    for number, run in enumerate(runs):
        near = like.setdefault((run[:1].tobytes(), float(run.sum())), [])
        equal = next((one for one in near if np.array_equal(runs[one], run)), number)
        if equal == number:
            near.append(number)
        found.append(equal)
    return found


def group_codes(groups: Sequence | np.ndarray | None, n_clips: int) -> np.ndarray:
    """Return groups as int (clips,), 0 … groups - 1; each clip is its own group if there are none."""
    if groups is None:
        return np.arange(n_clips)
    values = np.asarray(groups)
    if values.shape != (n_clips,):
        raise ValueError(f"groups must have one value per clip, ({n_clips},); they are {values.shape}")
    if values.dtype == object and any(value is None for value in values):
        raise ValueError("groups hold None; give every clip a group, or pass groups=None")
    return np.unique(values, return_inverse=True)[1]


def task_of(targets: np.ndarray) -> str:
    """Return ``single`` for int (clips,), ``multi`` for bool or float (clips, classes)."""
    return "multi" if targets.ndim == 2 else "single"


def known_targets(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return targets of several labels as bool (clips, classes), and which of them are known; None if all are.

    ``targets``: bool (clips, classes), or float of 0, 1 and NaN for unknown ones, which are False.
    """
    known = ~np.isnan(targets) if targets.dtype.kind == "f" else np.ones(0, bool)
    return targets == 1, None if known.all() else known


def log_odds(run: np.ndarray, task: str) -> np.ndarray:
    """Return the logarithms of one run's probabilities, float64 (clips, classes): of the odds if ``task`` is multi.

    Values are first clipped to [1e-7, 1] (``multi``: to [1e-7, 1 - 1e-7]).
    """
    if task == "single":
        return np.asarray(np.log(np.clip(run, FLOOR, 1, dtype=np.float64)))
    p = np.clip(run, FLOOR, 1 - FLOOR, dtype=np.float64)
    return np.asarray(np.log(p) - np.log1p(-p))


def from_log_odds(logits: np.ndarray, task: str) -> np.ndarray:
    """Return probabilities of logits (clips, classes): softmax over a row, or each value's sigmoid (``multi``)."""
    if task == "multi":
        return np.asarray(np.exp(-np.logaddexp(0, -logits)))
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True))
