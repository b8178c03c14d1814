"""Measures of ranked probabilities: average precision and ROC-AUC of clips, precision of the labels of a clip.

The first two depend on few counts: how many clips are at and between the thresholds of a class, which are the distinct
values of its positive clips. Of weighted clips, as bootstrap draws are, all draws are counted by one sparse product.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

MAX_COUNTS = 20_000_000  # thresholds × draws in memory at once
MAX_COMPARED = 20_000_000  # values of a block of rows, each compared with one label's

Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]


def measured(
    measure: Measure, values: np.ndarray, positive: np.ndarray, clips: np.ndarray, weights: np.ndarray | None
) -> np.ndarray:
    """Return `average_precision` or `roc_auc` of some cells, float64 (…).

    - `values`: float (cells,)
    - `positive`: bool (cells,)
    - `clips`: int (cells,), the row of `weights` of each cell
    - `weights`: (clips, draws); None counts each cell once
    """
    thresholds, place = np.unique(values[positive], return_inverse=True)
    if weights is None:
        ordered = np.sort(values)
        edges = np.zeros(2 * len(thresholds) + 2, np.int64)
        edges[1:-1:2] = np.searchsorted(ordered, thresholds, "left")
        edges[2:-1:2] = np.searchsorted(ordered, thresholds, "right")
        edges[-1] = len(values)
        return measure(np.bincount(place, minlength=len(thresholds)), edges[1:] - edges[:-1])
    between = np.searchsorted(thresholds, values, "left") + np.searchsorted(thresholds, values, "right")
    of_positive = _members(place, clips[positive], (len(thresholds), len(weights)))
    of_all = _members(between, clips, (2 * len(thresholds) + 1, len(weights)))
    step = max(1, MAX_COUNTS // of_all.shape[0])
    parts = [weights[:, start : start + step] for start in range(0, weights.shape[1], step)]
    return np.concatenate(
        [measure((of_positive @ part).astype(np.float64), (of_all @ part).astype(np.float64)) for part in parts]
    )


def average_precision(positive: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """Return AP = Σ (R_n - R_{n-1}) P_n over the thresholds, as scikit-learn's ``average_precision_score``.

    - `positive`: (thresholds, …), the number of positive clips at each threshold, ascending
    - `clips`: (2 * thresholds + 1, …), the number of clips below the first threshold, at it, between it and the second,
      …, above the last

    NaN without positive clips.
    """
    descending = positive[::-1]
    found, passed = np.cumsum(descending, axis=0), np.cumsum(clips[::-1], axis=0)[1::2]
    total = positive.sum(axis=0)
    value = (descending * (found / np.maximum(passed, 1))).sum(axis=0) / np.maximum(total, 1)
    return np.where(total > 0, value, np.nan)


def roc_auc(positive: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """Return the fraction of pairs, a positive and a negative clip, in the right order; equal values count as half.

    Parameters as for `average_precision`; NaN without positive or without negative clips.
    """
    negative = clips.copy()
    negative[1::2] -= positive
    lower = np.cumsum(negative, axis=0)[:-1:2]
    total = positive.sum(axis=0) * negative.sum(axis=0)
    value = (positive * (lower + negative[1::2] / 2)).sum(axis=0) / np.maximum(total, 1)
    return np.where(total > 0, value, np.nan)


def label_precisions(probabilities: np.ndarray, positive: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """Return the sum over the labels of each clip of the label's precision, float64 (clips,).

    The precision of a label is the fraction of labels among the classes that are at least as probable; unknown classes
    are left out.

    - `probabilities`: float (clips, classes)
    - `positive`, `known`: bool (clips, classes); None if all are known
    """
    found = np.zeros(len(positive))
    clips, classes = np.nonzero(positive)
    size = max(1, MAX_COMPARED // positive.shape[1])
    for start in range(0, len(clips), size):
        rows = clips[start : start + size]
        at_least = probabilities[rows] >= probabilities[rows, classes[start : start + size]][:, None]
        if known is not None:
            at_least &= known[rows]
        precision = (at_least & positive[rows]).sum(axis=1) / at_least.sum(axis=1)
        found += np.bincount(rows, precision, minlength=len(found))
    return found


def _members(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]):  # type: ignore[no-untyped-def]
    """Return the sparse float32 matrix with a one at each (row, column); repeated ones add up."""
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
