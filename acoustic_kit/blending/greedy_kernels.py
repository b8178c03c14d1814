"""Counts of a sum of picks with one more run, for each candidate run.

S (clips, classes) is the sum over picks, p the probabilities of a candidate: only the order of S + p within a row
matters. A class whose sum is lower than the highest by more than ``spread``, the highest p minus the lowest, cannot
become the label with one more pick. The kernels only read the other classes, the contenders: mostly one or two.

``total`` is float64 (clips, classes), ``run`` float (all clips, classes), of which ``rows`` int (clips,) are read.
"""

import numba
import numpy as np

from acoustic_kit.metrics.counts import PADDED

COMPARED = 256  # positive clips of a class; fewer are each compared with all clips, which takes less than a search


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
def class_measures(
    total: np.ndarray, run: np.ndarray, positives: np.ndarray, first: np.ndarray, known: np.ndarray, pad: float
) -> np.ndarray:
    """Return average precision, padded average precision and ROC-AUC of each class: float64 (3, classes), NaN for none.

    - ``total``, ``run``: float32 (classes, clips), whose sum ranks the clips; NaN for unknown targets
    - ``positives``: int (pairs,), the positive clips of class 0, then those of class 1, …
    - ``first``: int (classes + 1,), where each class begins in it
    - ``known``: int (classes,), number of clips whose target is known
    - ``pad``: value of the additional positive clips
    """
    n_classes, n = total.shape
    found = np.full((3, n_classes), np.nan)
    values = np.empty(n, np.float32)
    for c in range(n_classes):
        for clip in range(n):
            values[clip] = total[c, clip] + run[c, clip]
        above_pad = known[c] - _compare(values, np.float32(pad))[0]
        ordered = np.sort(values[positives[first[c] : first[c + 1]]])
        below, up_to = _ranks(values, ordered)
        n_positive, passed, precisions, padded, pairs, equal = len(ordered), 0, 0.0, 0.0, 0.0, 0
        for i in range(n_positive):
            if i and ordered[i] > ordered[i - 1]:
                equal = i  # the first of equal ones
            hits, clips = n_positive - equal, known[c] - below[i]
            precisions += hits / clips
            more = PADDED if ordered[i] <= pad else 0
            padded += (hits + more) / (clips + more)
            passed += ordered[i] >= pad
            pairs += (below[i] + up_to[i]) / 2
        if n_positive:
            found[0, c] = precisions / n_positive
        found[1, c] = (padded + PADDED * (passed + PADDED) / (above_pad + PADDED)) / (n_positive + PADDED)
        if 0 < n_positive < known[c]:
            among_positives = n_positive * n_positive / 2
            found[2, c] = (pairs - among_positives) / (n_positive * (known[c] - n_positive))
    return found


@numba.njit(cache=True, nogil=True)
def _ranks(values: np.ndarray, ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many values are below, and at most, each of some ascending ones: float64 each."""
    below, up_to = np.zeros(len(ordered)), np.zeros(len(ordered))
    if len(ordered) <= COMPARED:
        for i in range(len(ordered)):
            below[i], up_to[i] = _compare(values, ordered[i])
        return below, up_to
    for value in values:
        if value > ordered[-1] or np.isnan(value):
            continue
        at = np.searchsorted(ordered, value)
        up_to[at] += 1
        while at < len(ordered) and ordered[at] == value:
            at += 1
        if at < len(ordered):
            below[at] += 1
    return np.cumsum(below), np.cumsum(up_to)


@numba.njit(cache=True, nogil=True)
def _compare(values: np.ndarray, limit: float) -> tuple[np.int32, np.int32]:
    """Return how many values are below, and at most, a limit; int32 throughout, which LLVM adds as vectors."""
    below, up_to = np.int32(0), np.int32(0)
    for i in range(len(values)):
        below = np.int32(below + np.int32(values[i] < limit))
        up_to = np.int32(up_to + np.int32(values[i] <= limit))
    return below, up_to


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
