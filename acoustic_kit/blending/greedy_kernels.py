"""Counts of a sum of picks with one more run, for each candidate run.

S (clips, classes) is the sum over picks, p the probabilities of a candidate: only the order of S + p within a row
matters. A class whose sum is lower than the highest by more than ``spread``, the highest p minus the lowest, cannot
become the label with one more pick. The kernels only read the other classes, the contenders: mostly one or two.

``total`` is float64 (clips, classes), ``run`` float (all clips, classes), of which ``rows`` int (clips,) are read.
"""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def update_contenders(
    total: np.ndarray, spread: float, leads: np.ndarray, contenders: np.ndarray, counts: np.ndarray
) -> None:
    """Update the contenders of each row after one more pick, in place.

    - ``leads``: float64 (clips,), a lower bound of the lead of the highest sum; one pick reduces it by ``spread``, so
      that rows with a long lead are skipped
    - ``contenders``: int16 (clips, classes); the first ``counts`` of a row are its contenders, ascending
    - ``counts``: int16 (clips,); if it is 1, one more pick cannot change the label
    """
    for clip in range(len(total)):
        leads[clip] -= spread
        if leads[clip] > spread:
            continue
        best, second = -np.inf, -np.inf
        for c in range(total.shape[1]):
            value = total[clip, c]
            if value > best:
                second, best = best, value
            elif value > second:
                second = value
        leads[clip] = best - second
        n = 0
        for c in range(total.shape[1]):
            if best - total[clip, c] <= spread:
                contenders[clip, n] = c
                n += 1
        counts[clip] = n


@numba.njit(cache=True, nogil=True)
def count_labels(
    total: np.ndarray,
    run: np.ndarray,
    rows: np.ndarray,
    targets: np.ndarray,
    clips: np.ndarray,
    contenders: np.ndarray,
    counts: np.ndarray,
    hits: np.ndarray,
    predicted: np.ndarray,
) -> None:
    """Add hits and predicted labels of each class, for ``clips`` by ``total + run``, to int64 (classes,)."""
    for clip in clips:
        best, label = -np.inf, 0
        for i in range(counts[clip]):
            c = contenders[clip, i]
            value = total[clip, c] + run[rows[clip], c]
            if value > best:
                best, label = value, c
        predicted[label] += 1
        if label == targets[clip]:
            hits[label] += 1


@numba.njit(cache=True, nogil=True)
def count_sets(
    total: np.ndarray,
    run: np.ndarray,
    rows: np.ndarray,
    targets: np.ndarray,
    threshold: float,
    hits: np.ndarray,
    predicted: np.ndarray,
) -> None:
    """Add hits and predicted labels of each class, by ``total + run >= threshold``; targets bool (clips, classes)."""
    for clip in range(len(total)):
        for c in range(total.shape[1]):
            if total[clip, c] + run[rows[clip], c] >= threshold:
                predicted[c] += 1
                hits[c] += targets[clip, c]


@numba.njit(cache=True, nogil=True)
def count_places(total: np.ndarray, run: np.ndarray, rows: np.ndarray, targets: np.ndarray, most: int) -> np.ndarray:
    """Count the clips with their true label in first, second, … place of ``total + run``: int64 (most,)."""
    found = np.zeros(most, np.int64)
    for clip in range(len(targets)):
        y = targets[clip]
        true = total[clip, y] + run[rows[clip], y]
        before = 0
        for c in range(total.shape[1]):
            value = total[clip, c] + run[rows[clip], c]
            before += value > true or (value == true and c < y)
        if before < most:
            found[before] += 1
    return found


@numba.njit(cache=True, nogil=True)
def average_precisions(
    total: np.ndarray, run: np.ndarray, rows: np.ndarray, positives: np.ndarray, first: np.ndarray
) -> np.ndarray:
    """Return the average precision of each class of ``total + run``, float64 (classes,): NaN without positive clips.

    - ``positives``: int (pairs,), the positive clips of class 0, then those of class 1, …
    - ``first``: int (classes + 1,), where each class begins in it

    The average precision of a class is the mean over its positive clips of the fraction of positives among the clips
    whose value is at least that clip's.
    """
    n_classes = total.shape[1]
    values = np.empty(len(positives))
    for c in range(n_classes):
        for i in range(first[c], first[c + 1]):
            clip = positives[i]
            values[i] = total[clip, c] + run[rows[clip], c]
        values[first[c] : first[c + 1]].sort()
    passed = np.zeros(len(positives), np.int64)  # clips whose value is at least this one and below the next one
    for clip in range(len(total)):
        row = rows[clip]
        for c in range(n_classes):
            low, high = first[c], first[c + 1]
            value = total[clip, c] + run[row, c]
            if low == high or value < values[low]:
                continue
            while high - low > 1:
                middle = (low + high) // 2
                if values[middle] <= value:
                    low = middle
                else:
                    high = middle
            passed[low] += 1
    found = np.full(n_classes, np.nan)
    for c in range(n_classes):
        n, clips, equal, part = first[c + 1] - first[c], 0, 0, 0.0
        for i in range(first[c + 1] - 1, first[c] - 1, -1):
            clips += passed[i]
            equal += 1
            if i == first[c] or values[i - 1] < values[i]:  # the first of equal ones: those after it passed too
                part += equal * (first[c + 1] - i) / clips
                equal = 0
        if n:
            found[c] = part / n
    return found


@numba.njit(cache=True, nogil=True)
def true_log_loss(total: np.ndarray, run: np.ndarray, rows: np.ndarray, targets: np.ndarray, picks: int) -> float:
    """Return the mean of -log of the true label's probability, ``total + run`` divided by ``picks``."""
    loss = 0.0
    for clip in range(len(targets)):
        y = targets[clip]
        loss -= np.log(max((total[clip, y] + run[rows[clip], y]) / picks, 1e-7))
    return loss / len(targets)


@numba.njit(cache=True, nogil=True)
def add_rows(total: np.ndarray, run: np.ndarray, rows: np.ndarray) -> None:
    """Add a run to the sum in place."""
    for clip in range(len(total)):
        for c in range(total.shape[1]):
            total[clip, c] += run[rows[clip], c]
