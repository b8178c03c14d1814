"""Methods that need no labels: means of probabilities, of their logarithms, of their powers, of their ranks."""

from collections.abc import Sequence

import numpy as np

from acoustic_kit.blending.arrays import checked, from_log_odds, log_odds


def mean(probabilities: np.ndarray | Sequence[np.ndarray], task: str = "single") -> np.ndarray:
    """Return the arithmetic mean over runs: float64 (clips, classes); rows sum to one if those of the runs do.

    ``task`` has no effect; all methods take it. Raises ValueError for a wrong shape or non-finite values.

    >>> mean(np.array([[[0.9, 0.1]], [[0.5, 0.5]]])).round(3).tolist()
    [[0.7, 0.3]]
    """
    return mean_of(checked(probabilities))


def geometric(probabilities: np.ndarray | Sequence[np.ndarray], task: str = "single") -> np.ndarray:
    """Return the geometric mean over runs of probabilities, float64 (clips, classes), normalized.

    ``single``: exp(mean(log p)), each row divided by its sum. ``multi``: classes are independent, so p and 1 - p are
    averaged and normalized to one (the sigmoid of the mean logit). Values are first clipped to [1e-7, 1]
    (``multi``: to [1e-7, 1 - 1e-7]).

    Raises ValueError for a wrong shape or non-finite values.

    >>> geometric(np.array([[[0.9, 0.1]], [[0.5, 0.5]]])).round(3).tolist()
    [[0.75, 0.25]]
    """
    return geometric_of(checked(probabilities), task)


def power(
    probabilities: np.ndarray | Sequence[np.ndarray], task: str = "single", weights: np.ndarray | None = None
) -> np.ndarray:
    """Return the power mean over runs with exponent 1/4, float64 (clips, classes).

    (Σ w p^(1/4))^4 lies between the arithmetic and the geometric mean: one run that is certain counts less than in the
    former, one that is not counts less than in the latter. ``weights``: (runs,), not negative, sum to one; None is
    equal ones. ``single``: each row is divided by its sum.

    Raises ValueError for a wrong shape or non-finite values.

    >>> power(np.array([[[0.81, 0.0256]], [[0.01, 0.0256]]]), "multi").round(3).tolist()
    [[0.16, 0.026]]
    """
    return power_of(checked(probabilities), task, weights)


def rank(probabilities: np.ndarray | Sequence[np.ndarray], task: str = "single") -> np.ndarray:
    """Return the mean over runs of each class's ranks over the clips, float64 (clips, classes).

    For each run and class the clips are ranked by probability (the mean rank for equal ones) and the ranks divided by
    the number of clips: values in (0, 1], the highest for the clip with the highest probability. Ranks remove the
    confidence of a run and the frequency of a class: every column has the same mean. The highest value of a row is the
    class for which the clip ranks highest among the clips *given here*, so the result depends on all of them.
    ``single``: each row is divided by its sum, which keeps its order. ``multi``: rows are not normalized; 0.5 is the
    median clip of a class, not a probability, which suits ``map`` but not ``f1``.

    Raises ValueError for a wrong shape or non-finite values.
    """
    return rank_of(checked(probabilities), task)


def mean_of(runs: Sequence[np.ndarray], task: str = "single") -> np.ndarray:
    """Return ``mean`` of a sequence of checked runs (clips, classes)."""
    total = np.zeros(runs[0].shape)
    for run in runs:  # run by run: needs the memory of one run
        total += run
    return np.asarray(total / len(runs))


def geometric_of(runs: Sequence[np.ndarray], task: str = "single") -> np.ndarray:
    """Return ``geometric`` of a sequence of checked runs."""
    total = np.zeros(runs[0].shape)
    for run in runs:
        total += log_odds(run, task)
    return from_log_odds(total / len(runs), task)


def power_of(runs: Sequence[np.ndarray], task: str = "single", weights: np.ndarray | None = None) -> np.ndarray:
    """Return ``power`` of a sequence of checked runs."""
    total = np.zeros(runs[0].shape)
    for run, weight in zip(runs, np.full(len(runs), 1 / len(runs)) if weights is None else weights, strict=True):
        total += weight * powers(run)
    blend = total**4
    return blend if task == "multi" else np.asarray(blend / np.maximum(blend.sum(axis=1, keepdims=True), 1e-300))


def powers(run: np.ndarray) -> np.ndarray:
    """Return p^(1/4) of one run, float64 (clips, classes); 0 for values below 0."""
    return np.asarray(np.sqrt(np.sqrt(np.maximum(run, 0, dtype=np.float64))))


def rank_of(runs: Sequence[np.ndarray], task: str = "single") -> np.ndarray:
    """Return ``rank`` of a sequence of checked runs."""
    from scipy.stats import rankdata

    blend = np.zeros(runs[0].shape)
    for run in runs:
        blend += rankdata(run, axis=0)
    blend /= len(runs) * len(blend)
    return blend if task == "multi" else np.asarray(blend / blend.sum(axis=1, keepdims=True))
