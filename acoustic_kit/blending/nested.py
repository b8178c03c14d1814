"""Folds that choose and folds that judge, and how far chance alone moves a score."""

import warnings

import numpy as np

from acoustic_kit.metrics import score, score_ranked, terms, top_k

NESTED_FOLDS = 5
RESAMPLES = 1000
RESAMPLES_MAP = 200  # `map` sorts every class anew for each resample


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


def resampled_scores(
    metric: str,
    targets: np.ndarray,
    blends: list[np.ndarray],
    groups: np.ndarray,
    seed: int,
    resamples: int = RESAMPLES,
) -> np.ndarray:
    """What each of some predictions scores when whole groups are drawn with replacement: float64 (draws, blends).

    Every draw is the same clips for all, so that differences are paired.
    """
    rng = np.random.default_rng(seed)
    with_map = any(name == "map" for _, name in terms(metric))
    by_rank = targets.ndim == 1 and not with_map
    k = 3 if any(name == "map3" for _, name in terms(metric)) else 1
    predictions = [top_k(blend, k) if by_rank else blend for blend in blends]  # all that such metrics see
    n_groups = int(groups.max()) + 1
    draws = []
    for _ in range(min(resamples, RESAMPLES_MAP) if with_map else resamples):
        times = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)
        clips = np.repeat(np.arange(len(groups)), times[groups])
        if with_map and targets.ndim == 2 and not targets[clips].any():
            continue  # `map` has no value where no label was drawn
        measure = score_ranked if by_rank else score
        draws.append([measure(metric, targets[clips], found[clips]) for found in predictions])
    return np.array(draws)


def interval_of(draws: np.ndarray) -> tuple[float, float]:
    """The 2.5 and 97.5 % quantiles."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
