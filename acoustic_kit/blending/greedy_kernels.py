"""Counts of a sum of picks with one more run, for each candidate run.

S (clips, classes) is the sum over picks, p the probabilities of a candidate: only the order of S + p within a row
matters. A class whose sum is lower than the highest by more than ``spread``, the highest p minus the lowest, cannot
become the label with one more pick. The kernels only read the other classes, the contenders: mostly one or two.

``total`` is float64 (clips, classes), ``run`` float (all clips, classes), of which ``rows`` int (clips,) are read.
``truth`` is int8 (clips, classes): 1 for a label, 0 for none, -1 if unknown.

A metric that compares clips reads float32 (classes, clips) instead: ``total`` and ``run``, whose sum ranks the first
``known`` (classes,) clips of each class; the nearer these are to descending order, the faster. ``positives`` int
(pairs,) are the positive clips of class 0, then those of class 1, …; ``first`` int (classes + 1,) is where each class
begins in it.
"""

import numba
import numpy as np

from acoustic_kit.metrics.counts import PADDED

EPSILON = float(np.finfo(np.float64).eps)
MULTIPLIED = 16  # likelihoods of which one logarithm is taken; the product of more could be below the least float64
BLOCK = 256  # clips that are compared with a positive one at once
COMPARED = 256  # positive clips of a class; fewer are each compared with the clips, which takes less than a search


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
    truth: np.ndarray,
    threshold: float,
    hits: np.ndarray,
    predicted: np.ndarray,
) -> None:
    """Add hits and predicted labels of each class, by ``total + run >= threshold``."""
    for clip in range(len(total)):
        for c in range(total.shape[1]):
            if total[clip, c] + run[rows[clip], c] >= threshold and truth[clip, c] >= 0:
                predicted[c] += 1
                hits[c] += truth[clip, c]


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
def label_precision(total: np.ndarray, run: np.ndarray, rows: np.ndarray, truth: np.ndarray) -> float:
    """Return the sum over all labels of a label's precision in the ranking of its clip by ``total + run``."""
    found, values, labels = 0.0, np.empty(total.shape[1]), np.empty(total.shape[1], np.int64)
    for clip in range(len(total)):
        n, sums, own, known = 0, total[clip], run[rows[clip]], truth[clip]
        for c in range(len(values)):
            value = sums[c] + own[c]
            values[c] = value if known[c] >= 0 else -np.inf
        for c in range(len(values)):
            if known[c] > 0:
                labels[n] = c
                n += 1
        for label in labels[:n]:
            hits = 0
            for other in labels[:n]:
                hits += values[other] >= values[label]
            found += hits / _compare(values, values[label])[0]
    return found


@numba.njit(cache=True, nogil=True)
def log_losses(total: np.ndarray, run: np.ndarray, rows: np.ndarray, truth: np.ndarray, picks: int) -> np.ndarray:
    """Return the sum of -log of the likelihood of each class, ``total + run`` divided by ``picks``: (classes,)."""
    losses, products = np.zeros(total.shape[1]), np.ones(total.shape[1])
    for clip in range(len(total)):
        sums, own, known = total[clip], run[rows[clip]], truth[clip]
        for c in range(len(losses)):
            p = min(max((sums[c] + own[c]) / picks, EPSILON), 1 - EPSILON)
            likelihood = p if known[c] > 0 else 1 - p
            products[c] *= likelihood if known[c] >= 0 else 1.0
        if clip % MULTIPLIED == MULTIPLIED - 1 or clip == len(total) - 1:
            losses -= np.log(products)
            products[:] = 1
    return losses


@numba.njit(cache=True, nogil=True)
def true_log_loss(
    total: np.ndarray, run: np.ndarray, rows: np.ndarray, targets: np.ndarray, picks: int, floor: float
) -> float:
    """Return the mean of -log of the true label's probability, ``total + run`` divided by ``picks``, at least floor."""
    loss = 0.0
    for clip in range(len(targets)):
        y = targets[clip]
        loss -= np.log(min(max((total[clip, y] + run[rows[clip], y]) / picks, floor), 1 - EPSILON))
    return loss / len(targets)


@numba.njit(cache=True, nogil=True)
def class_measures(
    total: np.ndarray, run: np.ndarray, positives: np.ndarray, first: np.ndarray, known: np.ndarray, pad: float
) -> np.ndarray:
    """Return average precision, padded average precision and ROC-AUC of each class: float64 (3, classes), NaN for none.

    ``pad`` is the value of the additional positive clips.
    """
    found = np.full((3, len(total)), np.nan)
    buffer = np.empty(total.shape[1], np.float32)
    for c in range(len(total)):
        values = buffer[: known[c]]
        for clip in range(len(values)):
            values[clip] = total[c, clip] + run[c, clip]
        ordered = np.sort(values[positives[first[c] : first[c + 1]]])
        at_least, above = _passing(values, ordered)
        at_pad = _compare(values, np.float32(pad))[0]
        n_positive, passed, precisions, padded, pairs, equal = len(ordered), 0, 0.0, 0.0, 0.0, 0
        for i in range(n_positive):
            if i and ordered[i] > ordered[i - 1]:
                equal = i  # the first of equal ones
            hits, clips = n_positive - equal, at_least[i]
            precisions += hits / clips
            more = PADDED if ordered[i] <= pad else 0
            padded += (hits + more) / (clips + more)
            passed += ordered[i] >= pad
            pairs += known[c] - (clips + above[i]) / 2
        if n_positive:
            found[0, c] = precisions / n_positive
        found[1, c] = (padded + PADDED * (passed + PADDED) / (at_pad + PADDED)) / (n_positive + PADDED)
        if 0 < n_positive < known[c]:
            among_positives = n_positive * n_positive / 2
            found[2, c] = (pairs - among_positives) / (n_positive * (known[c] - n_positive))
    return found


@numba.njit(cache=True, nogil=True)
def _passing(values: np.ndarray, ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many values are at least, and above, each of some ascending ones: int64 each."""
    if len(ordered) > COMPARED:
        at_least, above = _passing_of_many(values, ordered)
        return at_least, above
    at_least, above = np.zeros(len(ordered), np.int64), np.zeros(len(ordered), np.int64)
    starts = np.arange(0, len(values), BLOCK)  # of the blocks with values that pass
    for i in range(len(ordered)):
        if i and ordered[i] == ordered[i - 1]:
            at_least[i], above[i] = at_least[i - 1], above[i - 1]
            continue
        kept = 0
        for start in starts:
            passing, greater = _compare(values[start : start + BLOCK], ordered[i])
            if passing:
                starts[kept] = start
                kept += 1
            at_least[i] += passing
            above[i] += greater
        starts = starts[:kept]
    return at_least, above


@numba.njit(cache=True, nogil=True)
def _passing_of_many(values: np.ndarray, ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what ``_passing`` does, by a search of each value."""
    n = len(ordered)
    at_least, above = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    for value in values:
        at = np.searchsorted(ordered, value, "right")
        at_least[at] += 1
        above[np.searchsorted(ordered, value) if at and ordered[at - 1] == value else at] += 1
    return np.cumsum(at_least[::-1])[:n][::-1], np.cumsum(above[::-1])[:n][::-1]


@numba.njit(cache=True, nogil=True)
def _compare(values: np.ndarray, limit: float) -> tuple[np.int32, np.int32]:
    """Return how many values are at least, and above, a limit; int32 throughout, which LLVM adds as vectors."""
    at_least, above = np.int32(0), np.int32(0)
    for i in range(len(values)):
        at_least = np.int32(at_least + np.int32(values[i] >= limit))
        above = np.int32(above + np.int32(values[i] > limit))
    return at_least, above


@numba.njit(cache=True, nogil=True)
def add_rows(total: np.ndarray, run: np.ndarray, rows: np.ndarray) -> None:
    """Add a run to the sum in place."""
    for clip in range(len(total)):
        for c in range(total.shape[1]):
            total[clip, c] += run[rows[clip], c]
