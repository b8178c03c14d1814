"""Methods that learn nothing: means of probabilities, of their logarithms, of their ranks."""

from collections.abc import Sequence

import numpy as np

from acoustic_kit.blending.arrays import checked, from_log_odds, log_odds


def mean(probabilities: np.ndarray | Sequence[np.ndarray], task: str = "single") -> np.ndarray:
    """The arithmetic mean over runs: float64 (clips, classes); rows sum to what the runs' rows sum to.

    ``task`` changes nothing; all methods take it. Raises ValueError for a wrong shape or non-finite values.
    """
    return mean_of(checked(probabilities))


def geometric(probabilities: np.ndarray | Sequence[np.ndarray], task: str = "single") -> np.ndarray:
    """The geometric mean over runs of probabilities, float64 (clips, classes), normalised.

    ``single``: exp(mean(log p)), each row divided by its sum. ``multi``: each class is its own question, so p and 1 - p
    are averaged and normalised to one (the sigmoid of the mean logit). Values are first clipped to [1e-7, 1]
    (``multi``: to [1e-7, 1 - 1e-7]).

    Raises ValueError for a wrong shape or non-finite values.
    """
    return geometric_of(checked(probabilities), task)


def rank(probabilities: np.ndarray | Sequence[np.ndarray], task: str = "single") -> np.ndarray:
    """The mean over runs of each class's ranks over the clips, float64 (clips, classes).

    For each run and class the clips are ranked by probability (the mean rank for equal ones) and the ranks divided by
    the number of clips: values in (0, 1], the highest for the clip that the run gives most to this class. This takes
    away how confident a run is, and how frequent a class: every column has the same mean. A row's highest value is the
    class for which the clip stands out most among the clips *given here*, so the result depends on all of them.
    ``single``: each row is divided by its sum, which keeps its order. ``multi``: rows are left as they are; 0.5 is then
    the middle clip of a class and no probability, good for ``map`` and bad for ``f1``.

    Raises ValueError for a wrong shape or non-finite values.
    """
    return rank_of(checked(probabilities), task)


def mean_of(runs: Sequence[np.ndarray], task: str = "single") -> np.ndarray:
    """``mean`` of runs (clips, classes) that are checked and need not lie in one array."""
    total = np.zeros(runs[0].shape)
    for run in runs:  # run by run: the memory stays that of one run
        total += run
    return np.asarray(total / len(runs))


def geometric_of(runs: Sequence[np.ndarray], task: str = "single") -> np.ndarray:
    """``geometric`` of such runs."""
    total = np.zeros(runs[0].shape)
    for run in runs:
        total += log_odds(run, task)
    return from_log_odds(total / len(runs), task)


def rank_of(runs: Sequence[np.ndarray], task: str = "single") -> np.ndarray:
    """``rank`` of such runs."""
    from scipy.stats import rankdata

    blend = np.zeros(runs[0].shape)
    for run in runs:
        blend += rankdata(run, axis=0)
    blend /= len(runs) * len(blend)
    return blend if task == "multi" else np.asarray(blend / blend.sum(axis=1, keepdims=True))
