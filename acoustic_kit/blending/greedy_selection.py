"""Greedy ensemble selection with replacement.

Source: R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes: Ensemble selection from libraries of models, ICML 2004, with
its three measures against over-fitting: selection with replacement, sorted initialization, bags of runs.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial

import numpy as np

from acoustic_kit.blending.arrays import checked, task_of
from acoustic_kit.blending.combine import Fit
from acoustic_kit.metrics import MULTI_LABEL_THRESHOLD, get_metric, score
from acoustic_kit.metrics.counts import PredictionCounts

PICKS, BAGS = 50, 5
MIN_BAGGED = 10  # runs; fewer are one bag, as half of them would be too few
TIE = 1e-12


def greedy(
    probabilities: np.ndarray | Sequence[np.ndarray],
    targets: np.ndarray,
    groups: Sequence | np.ndarray | None = None,
    metric: str = "f1",
    *,
    picks: int = PICKS,
    bags: int = BAGS,
    seed: int = 0,
) -> Fit:
    """Fit weights by Caruana's selection; the blend is the weighted mean.

    Each bag is a random half of the runs (one bag of all, if there are fewer than ten). Its selection starts with the
    best runs, as many as give the best mean, and then adds, with replacement, the run that gives the best mean, up to
    ``picks``. Of equal candidates one that is selected already has precedence, then the one with the lower log-loss
    (single label), then the earlier. Picks after the best mean are dropped; the weights are the mean over bags.

    - ``probabilities``: float (runs, clips, classes)
    - ``targets``: int (clips,) or bool (clips, classes)
    - ``groups``: ignored; all fitted methods have this parameter
    - ``metric``: see ``metrics.METRICS``

    Raises ValueError for arrays that do not fit, UsageError for an unknown metric.

    >>> runs = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.4, 0.6], [0.6, 0.4]]])
    >>> greedy(runs, np.array([0, 1])).weights.round(1).tolist()
    [1.0, 0.0]
    """
    runs, targets = checked(probabilities), np.asarray(targets)
    score(metric, targets, runs[0])  # raises if arrays do not fit
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
    """Return the weights of ``greedy`` of checked runs (clips, classes), selected on some of the clips."""
    n, rng = len(runs), np.random.default_rng(seed)
    whole = n < MIN_BAGGED
    libraries = [np.arange(n)] if whole else [np.sort(rng.choice(n, -(-n // 2), replace=False)) for _ in range(bags)]
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # of bags, or of the candidates of a single bag
        by_class = _by_class(runs, clips) if get_metric(metric).ranks_clips else []
        empty = partial(
            _RunningSum, runs, by_class, clips, targets[clips], metric, _spread(runs), threads.map if whole else map
        )
        singles = empty().scores(np.arange(n))

        def select(library: np.ndarray) -> np.ndarray:
            chosen = _select(empty, library[np.argsort(-singles[library], kind="stable")], picks)
            return np.bincount(chosen, minlength=n) / len(chosen)

        weights = sum((map if whole else threads.map)(select, libraries))
    return np.asarray(weights / len(libraries))


def _spread(runs: Sequence[np.ndarray]) -> float:
    """Return an upper bound of the difference of two classes in one pick."""
    return max(float(run.max()) - float(run.min()) for run in runs) * (1 + 1e-9)


def _by_class(runs: Sequence[np.ndarray], clips: np.ndarray) -> list[np.ndarray]:
    """Return the runs on some clips as float32 (classes, clips), which ranks clips five times as fast."""
    return [np.ascontiguousarray(run[clips].T, dtype=np.float32) for run in runs]


class _RunningSum:
    """Sum of the picks on some clips, and its score with one more; runs are float (all clips, classes)."""

    def __init__(
        self,
        runs: Sequence[np.ndarray],
        by_class: Sequence[np.ndarray],  # of `_by_class`, if the metric ranks clips
        clips: np.ndarray,
        targets: np.ndarray,
        metric: str,
        spread: float,
        for_each: Callable[..., Iterable[float]],  # `map`, or that of threads
    ) -> None:
        self.runs, self.rows, self.targets, self.spread = runs, clips, targets, spread
        self.metric = get_metric(metric)
        self.for_each = for_each
        n, classes = len(clips), runs[0].shape[1]
        self.total = np.zeros((n, classes))
        self.picks: list[int] = []
        self.single = targets.ndim == 1
        truth = PredictionCounts(targets, self.total)
        positive, self.true = truth.positive, truth.true
        self.masked = truth.known is not None
        self.contended = self.single and any(part.n_labels == 1 for _, part in self.metric.terms)
        self.undecided = np.arange(n)  # clips whose label one more pick may change
        if self.contended:
            self.leads, self.counts = np.zeros(n), np.full(n, classes, np.int16)
            self.contenders = np.tile(np.arange(classes, dtype=np.int16), (n, 1))
        self.hits, self.predicted = np.zeros(classes, np.int64), np.zeros(classes, np.int64)  # of the other clips
        self.by_class = by_class
        self.reads_rows = self.single or not all(part.ranks_clips and part.macro for _, part in self.metric.terms)
        if self.metric.ranks_clips:
            self.positives = np.flatnonzero(positive.T.ravel()) % n
            self.first = np.concatenate([[0], np.cumsum(self.true)])
            known = np.ones((n, classes), bool) if truth.known is None else truth.known
            self.n_known = known.sum(axis=0)
            self.total_by_class = np.where(known.T, np.float32(0), np.float32(np.nan))

    def add(self, run: int) -> None:
        """Add a pick."""
        from acoustic_kit.blending.greedy_kernels import add_rows, update_contenders

        self.picks.append(run)
        if self.metric.ranks_clips:
            self.total_by_class += self.by_class[run]
        if self.reads_rows:
            add_rows(self.total, self.runs[run], self.rows)
        if self.contended:
            update_contenders(self.total, self.spread, self.leads, self.contenders, self.counts)
            fixed, classes = self.counts == 1, len(self.true)
            labels = self.contenders[fixed, 0]
            self.predicted = np.bincount(labels, minlength=classes)
            self.hits = np.bincount(labels[labels == self.targets[fixed]], minlength=classes)
            self.undecided = np.flatnonzero(~fixed)

    def scores(self, runs: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the score of the mean with each of some runs as one more pick, float64 (runs,); greater is better."""
        found = self.for_each(lambda run: float(self.metric.value(_OneMore(self, run))), runs)
        return self.metric.sign * np.nan_to_num(list(found))  # NaN if no clip has a label: all runs are then equal

    def losses(self, runs: np.ndarray) -> list[float]:
        """Return the log-loss of the mean with each of some runs as one more pick; 0 for several labels."""
        from acoustic_kit.blending.greedy_kernels import true_log_loss

        if not self.single:
            return [0.0 for _ in runs]
        picks = len(self.picks) + 1
        return [true_log_loss(self.total, self.runs[run], self.rows, self.targets, picks) for run in runs]


class _OneMore:
    """`Counts` of a sum with one run as one more pick."""

    def __init__(self, blend: _RunningSum, run: int) -> None:
        self.blend, self.position, self.run = blend, run, blend.runs[run]
        self.multi_label, self.n_clips, self.true = not blend.single, len(blend.rows), blend.true
        self.targets, self.weights = blend.targets, None

    @property
    def probabilities(self) -> np.ndarray | None:
        return self._plain.probabilities

    @property
    def predicted(self) -> np.ndarray:
        return self._hits_and_predicted[1]

    @property
    def hits(self) -> np.ndarray:
        return self._hits_and_predicted[0]

    @cached_property
    def _hits_and_predicted(self) -> tuple[np.ndarray, np.ndarray]:
        from acoustic_kit.blending.greedy_kernels import count_labels, count_sets

        one, run = self.blend, self.run
        if one.masked:
            return self._plain.hits, self._plain.predicted
        hits, predicted = one.hits.copy(), one.predicted.copy()
        if one.single:
            count_labels(
                one.total, run, one.rows, one.targets, one.undecided, one.contenders, one.counts, hits, predicted
            )
        else:
            threshold = MULTI_LABEL_THRESHOLD * (len(one.picks) + 1)
            count_sets(one.total, run, one.rows, one.targets, threshold, hits, predicted)
        return hits, predicted

    @cached_property
    def places(self) -> np.ndarray:
        from acoustic_kit.blending.greedy_kernels import count_places

        one, most = self.blend, max(part.n_labels for _, part in self.blend.metric.terms)
        return np.asarray(count_places(one.total, self.run, one.rows, one.targets, most))

    @property
    def average_precision(self) -> np.ndarray:
        return np.asarray(self._class_measures[0])

    @property
    def padded_average_precision(self) -> np.ndarray:
        return np.asarray(self._class_measures[1])

    @property
    def roc_auc(self) -> np.ndarray:
        return np.asarray(self._class_measures[2])

    @cached_property
    def _class_measures(self) -> np.ndarray:
        from acoustic_kit.blending.greedy_kernels import class_measures

        one = self.blend
        run = one.by_class[self.position]
        return np.asarray(
            class_measures(one.total_by_class, run, one.positives, one.first, one.n_known, len(one.picks) + 1.0)
        )

    @property
    def squared_distance(self) -> np.ndarray:
        return self._plain.squared_distance

    @property
    def pooled_average_precision(self) -> np.ndarray:
        return self._plain.pooled_average_precision

    @property
    def label_precision(self) -> np.ndarray:
        return self._plain.label_precision

    @property
    def log_loss(self) -> np.ndarray:
        return self._plain.log_loss

    @cached_property
    def _plain(self) -> PredictionCounts:
        """The counts that have no kernel, of the mean."""
        one = self.blend
        return PredictionCounts(one.targets, (one.total + self.run[one.rows]) / (len(one.picks) + 1))


def _select(empty: Callable[[], _RunningSum], by_score: np.ndarray, picks: int) -> list[int]:
    """Return the picks of one bag of runs, given best first; at most ``picks``, dropped after the best mean."""
    blend, found = empty(), list[float]()
    for run in by_score[: max(1, picks // 2)]:  # sorted initialization
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
    """Return the number of picks up to the best score; of equal scores the last, which averages more runs."""
    return int(np.flatnonzero(np.array(scores) >= max(scores) - TIE)[-1]) + 1
