"""Greedy ensemble selection with replacement.

Source: R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes: Ensemble selection from libraries of models, ICML 2004, with
its three guards against over-fitting: selection with replacement, sorted initialisation, bags of runs.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from acoustic_kit.blending.arrays import checked, task_of
from acoustic_kit.blending.combine import Fit
from acoustic_kit.metrics import score, terms

PICKS, BAGS = 50, 5
SMALLEST_LIBRARY = 10  # of fewer runs a bag of half of them is no library: all are one bag
TIE = 1e-12


def greedy(
    probabilities: np.ndarray,
    targets: np.ndarray,
    groups: Sequence | np.ndarray | None = None,
    metric: str = "f1",
    *,
    picks: int = PICKS,
    bags: int = BAGS,
    seed: int = 0,
) -> Fit:
    """Weights of the runs by Caruana's selection; the blend is the weighted mean.

    Each bag, a random half of the runs (all, once, where there are fewer than ten), starts from the best runs one by
    one, as many as score best together, and then adds, with replacement, the run that makes the mean score best, until
    it has ``picks``. Of equal candidates one that is chosen already goes first, then the one with the lower log-loss
    (single label), then the earlier. A bag is cut after its best pick; the weights are the mean over bags.

    - ``probabilities``: float (runs, clips, classes)
    - ``targets``: int (clips,) or bool (clips, classes)
    - ``groups``: not looked at; here because every method that is fitted takes them
    - ``metric``: see ``metrics.METRICS``; fast for sums of accuracy, balanced_accuracy, f1 and map3 of a single label

    Raises ValueError for arrays that do not fit, UsageError for an unknown metric.
    """
    probabilities, targets = checked(probabilities), np.asarray(targets)
    score(metric, targets, probabilities[0])  # says what does not fit
    runs = list(probabilities)
    weights = greedy_weights(runs, targets, np.arange(len(targets)), metric, picks=picks, bags=bags, seed=seed)
    return Fit("greedy", task_of(targets), weights)


def greedy_weights(
    runs: Sequence[np.ndarray],
    targets: np.ndarray,
    clips: np.ndarray,
    metric: str,
    *,
    picks: int = PICKS,
    bags: int = BAGS,
    seed: int = 0,
) -> np.ndarray:
    """The weights of ``greedy`` for runs (clips, classes) that are checked, selected on some of the clips."""
    n, rng = len(runs), np.random.default_rng(seed)
    parts = [np.ascontiguousarray(run[clips], np.float32) for run in runs]
    empty = partial(_Sum, parts, targets[clips], metric, _spread(parts))
    whole = n < SMALLEST_LIBRARY
    libraries = [np.arange(n)] if whole else [np.sort(rng.choice(n, -(-n // 2), replace=False)) for _ in range(bags)]
    singles = empty().scores(range(n))

    def select(library: np.ndarray) -> np.ndarray:
        chosen = _select(empty, library[np.argsort(-singles[library], kind="stable")], picks)
        return np.bincount(chosen, minlength=n) / len(chosen)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        weights = sum(threads.map(select, libraries))
    return np.asarray(weights / len(libraries))


def _spread(runs: Sequence[np.ndarray]) -> float:
    """No less than what one pick adds to one class more than to another."""
    return max(float(run.max() - run.min()) for run in runs) * 1.0001  # float32 sums: 1e-5 is enough


class _Sum:
    """The sum of the picks so far, and what it would score with one more; runs are float32 (clips, classes)."""

    def __init__(self, runs: Sequence[np.ndarray], targets: np.ndarray, metric: str, spread: float) -> None:
        self.runs, self.targets, self.metric, self.spread = runs, targets, metric, spread
        self.names = {name for _, name in terms(metric)}
        self.by_counts = targets.ndim == 1 and "map" not in self.names
        self.total = np.zeros_like(runs[0])
        self.picks: list[int] = []
        n, classes = runs[0].shape
        self.open = np.arange(n)  # those whose label one more pick may change
        self.leads, self.counts = np.zeros(n, np.float32), np.full(n, classes, np.int16)
        self.contenders = np.tile(np.arange(classes, dtype=np.int16), (n, 1))
        self.hits, self.predicted = np.zeros(classes, np.int64), np.zeros(classes, np.int64)  # of all other clips
        if self.by_counts:
            self.true = np.bincount(targets, minlength=classes)

    def add(self, run: int) -> None:
        from acoustic_kit.blending.greedy_kernels import settle

        self.total += self.runs[run]
        self.picks.append(run)
        if self.by_counts:
            settle(self.total, self.spread, self.leads, self.contenders, self.counts)
            fixed, classes = self.counts == 1, len(self.true)
            labels = self.contenders[fixed, 0]
            self.predicted = np.bincount(labels, minlength=classes)
            self.hits = np.bincount(labels[labels == self.targets[fixed]], minlength=classes)
            self.open = np.flatnonzero(~fixed)

    def scores(self, runs: Iterable[int]) -> np.ndarray:
        """What the mean would score with each of some runs as one more pick: float64 (runs,)."""
        score_one = self._score_with_counts if self.by_counts else self._score_with
        return np.array([score_one(run) for run in runs])

    def losses(self, runs: np.ndarray) -> list[float]:
        """The log-loss of the mean with each of some runs as one more pick (0 where there are several labels)."""
        from acoustic_kit.blending.greedy_kernels import true_log_loss

        if self.targets.ndim == 2:
            return [0.0 for _ in runs]
        picks = len(self.picks) + 1
        return [true_log_loss(self.total, self.runs[run], self.targets, picks) for run in runs]

    def _score_with(self, run: int) -> float:
        return score(self.metric, self.targets, (self.total + self.runs[run]) / (len(self.picks) + 1))

    def _score_with_counts(self, run: int) -> float:
        from acoustic_kit.blending.greedy_kernels import count_labels, count_places

        p, value = self.runs[run], 0.0
        hits, predicted = self.hits.copy(), self.predicted.copy()
        count_labels(self.total, p, self.targets, self.open, self.contenders, self.counts, hits, predicted)
        for weight, name in terms(self.metric):
            if name == "accuracy":
                part = hits.sum() / len(self.targets)
            elif name == "balanced_accuracy":
                part = np.mean(hits[self.true > 0] / self.true[self.true > 0])
            elif name == "f1":
                both = self.true + predicted
                part = np.mean(2 * hits[both > 0] / both[both > 0])
            else:
                part = count_places(self.total, p, self.targets) @ (1, 1 / 2, 1 / 3) / len(self.targets)
            value += weight * float(part)
        return value


def _select(empty: Callable[[], _Sum], by_score: np.ndarray, picks: int) -> list[int]:
    """The picks of one bag of runs, given best first; up to ``picks``, cut after the best."""
    blend, found = empty(), list[float]()
    for run in by_score[: max(1, picks // 2)]:  # sorted initialisation
        found.append(blend.scores([run])[0])
        blend.add(int(run))
    start = _last_best(found)
    blend = empty()
    for run in by_score[:start]:
        blend.add(int(run))
    found = found[:start]
    while len(found) < picks:
        scores = blend.scores(by_score)
        equal = by_score[scores >= scores.max() - TIE]
        equal = equal[np.isin(equal, blend.picks)] if np.isin(equal, blend.picks).any() else equal
        run = equal[np.argmin(blend.losses(equal))] if len(equal) > 1 else equal[0]
        blend.add(int(run))
        found.append(scores.max())
    return blend.picks[: _last_best(found)]


def _last_best(scores: list[float]) -> int:
    """How many picks to keep: up to the best score, of equal ones the last, which averages more."""
    return int(np.flatnonzero(np.array(scores) >= max(scores) - TIE)[-1]) + 1
