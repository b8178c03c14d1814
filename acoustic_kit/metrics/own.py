"""Metrics of a workspace's own: files `metrics/NAME.py` with a function `score`, which are executed as recipes are."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from acoustic_kit.errors import AkitError
from acoustic_kit.metrics.counts import Counts
from acoustic_kit.metrics.metric import Metric

MAX_DRAWS = 100  # of the bootstrap: the function is called once per draw
Score = Callable[[np.ndarray, np.ndarray], Any]


def own_metric(path: Path) -> Metric:
    """Return the metric of a file. It is read again after a change.

    Raises AkitError, with the file and the line, if it cannot be executed or has no function `score`.
    """
    stat = path.stat()
    return _load(path, stat.st_mtime_ns, stat.st_size)


@lru_cache
def _load(path: Path, mtime_ns: int, size: int) -> Metric:
    names: dict[str, Any] = {"__name__": f"_akit_metric_{path.stem}", "__file__": str(path)}
    try:
        exec(compile(path.read_text("utf-8-sig"), path, "exec", dont_inherit=True), names)
    except Exception as error:
        raise _error(path, error) from error
    score, greater_is_better = names.get("score"), names.get("greater_is_better", True)
    if not callable(score):
        raise AkitError(f"{path} has no function score(targets, probabilities).")
    if not isinstance(greater_is_better, bool):
        raise AkitError(f"{path}: greater_is_better is {greater_is_better!r}; it must be True or False.")
    return Metric(
        path.stem,
        f"of {path}",
        lambda counts: _value(path, score, counts),
        n_labels=0,
        needs_probabilities=True,
        greater_is_better=greater_is_better,
        lowest=-np.inf,
        highest=np.inf,
        max_draws=MAX_DRAWS,
    )


def _value(path: Path, score: Score, counts: Counts) -> np.ndarray:
    """Return the score of the clips, or of each draw, NaN where it fails: clips are repeated as often as drawn."""
    targets, probabilities, weights = counts.targets, counts.probabilities, counts.weights
    assert probabilities is not None
    if weights is None:
        return np.asarray(_call(path, score, targets, probabilities))
    _call(path, score, targets, probabilities)  # raises an error that is not that of a draw
    found = np.full(weights.shape[1], np.nan)
    for draw in range(len(found)):
        clips = np.repeat(np.arange(len(weights)), weights[:, draw].astype(int))
        try:
            found[draw] = _call(path, score, targets[clips], probabilities[clips])
        except AkitError:  # the draw may lack a class
            continue
    return found


def _call(path: Path, score: Score, targets: np.ndarray, probabilities: np.ndarray) -> float:
    arrays = [array.view() for array in (targets, probabilities)]
    for array in arrays:
        array.flags.writeable = False
    try:
        found = score(*arrays)
    except Exception as error:
        raise _error(path, error) from error
    try:
        return float(found)
    except (TypeError, ValueError) as error:
        raise AkitError(f"{path}: score returned {found!r:.80}, which is not a number.") from error


def _error(path: Path, error: Exception) -> AkitError:
    """Return an error that names the file, and the deepest line of it in the traceback."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line = error.lineno
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = frames[-1].lineno if frames else None
    where = str(path) if line is None else f"{path}, line {line}"
    return AkitError(f"{where}: {type(error).__name__}: {error}")
