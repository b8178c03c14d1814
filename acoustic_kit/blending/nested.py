"""Folds that choose and folds that judge."""

import warnings

import numpy as np

NESTED_FOLDS = 5


def nested_folds(targets: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """The nested fold of each clip, int (clips,), from 0: five, or as many as there are groups.

    Stratified by label (multi-label: by the rarest label of a clip), whole by group. A class with fewer groups than
    folds is missing in some. All zeros, a single fold, mean that nesting is impossible.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    strata = targets if targets.ndim == 1 else rarest_label(targets)
    n_groups = int(groups.max()) + 1
    n_folds = min(NESTED_FOLDS, n_groups)
    folds = np.zeros(len(groups), np.int64)
    if n_folds < 2:
        return folds
    if np.bincount(strata).max() < n_folds:  # every class has few clips: nothing to stratify
        strata = np.zeros_like(strata)
    kind = StratifiedKFold if n_groups == len(groups) else StratifiedGroupKFold
    splitter = kind(n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a small class is missing in some folds, as the docstring says
        for number, (_, held) in enumerate(splitter.split(strata, strata, groups)):
            folds[held] = number
    return np.unique(folds, return_inverse=True)[1]  # where groups are few and large, a fold may stay empty


def rarest_label(targets: np.ndarray) -> np.ndarray:
    """For each row of bool (clips, classes) its rarest class; the number of classes where it has none."""
    frequency = np.where(targets, targets.sum(axis=0), len(targets) + 1)
    return np.asarray(np.where(targets.any(axis=1), np.argmin(frequency, axis=1), targets.shape[1]))
