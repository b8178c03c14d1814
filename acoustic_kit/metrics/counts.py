"""Counts of predictions, from which metrics are computed.

Every count is a sum over clips. Of weighted clips, as bootstrap draws are, all draws are therefore counted at once: by
one product of a sparse matrix with the matrix of weights.
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np

from acoustic_kit.metrics.ranking import Measure, average_precision, label_precisions, measured, roc_auc

MULTI_LABEL_THRESHOLD = 0.5
SORTED_FROM = 10  # classes, from which a whole sort is faster
PADDED = 5  # positive rows of probability 1 that `padded_average_precision` adds to each class


class Counts(Protocol):
    """Counts of the predictions for some clips; with a last dimension of draws if the clips are weighted.

    Unknown targets of a class are left out of its counts.
    """

    @property
    def targets(self) -> np.ndarray:
        """Targets of the clips, as in `metrics.score`."""

    @property
    def probabilities(self) -> np.ndarray | None:
        """Probabilities, float (clips, classes); None if the predictions are labels."""

    @property
    def weights(self) -> np.ndarray | None:
        """How often each clip is in each draw, (clips, draws); None for all clips once."""

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
        """Number of clips with their target in first, second, … place (single-label): (places, …)."""

    @property
    def squared_distance(self) -> np.ndarray:
        """Sum of the squared differences of predicted and true class position, and that by chance: (2, …)."""

    @property
    def average_precision(self) -> np.ndarray:
        """Average precision of each class, NaN without positive clips: float (classes, …)."""

    @property
    def padded_average_precision(self) -> np.ndarray:
        """Average precision of each class with five more positive clips of probability 1: float (classes, …)."""

    @property
    def pooled_average_precision(self) -> np.ndarray:
        """Average precision of the clips of all classes together, NaN without positive ones: float (…)."""

    @property
    def roc_auc(self) -> np.ndarray:
        """Area under the ROC curve of each class, NaN without positive or negative clips: float (classes, …)."""

    @property
    def label_precision(self) -> np.ndarray:
        """Sum over all labels of a label's precision in the ranking of its clip: float (…)."""

    @property
    def log_loss(self) -> np.ndarray:
        """Mean log-loss of each class, or (1, …) of a single label: float (classes, …), NaN without clips."""


class PredictionCounts:
    """Counts of probabilities or of ranked labels, each computed when it is first read.

    Parameters
    ----------
    targets : int (clips,) class positions, or bool (clips, classes), or float (clips, classes) of 0, 1 and NaN, unknown
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
    def known(self) -> np.ndarray | None:
        """Which targets are known: bool (clips, classes); None if all are."""
        known = ~np.isnan(self.targets) if self.targets.dtype.kind == "f" else None
        return None if known is None or known.all() else known

    @cached_property
    def positive(self) -> np.ndarray:
        """Which classes are a target of each clip: bool (clips, classes)."""
        if self.multi_label:
            return self.targets if self.targets.dtype == bool else self.targets == 1
        return np.asarray(self.targets[:, None] == np.arange(self.n_classes))

    @cached_property
    def true(self) -> np.ndarray:
        """Number of clips with each class as a target: (classes, …)."""
        return self._sum(self.positive if self.multi_label else self.targets)

    @cached_property
    def predicted(self) -> np.ndarray:
        """Number of clips for which each class is predicted: (classes, …)."""
        return self._sum(self._labels if self.known is None else self._labels & self.known)

    @cached_property
    def hits(self) -> np.ndarray:
        """Number of clips for which each class is a target and predicted: (classes, …)."""
        both = (
            self.positive & self._labels
            if self.multi_label
            else np.where(self._labels == self.targets, self.targets, -1)
        )
        return self._sum(both)

    @cached_property
    def places(self) -> np.ndarray:
        """Number of clips with their target in first, second, … place (single-label): (places, …)."""
        if self.ranked is not None:
            at = self.ranked == self.targets[:, None]
            return self._sum(np.where(at.any(axis=1), at.argmax(axis=1), -1), self.ranked.shape[1])
        assert self.probabilities is not None
        own = np.take_along_axis(self.probabilities, self.targets[:, None], axis=1)
        first_of_equal = (self.probabilities == own) & (np.arange(self.n_classes) < self.targets[:, None])
        return self._sum(((self.probabilities > own) | first_of_equal).sum(axis=1), self.n_classes)

    @cached_property
    def squared_distance(self) -> np.ndarray:
        """Sum of the squared differences of predicted and true class position, and that by chance: float64 (2, …).

        Single-label. A missing label counts as the class that is farthest from the target.
        """
        farthest = np.where(self.targets > self.n_classes - 1 - self.targets, 0, self.n_classes - 1)
        labels = np.where(self._labels < 0, farthest, self._labels)
        observed = self._total((labels - self.targets).astype(np.float64) ** 2)
        return np.stack([observed, distance_by_chance(self.true, self._sum(labels))])

    @cached_property
    def average_precision(self) -> np.ndarray:
        """Average precision of each class, NaN without positive clips: float64 (classes, …)."""
        return self._of_classes(average_precision)

    @cached_property
    def padded_average_precision(self) -> np.ndarray:
        """Average precision of each class with five more positive clips of probability 1: float64 (classes, …)."""
        assert self.probabilities is not None
        targets = self.positive if self.known is None else self.targets
        rows = (PADDED, self.n_classes)
        weights = self.weights
        if weights is not None:
            weights = np.concatenate([weights, np.ones((PADDED, weights.shape[1]), weights.dtype)])
        padded = PredictionCounts(
            np.concatenate([targets, np.ones(rows, targets.dtype)]),
            np.concatenate([self.probabilities, np.ones(rows, self.probabilities.dtype)]),
            weights=weights,
        )
        return padded.average_precision

    @cached_property
    def pooled_average_precision(self) -> np.ndarray:
        """Average precision of the clips of all classes together, NaN without positive ones: float64 (…)."""
        assert self.probabilities is not None
        clips, classes = np.nonzero(np.ones_like(self.positive) if self.known is None else self.known)
        cells = self.probabilities[clips, classes], self.positive[clips, classes], clips
        return measured(average_precision, *cells, self.weights)

    @cached_property
    def roc_auc(self) -> np.ndarray:
        """Area under the ROC curve of each class, NaN without positive or negative clips: float64 (classes, …)."""
        return self._of_classes(roc_auc)

    @cached_property
    def label_precision(self) -> np.ndarray:
        """Sum over all labels of a label's precision in the ranking of its clip: float64 (…)."""
        assert self.probabilities is not None
        return self._total(label_precisions(self.probabilities, self.positive, self.known))

    @cached_property
    def log_loss(self) -> np.ndarray:
        """Mean log-loss of each class, or (1, …) of a single label: float64 (classes, …), NaN without clips.

        Probabilities are clipped to [ε, 1 - ε], ε the precision of their type, as scikit-learn does.
        """
        assert self.probabilities is not None
        epsilon = np.finfo(self.probabilities.dtype).eps
        if not self.multi_label:
            own = np.take_along_axis(self.probabilities, self.targets[:, None], axis=1)[:, 0]
            losses = -np.log(np.clip(own, epsilon, 1 - epsilon).astype(np.float64))
            return np.asarray(self._total(losses) / self.n_clips)[None]
        likelihood = np.clip(self.probabilities, epsilon, 1 - epsilon).astype(np.float64)
        losses = -np.log(np.where(self.positive, likelihood, 1 - likelihood))
        if self.known is None:
            return np.asarray(self._total(losses) / self.n_clips)
        n = self._sum(self.known)
        total = self._total(np.where(self.known, losses, 0))
        return np.where(n > 0, total / np.maximum(n, 1), np.nan)

    @cached_property
    def _labels(self) -> np.ndarray:
        """Predicted labels: int (clips,), -1 for none, or bool (clips, classes)."""
        if not self.multi_label:
            if self.ranked is not None:
                return self.ranked[:, 0]
            assert self.probabilities is not None
            return np.asarray(np.argmax(self.probabilities, axis=1))
        if self.probabilities is not None:
            return np.asarray(self.probabilities >= MULTI_LABEL_THRESHOLD)
        assert self.ranked is not None
        labels = np.zeros((len(self.targets), self.n_classes + 1), dtype=bool)  # -1 is the last column
        np.put_along_axis(labels, self.ranked, True, axis=1)
        return labels[:, :-1]

    def _of_classes(self, measure: Measure) -> np.ndarray:
        """Return a measure of each class, NaN without positive clips: float64 (classes, …)."""
        assert self.probabilities is not None
        positive, values = np.ascontiguousarray(self.positive.T), np.ascontiguousarray(self.probabilities.T)
        found = np.full((self.n_classes, *(() if self.weights is None else self.weights.shape[1:])), np.nan)
        clips = np.arange(len(self.targets))
        for c in np.flatnonzero(positive.any(axis=1)):
            part = slice(None) if self.known is None else self.known[:, c]
            found[c] = measured(measure, values[c, part], positive[c, part], clips[part], self.weights)
        return found

    def _total(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over clips of float64 (clips,) or (clips, classes): (…) or (classes, …)."""
        return np.asarray(values.sum(axis=0) if self.weights is None else values.T @ self.weights)

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


def distance_by_chance(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the expected sum of squared differences of independent targets and labels, float64 (…).

    - ``true``, ``predicted``: (classes, …), the number of clips with each class; both have the same sum
    """
    position = np.arange(len(true), dtype=np.float64)
    first = (position @ true) * (position @ predicted) / np.maximum(true.sum(axis=0), 1)
    return np.asarray(position**2 @ true + position**2 @ predicted - 2 * first)


def top_k(probabilities: np.ndarray, k: int) -> np.ndarray:
    """Return the k most probable classes of each row, best first; of equal ones the lower position first.

    ``probabilities``: finite float (clips, classes) → int64 (clips, min(k, classes)).
    """
    if k > SORTED_FROM:
        return np.argsort(-np.asarray(probabilities, dtype=float), axis=1, kind="stable")[:, :k]
    first = np.argmax(probabilities, axis=1)
    found = [first]
    if k > 1:
        rest = np.array(probabilities, dtype=float)
        for _ in range(min(k, rest.shape[1]) - 1):
            np.put_along_axis(rest, found[-1][:, None], -np.inf, axis=1)
            found.append(np.argmax(rest, axis=1))
    return np.stack(found, axis=1)
