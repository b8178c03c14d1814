"""Nested folds: clips that fit a blend, and clips that score it."""

import warnings

import numpy as np

from acoustic_kit.blending.arrays import known_targets

NESTED_FOLDS = 5
MANY_GROUPS = 1000
MAX_NESTED = 30_000  # clips; of more, a part is fitted to and the others are scored
FITTING_CLIPS, FITTING_GROUPS = 10_000, 50  # about the number of clips in that part, and the least number of groups


def nested_folds(targets: np.ndarray, groups: np.ndarray, seed: int, n_folds: int = NESTED_FOLDS) -> np.ndarray:
    """Return the nested fold of each clip, int (clips,), from 0: `n_folds` of them, or as many as there are groups.

    Stratified by label (multi-label: by the rarest label of a clip); groups are not divided. Independent clips, and
    more than 1,000 groups by their most frequent labels, are assigned round-robin; fewer groups one by one, largest
    first, to the fold that keeps labels most even. A class with fewer groups than folds is missing in some folds. All
    zeros, a single fold, mean that nesting is impossible.
    """
    strata = targets if targets.ndim == 1 else rarest_label(known_targets(targets)[0])
    n_groups = int(groups.max()) + 1
    n_folds = min(n_folds, n_groups)
    if n_folds < 2:
        return np.zeros(len(groups), np.int64)
    if n_groups == len(groups) or n_groups > MANY_GROUPS:
        return np.asarray(round_robin_folds(_most_frequent(strata, groups), n_folds, seed)[groups])
    folds = _balanced_folds(strata, groups, n_folds, seed)
    return np.unique(folds, return_inverse=True)[1]  # a fold may be empty if groups are few and large


def fitting_part(targets: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Return the clips to fit to, bool (clips,): of very many a part, while the others are scored; else all.

    Stratified by label, without divided groups, as the folds are. All clips are returned if a part would have too few
    groups.
    """
    n_parts = -(-len(groups) // FITTING_CLIPS)
    if len(groups) <= MAX_NESTED or groups.max() + 1 < n_parts * FITTING_GROUPS:
        return np.ones(len(groups), bool)
    return np.asarray(nested_folds(targets, groups, seed, n_parts) == 0)


def round_robin_folds(strata: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Return folds with equal parts of each stratum, int (items,), assigned round-robin in random order."""
    order = np.random.default_rng(seed).permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    folds = np.empty(len(strata), np.int64)
    folds[order] = np.arange(len(strata)) % n_folds
    return folds


def _balanced_folds(strata: np.ndarray, groups: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Return folds of whole groups, each assigned to the fold that keeps the strata most even."""
    from sklearn.model_selection import StratifiedGroupKFold

    if np.bincount(strata).max() < n_folds:  # every class has few clips: stratification is impossible
        strata = np.zeros_like(strata)
    folds = np.zeros(len(strata), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a small class is missing in some folds, as the docstring says
        splits = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed).split(strata, strata, groups)
        for number, (_, held) in enumerate(splits):
            folds[held] = number
    return folds


def _most_frequent(strata: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the most frequent stratum of each group, the first of equally frequent ones: int (groups,)."""
    counts = np.zeros((int(groups.max()) + 1, int(strata.max()) + 1), np.int32)
    np.add.at(counts, (groups, strata), 1)
    return np.asarray(counts.argmax(axis=1))


def rarest_label(targets: np.ndarray) -> np.ndarray:
    """Return the rarest class of each row of bool (clips, classes); the number of classes for a row without any."""
    frequency = np.where(targets, targets.sum(axis=0), len(targets) + 1)
    return np.asarray(np.where(targets.any(axis=1), np.argmin(frequency, axis=1), targets.shape[1]))
