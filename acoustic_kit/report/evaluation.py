"""Errors and scores of predictions by class: pure functions on arrays.

`targets` are int (clips,) class positions, or in multi-label tasks bool (clips, classes), or float of 0, 1 and NaN:
unknown targets are left out. `probabilities` are float (clips, classes), as everywhere in akit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from acoustic_kit.metrics import MULTI_LABEL_THRESHOLD
from acoustic_kit.report.content import ClassScores, Confusion, Reliability

BINS = 10
MOST_CLASSES = 60  # a larger confusion matrix is unreadable; then the classes with the most mistakes are shown
PAIRS = 10


def errors(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the probability assigned to errors: float32 (clips,), in [0, 1].

    Single-label: 1 - p(true class). Multi-label: |p - label|, averaged over the classes.
    """
    if targets.ndim == 1:
        return np.asarray(1 - probabilities[np.arange(len(targets)), targets], np.float32)
    known = ~np.isnan(targets)
    distance = np.abs(probabilities - np.where(known, targets, 0))
    return np.asarray(distance.sum(axis=1, where=known) / known.sum(axis=1).clip(min=1), np.float32)


def is_wrong(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return whether the decision is wrong: bool (clips,). Multi-label: whether any label is wrong."""
    if targets.ndim == 1:
        return np.asarray(np.argmax(probabilities, axis=1) != targets)
    wrong = (probabilities >= MULTI_LABEL_THRESHOLD) != (targets == 1)
    return np.asarray((wrong & ~np.isnan(targets)).any(axis=1))


def confusion(targets: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> Confusion:
    """Return the confusion matrix of a single-label task, with the most frequent mistakes."""
    from sklearn.metrics import confusion_matrix

    predicted = np.argmax(probabilities, axis=1)
    counts = confusion_matrix(targets, predicted, labels=np.arange(len(classes)))
    mistakes = counts.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:PAIRS]
    pairs = [(*divmod(int(cell), len(classes)), int(mistakes.flat[cell])) for cell in order if mistakes.flat[cell]]
    support = counts.sum(axis=1)
    shown = np.arange(len(classes))
    if len(classes) > MOST_CLASSES:
        shown = np.sort(np.argsort(-(mistakes.sum(axis=0) + mistakes.sum(axis=1)), kind="stable")[:MOST_CLASSES])
    return Confusion(
        tuple(classes[int(c)] for c in shown),
        counts[np.ix_(shown, shown)],
        len(classes),
        tuple((classes[true], classes[guess], n, n / int(support[true])) for true, guess, n in pairs),
    )


def class_scores(targets: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> tuple[ClassScores, ...]:
    """Return precision, recall, F1 and support of every class, and in multi-label tasks average precision."""
    from sklearn.metrics import average_precision_score

    several = targets.ndim == 2
    known = ~np.isnan(targets) if several else np.ones((len(targets), 1), dtype=bool)
    positive = targets == 1 if several else targets[:, None] == np.arange(len(classes))
    predicted = probabilities >= MULTI_LABEL_THRESHOLD
    if not several:
        predicted = np.argmax(probabilities, axis=1)[:, None] == np.arange(len(classes))
    support, n_predicted = positive.sum(axis=0), (predicted & known).sum(axis=0)
    hits = (predicted & positive).sum(axis=0)
    with np.errstate(invalid="ignore"):
        precision, recall, f1 = hits / n_predicted, hits / support, 2 * hits / (n_predicted + support)
    return tuple(
        ClassScores(
            name,
            int(support[c]),
            _finite(precision[c]),
            _finite(recall[c]),
            _finite(f1[c]),
            float(average_precision_score(positive[known[:, c], c], probabilities[known[:, c], c]))
            if several and support[c]
            else None,
        )
        for c, name in enumerate(classes)
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def reliability(targets: np.ndarray, probabilities: np.ndarray) -> Reliability:
    """Return the accuracy of predictions by confidence, in ten bins of equal width, and the calibration error.

    Single-label: of the first label's probability. Multi-label: of the probability of every class of every clip.
    """
    if targets.ndim == 1:
        confidence = probabilities.max(axis=1)
        right = np.argmax(probabilities, axis=1) == targets
        what = "the first label"
    else:
        known = ~np.isnan(targets)
        confidence, right, what = probabilities[known], targets[known], "every class of every clip"
    edges = np.linspace(0, 1, BINS + 1)
    bins = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, BINS - 1)  # (low, high], as scikit-learn's
    counts = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bins, confidence, BINS) / counts
        accuracy = np.bincount(bins, right, BINS) / counts
    ece = float(np.nansum(counts * np.abs(accuracy - mean)) / counts.sum())
    return Reliability(edges, counts, mean, accuracy, ece, what)


def correlation(errors: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of errors (runs, clips): float (runs, runs), NaN if a run's errors do not vary."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.atleast_2d(np.corrcoef(errors))


def most_confident_mistakes(
    targets: np.ndarray, probabilities: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the `n` clips with the most confident wrong predictions, the worst first.

    Returns the clips' positions, the wrong class of each, and the probability of the error: single-label, that of the
    first label; multi-label, p if the class is no label and 1 - p if it is.
    """
    if targets.ndim == 1:
        wrong_class = np.argmax(probabilities, axis=1)
        certainty = np.where(wrong_class != targets, probabilities.max(axis=1), -1.0)
    else:
        distance = np.nan_to_num(np.abs(probabilities - targets))
        wrong_class = np.argmax(distance, axis=1)
        certainty = np.where(is_wrong(targets, probabilities), distance.max(axis=1), -1.0)
    order = np.argsort(-certainty, kind="stable")[:n]
    order = order[certainty[order] >= 0]
    return order, wrong_class[order], certainty[order]
