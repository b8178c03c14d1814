"""Post-processing of the predictions for windows of recordings.

A recording that is divided into windows has its events in neighboring windows, and a class that is certain in one of
them is more likely in the others. Each step is a function of one recording's predictions; clips that are whole files
are returned unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from acoustic_kit.blending.arrays import task_of
from acoustic_kit.metrics.names import get_metric
from acoustic_kit.metrics.scores import score

WEIGHTS = (0.1, 0.2, 0.4, 0.2, 0.1)
POWER = 0.5
SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Recordings:
    """The recording and the start of each clip."""

    codes: np.ndarray  # int (clips,), equal for windows of one recording; -1 for a clip that is a whole file
    starts: np.ndarray  # float (clips,), seconds; ignored for whole files

    @staticmethod
    def of(paths: Iterable[str], starts: Iterable[float | None]) -> Recordings | None:
        """Return the recordings of clips, given by file; a start of None is a whole file. None if all are whole files.

        >>> Recordings.of(["a.ogg", "a.ogg", "b.ogg"], [0.0, 5.0, None]).codes.tolist()
        [0, 0, -1]
        """
        times = np.array([np.nan if start is None else start for start in starts], np.float64)
        windows = ~np.isnan(times)
        if not windows.any():
            return None
        codes = np.unique(np.array(list(paths), dtype=str), return_inverse=True)[1]
        return Recordings(np.where(windows, codes, -1), times)

    def take(self, clips: np.ndarray) -> Recordings:
        """Return those of some clips, int (clips,) positions or bool (clips,)."""
        return Recordings(self.codes[clips], self.starts[clips])

    def groups(self) -> np.ndarray:
        """Return groups of the clips, int (clips,): the recording of a window; a whole file is its own group."""
        whole = self.codes < 0
        return np.where(whole, self.codes.max(initial=0) + np.cumsum(whole), self.codes)

    def in_order(self) -> np.ndarray:
        """Return the positions of the windows, int (windows,): those of one recording together, ordered by start."""
        order = np.lexsort((self.starts, self.codes))
        return np.asarray(order[self.codes[order] >= 0])


def smooth(probabilities: np.ndarray, recordings: Recordings, weights: Sequence[float] = WEIGHTS) -> np.ndarray:
    """Return the weighted mean of each window and its neighbors in the recording: float64 (clips, classes).

    - ``probabilities``: float (clips, classes)
    - ``weights``: of the neighbors by order of start, the window itself in the middle; at least 0, an odd number. They
      are divided by the sum of those whose window exists, so that the first and the last windows are means too

    >>> two = Recordings.of(["a.ogg", "a.ogg"], [0, 5])
    >>> smooth(np.array([[0.9], [0.3]]), two, weights=(0.25, 0.5, 0.25)).round(3).tolist()
    [[0.7], [0.5]]
    """
    if len(weights) % 2 == 0 or min(weights) < 0 or weights[len(weights) // 2] <= 0:
        raise ValueError(f"weights must be an odd number of values of at least 0, the middle above 0; not {weights}")
    order = recordings.in_order()
    codes, windows = recordings.codes[order], np.asarray(probabilities, np.float64)[order]
    total, norm = np.zeros_like(windows), np.zeros((len(order), 1))
    for offset, weight in enumerate(weights, start=-(len(weights) // 2)):
        other = np.arange(len(order)) + offset
        at = np.flatnonzero((other >= 0) & (other < len(order)))
        at = at[codes[other[at]] == codes[at]]
        total[at] += weight * windows[other[at]]
        norm[at] += weight
    found = np.array(probabilities, np.float64)
    found[order] = total / norm
    return found


def rescale(probabilities: np.ndarray, recordings: Recordings, power: float = POWER) -> np.ndarray:
    """Return probabilities multiplied by a power of the class's maximum in the recording: float64 (clips, classes).

    The order of a recording's windows is kept; those of a recording without a certain window move down against others.

    - ``probabilities``: float (clips, classes), at least 0, of tasks with several labels: rows are not normalized
    - ``power``: of the maximum, at least 0; 0 changes nothing

    >>> two = Recordings.of(["a.ogg", "a.ogg"], [0, 5])
    >>> rescale(np.array([[0.64], [0.25]]), two).round(3).tolist()
    [[0.512], [0.2]]
    """
    found, (order, counts) = np.array(probabilities, np.float64), _windows(recordings)
    highest = np.maximum.reduceat(found[order], np.cumsum(counts) - counts, axis=0)
    found[order] *= np.repeat(highest, counts, axis=0) ** power
    return found


def mix_mean(probabilities: np.ndarray, recordings: Recordings, share: float = SHARE) -> np.ndarray:
    """Return probabilities mixed with the mean over the windows of the recording: float64 (clips, classes).

    The order of a recording's windows is kept; recordings in which a class is likely throughout move up against others.

    - ``probabilities``: float (clips, classes)
    - ``share``: of the mean, from 0 to 1; 0 changes nothing

    >>> two = Recordings.of(["a.ogg", "a.ogg"], [0, 5])
    >>> mix_mean(np.array([[0.9], [0.3]]), two).round(3).tolist()
    [[0.75], [0.45]]
    """
    found, (order, counts) = np.array(probabilities, np.float64), _windows(recordings)
    means = np.add.reduceat(found[order], np.cumsum(counts) - counts, axis=0) / counts[:, None]
    found[order] += share * (np.repeat(means, counts, axis=0) - found[order])
    return found


def _windows(recordings: Recordings) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the windows, recording by recording, and how many each recording has."""
    order = recordings.in_order()
    return order, np.unique(recordings.codes[order], return_counts=True)[1]


STEPS: dict[str, Callable[[np.ndarray, Recordings], np.ndarray]] = {
    "smooth": smooth,
    "rescale": rescale,
    "mean": mix_mean,
}  # in order
TASKS = {"smooth": ("single", "multi"), "rescale": ("multi",), "mean": ("single", "multi")}  # that a step fits


def apply_postprocessing(names: Sequence[str], probabilities: np.ndarray, recordings: Recordings | None) -> np.ndarray:
    """Return probabilities (clips, classes) after steps of `STEPS`, in the given order; unchanged without recordings.

    All windows of a recording must be given, spaced as those for which the steps were chosen.
    """
    if recordings is None:
        return probabilities
    for name in names:
        probabilities = STEPS[name](probabilities, recordings)
    return probabilities


def nested_gains(
    metric: str, targets: np.ndarray, probabilities: np.ndarray, recordings: Recordings | None
) -> dict[str, float]:
    """Return what each step that fits the task adds to a score, after the earlier ones that gain.

    - ``targets``, ``probabilities``: as for `metrics.score`; predictions by fits to other recordings
    """
    gains: dict[str, float] = {}
    if recordings is None:
        return gains
    sign, before = get_metric(metric).sign, score(metric, targets, probabilities)
    for name in (name for name in STEPS if task_of(targets) in TASKS[name]):
        changed = apply_postprocessing([name], probabilities, recordings)
        after = score(metric, targets, changed)
        gains[name] = sign * (after - before)
        if gains[name] > 0:
            probabilities, before = changed, after
    return gains


def gaining(gains: dict[str, float]) -> tuple[str, ...]:
    """Return the steps with a gain, in order."""
    return tuple(name for name, gain in gains.items() if gain > 0)
