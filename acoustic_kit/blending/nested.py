"""Clips that fit a blend, and clips that judge it."""

import warnings

import numpy as np

NESTED_FOLDS = 5
MANY_GROUPS = 1000
MOST_NESTED = 30_000  # clips; of more, a part fits and the others judge
FITTING_CLIPS, FITTING_GROUPS = 10_000, 50  # about so many clips in that part, and no fewer groups


def nested_folds(targets: np.ndarray, groups: np.ndarray, seed: int, n_folds: int = NESTED_FOLDS) -> np.ndarray:
    """The nested fold of each clip, int (clips,), from 0: `n_folds`, or as many as there are groups.

    Stratified by label (multi-label: by the rarest label of a clip), whole by group. Where there are many groups, they
    are dealt like clips, each by its most frequent label; fewer are weighed one by one, largest first. A class with
    fewer groups than folds is missing in some. All zeros, a single fold, mean that nesting is impossible.
    """
    strata = targets if targets.ndim == 1 else rarest_label(targets)
    n_groups = int(groups.max()) + 1
    n_folds = min(n_folds, n_groups)
    if n_folds < 2:
        return np.zeros(len(groups), np.int64)
    if n_groups == len(groups) or n_groups > MANY_GROUPS:
        dealt = _dealt(_most_frequent(strata, groups), n_folds, seed)
        return np.asarray(dealt[groups])
    folds = _weighed(strata, groups, n_folds, seed)
    return np.unique(folds, return_inverse=True)[1]  # where groups are few and large, a fold may stay empty


def fitting_part(targets: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Return the clips that fit while the others judge, bool (clips,): part of very many clips, else all of them.

    Stratified and whole by group as the folds are. All fit, too, if a part would hold too few groups.
    """
    n_parts = -(-len(groups) // FITTING_CLIPS)
    if len(groups) <= MOST_NESTED or groups.max() + 1 < n_parts * FITTING_GROUPS:
        return np.ones(len(groups), bool)
    return np.asarray(nested_folds(targets, groups, seed, n_parts) == 0)


def _dealt(strata: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Folds of equal parts of each stratum, dealt like cards."""
    order = np.random.default_rng(seed).permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    folds = np.empty(len(strata), np.int64)
    folds[order] = np.arange(len(strata)) % n_folds
    return folds


def _weighed(strata: np.ndarray, groups: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Folds of whole groups, each put where it keeps the strata most even."""
    from sklearn.model_selection import StratifiedGroupKFold

    if np.bincount(strata).max() < n_folds:  # every class has few clips: nothing to stratify
        strata = np.zeros_like(strata)
    folds = np.zeros(len(strata), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a small class is missing in some folds, as the docstring says
        splits = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed).split(strata, strata, groups)
        for number, (_, held) in enumerate(splits):
            folds[held] = number
    return folds


def _most_frequent(strata: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The stratum that most clips of each group have, of equally frequent ones the first: int (groups,)."""
    counts = np.zeros((int(groups.max()) + 1, int(strata.max()) + 1), np.int32)
    np.add.at(counts, (groups, strata), 1)
    return np.asarray(counts.argmax(axis=1))


def rarest_label(targets: np.ndarray) -> np.ndarray:
    """For each row of bool (clips, classes) its rarest class; the number of classes where it has none."""
    frequency = np.where(targets, targets.sum(axis=0), len(targets) + 1)
    return np.asarray(np.where(targets.any(axis=1), np.argmin(frequency, axis=1), targets.shape[1]))
