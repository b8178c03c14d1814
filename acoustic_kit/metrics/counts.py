"""Counts of predictions, from which metrics are computed.

Every count is a sum over clips. Of weighted clips, as bootstrap draws are, all draws are therefore counted at once: by
one product of a sparse matrix with the matrix of weights.
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np

MULTI_LABEL_THRESHOLD = 0.5
MOST_PLACES = 3  # that `places` counts


class Counts(Protocol):
    """Counts of the predictions for some clips; with a last dimension of draws if the clips are weighted."""

    @property
    def multi_label(self) -> bool:
        """Whether a clip may have several labels."""

    @property
    def n_clips(self) -> int | np.ndarray:
        """Number of clips, or float64 (draws,)."""

    @property
    def true(self) -> np.ndarray:
        """Number of clips with each class as a target: (classes, …)."""

    @property
    def predicted(self) -> np.ndarray:
        """Number of clips for which each class is predicted: (classes, …)."""

    @property
    def hits(self) -> np.ndarray:
        """Number of clips for which each class is a target and predicted: (classes, …)."""

    @property
    def places(self) -> np.ndarray:
        """Number of clips with their target in first, second and third place (single-label): (3, …)."""

    @property
    def average_precision(self) -> np.ndarray:
        """Average precision of each class, NaN without positive clips: float (classes, …)."""


class PredictionCounts:
    """Counts of probabilities or of ranked labels, each computed when it is first read.

    Parameters
    ----------
    targets : int (clips,) class positions, or bool (clips, classes)
    probabilities : float (clips, classes); None if the predictions are labels
    ranked : int (clips, k) class positions, best first, -1 for none; for a multi-label task, the predicted set
    weights : (clips, draws), how often each clip is in each draw; None for all clips once

    """

    def __init__(
        self,
        targets: np.ndarray,
        probabilities: np.ndarray | None = None,
        *,
        ranked: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> None:
        self.targets, self.probabilities, self.ranked, self.weights = targets, probabilities, ranked, weights
        self.multi_label = targets.ndim == 2

    @cached_property
    def unweighted(self) -> PredictionCounts:
        """Counts of the same clips, each once."""
        return PredictionCounts(self.targets, self.probabilities, ranked=self.ranked)

    @property
    def n_clips(self) -> int | np.ndarray:
        """Number of clips, or float64 (draws,)."""
        return len(self.targets) if self.weights is None else self.weights.sum(axis=0, dtype=np.float64)

    @cached_property
    def n_classes(self) -> int:
        """Number of classes; for single-label ranked predictions, up to the last class that occurs."""
        if self.multi_label:
            return int(self.targets.shape[1])
        if self.probabilities is not None:
            return int(self.probabilities.shape[1])
        assert self.ranked is not None
        return int(max(self.targets.max(initial=0), self.ranked.max(initial=0))) + 1

    @cached_property
    def true(self) -> np.ndarray:
        """Number of clips with each class as a target: (classes, …)."""
        return self._sum(self.targets)

    @cached_property
    def predicted(self) -> np.ndarray:
        """Number of clips for which each class is predicted: (classes, …)."""
        return self._sum(self._labels)

    @cached_property
    def hits(self) -> np.ndarray:
        """Number of clips for which each class is a target and predicted: (classes, …)."""
        both = (
            self.targets & self._labels
            if self.multi_label
            else np.where(self._labels == self.targets, self.targets, -1)
        )
        return self._sum(both)

    @cached_property
    def places(self) -> np.ndarray:
        """Number of clips with their target in first, second and third place (single-label): (3, …)."""
        at = self._first(MOST_PLACES) == self.targets[:, None]
        return self._sum(np.where(at.any(axis=1), at.argmax(axis=1), -1), MOST_PLACES)

    @cached_property
    def average_precision(self) -> np.ndarray:
        """Average precision of each class, NaN without positive clips: float64 (classes, …)."""
        assert self.probabilities is not None
        positives = self.targets if self.multi_label else self.targets[:, None] == np.arange(self.n_classes)
        found = np.full((self.n_classes, *(() if self.weights is None else self.weights.shape[1:])), np.nan)
        for c in np.flatnonzero(positives.any(axis=0)):
            found[c] = _average_precision(positives[:, c], self.probabilities[:, c], self.weights)
        return found

    @cached_property
    def _labels(self) -> np.ndarray:
        """Predicted labels: int (clips,), -1 for none, or bool (clips, classes)."""
        if not self.multi_label:
            return self._first(1)[:, 0]
        if self.probabilities is not None:
            return np.asarray(self.probabilities >= MULTI_LABEL_THRESHOLD)
        assert self.ranked is not None
        labels = np.zeros((len(self.targets), self.n_classes + 1), dtype=bool)  # -1 is the last column
        np.put_along_axis(labels, self.ranked, True, axis=1)
        return labels[:, :-1]

    def _first(self, k: int) -> np.ndarray:
        if self.ranked is not None:
            return self.ranked[:, :k]
        assert self.probabilities is not None
        return top_k(self.probabilities, k)

    def _sum(self, members: np.ndarray, n: int | None = None) -> np.ndarray:
        """Count the clips of each class; `members` is int (clips,), -1 for none, or bool (clips, classes)."""
        n = n or self.n_classes
        if self.weights is None:
            if members.ndim == 2:
                return np.asarray(members.sum(axis=0))
            return np.bincount(members[members >= 0], minlength=n)
        from scipy.sparse import csr_array

        if members.ndim == 2:
            matrix = csr_array(members.astype(np.float32))
        else:
            clips = np.flatnonzero(members >= 0)
            ones = np.ones(len(clips), np.float32)
            matrix = csr_array((ones, (clips, members[clips])), shape=(len(members), n))
        return np.asarray(matrix.T @ self.weights)  # float32 is exact: whole numbers below 2²⁴


def top_k(probabilities: np.ndarray, k: int) -> np.ndarray:
    """Return the k most probable classes of each row, best first; of equal ones the lower position first.

    ``probabilities``: finite float (clips, classes) → int64 (clips, min(k, classes)).
    """
    first = np.argmax(probabilities, axis=1)
    found = [first]
    if k > 1:
        rest = np.array(probabilities, dtype=float)
        for _ in range(min(k, rest.shape[1]) - 1):
            np.put_along_axis(rest, found[-1][:, None], -np.inf, axis=1)
            found.append(np.argmax(rest, axis=1))
    return np.stack(found, axis=1)


def _average_precision(positive: np.ndarray, values: np.ndarray, weights: np.ndarray | None) -> float | np.ndarray:
    """Return AP = Σ (R_n - R_{n-1}) P_n over the distinct thresholds, as scikit-learn's ``average_precision_score``.

    float64 (draws,) if there are weights, NaN for draws without positive clips.
    """
    order = np.argsort(-values)
    last_of_ties = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    positive = positive[order]
    if weights is None:
        return _mean_precision(np.cumsum(positive)[last_of_ties], last_of_ties + 1)
    found = np.empty(weights.shape[1])
    for draw in range(weights.shape[1]):
        drawn = weights[order, draw].astype(np.float64)
        found[draw] = _mean_precision(
            np.cumsum(drawn * positive)[last_of_ties], np.maximum(np.cumsum(drawn)[last_of_ties], 1)
        )
    return found


def _mean_precision(positives: np.ndarray, clips: np.ndarray) -> float:
    """Return the precision, averaged over positive clips; both arguments are counts up to each threshold."""
    if positives[-1] == 0:
        return np.nan
    return float(np.sum(np.diff(positives, prepend=0) * (positives / clips)) / positives[-1])
