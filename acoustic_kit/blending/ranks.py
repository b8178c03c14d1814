"""Ranks of clips within a class, by quantiles of the clips that a blend was fitted to.

A rank is the fraction of the fitted clips with a lower probability, so that it does not depend on the clips that are
predicted with it: one new clip has a rank too. Probabilities of a class are transformed monotonically, interpolated
between quantiles and up to 0 and 1: two clips with different probabilities keep their order.
"""

from collections.abc import Sequence

import numpy as np

N_LEVELS = 33  # quantiles per class: of a JSON with 25 runs of 200 classes, a few MB
MOST = 7.0  # log-odds of the highest level, 0.999: the highest clips decide


def levels(n: int) -> np.ndarray:
    """Return the levels of n quantiles, ascending in (0, 1), dense at both ends: float64 (n,)."""
    return np.asarray(1 / (1 + np.exp(-np.linspace(-MOST, MOST, n))))


def quantiles_of(values: np.ndarray, n: int = N_LEVELS) -> np.ndarray:
    """Return the quantiles of (clips, classes) at `levels(n)`, with six significant digits: float64 (n, classes)."""
    found = np.quantile(values, levels(n), axis=0)
    digits = 10.0 ** (5 - np.floor(np.log10(np.maximum(abs(found), 1e-30))))
    return np.asarray(np.round(found * digits) / digits)


def ranks_of(run: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Return the rank of each clip in each class among the fitted ones, in [0, 1]: float64 (clips, classes).

    - ``run``: (clips, classes) probabilities
    - ``quantiles``: (levels, classes), of `quantiles_of`
    """
    return _interpolated(run, quantiles, np.tile(levels(len(quantiles))[:, None], quantiles.shape[1]))


def mean_rank(runs: Sequence[np.ndarray], weights: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Return the weighted mean of the runs' ranks: float64 (clips, classes).

    - ``weights``: (runs,), not negative, sum to one
    - ``quantiles``: (runs, levels, classes)
    """
    total = np.zeros(runs[0].shape)
    for run, weight, own in zip(runs, weights, quantiles, strict=True):
        if weight:
            total += weight * ranks_of(run, own)
    return total


def as_probabilities(ranks: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return mean ranks (clips, classes) as probabilities in the same order: those that have the same quantiles.

    - ``scale``: (2, levels, classes), quantiles of the mean ranks of the fitted clips, and of their probabilities
    """
    return _interpolated(ranks, scale[0], scale[1])


def _interpolated(values: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return values (clips, classes) moved from quantiles ``old`` to ``new``, (levels, classes); 0 and 1 stay."""
    ends = np.zeros((1, old.shape[1])), np.ones((1, old.shape[1]))
    old, new = np.concatenate([ends[0], old, ends[1]]), np.concatenate([ends[0], new, ends[1]])
    return np.stack([np.interp(values[:, c], old[:, c], new[:, c]) for c in range(values.shape[1])], axis=1)
