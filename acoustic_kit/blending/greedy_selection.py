"""Greedy ensemble selection with replacement.

Source: R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes: Ensemble selection from libraries of models, ICML 2004, with
its three measures against over-fitting: selection with replacement, sorted initialization, bags of runs.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial

import numpy as np

from acoustic_kit.blending.arrays import FLOOR, checked, task_of
from acoustic_kit.blending.combine import Fit
from acoustic_kit.metrics import MULTI_LABEL_THRESHOLD, Metric, get_metric, score
from acoustic_kit.metrics.counts import PredictionCounts
from acoustic_kit.metrics.ranking import average_precision, measured

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
    """Return the weights of ``greedy`` of checked runs (clips, classes), selected on some of the clips.

    They do not depend on the number of threads, which is numba's: one for each core that the process may use.
    """
    import numba

    n, rng = len(runs), np.random.default_rng(seed)
    whole = n < MIN_BAGGED
    libraries = [np.arange(n)] if whole else [np.sort(rng.choice(n, -(-n // 2), replace=False)) for _ in range(bags)]
    task = _Task(runs, targets[clips], clips, get_metric(metric))
    with ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS) as threads:  # of bags, or of candidates
        by_candidate = whole or task.metric.needs_probabilities  # which takes long
        empty = partial(_RunningSum, task, threads.map if by_candidate else map)
        singles = empty().scores(np.arange(n))

        def select(library: np.ndarray) -> np.ndarray:
            chosen = _select(empty, library[np.argsort(-singles[library], kind="stable")], picks)
            return np.bincount(chosen, minlength=n) / len(chosen)

        weights = sum((map if by_candidate else threads.map)(select, libraries))
    return np.asarray(weights / len(libraries))


class _Task:
    """What is selected from, by which metric: the same for all bags.

    - ``runs``: float (all clips, classes) each, of which ``rows`` int (clips,) are read
    - ``targets``: of these clips
    """

    def __init__(self, runs: Sequence[np.ndarray], targets: np.ndarray, rows: np.ndarray, metric: Metric) -> None:
        self.runs, self.targets, self.rows, self.metric = runs, targets, rows, metric
        self.shape = len(rows), runs[0].shape[1]
        self.single = targets.ndim == 1
        counts = PredictionCounts(targets, np.zeros(self.shape))
        self.true, self.positive = counts.true, counts.positive
        self.known = np.ones(self.shape, bool) if counts.known is None else counts.known
        self.truth = np.where(self.known, self.positive, np.int8(-1))  # as the kernels read it
        self.n_known = self.known.sum(axis=0)
        # the difference of two classes in one pick is at most this
        self.spread = max(float(run.max()) - float(run.min()) for run in runs) * (1 + 1e-9)
        self.contended = self.single and any(part.n_labels == 1 for _, part in metric.terms)
        self.reads_rows = self.single or not all(part.ranks_clips for _, part in metric.terms)
        self.by_class = _ByClass(self) if metric.ranks_clips else None


class _ByClass:
    """The clips of each class by descending sum of all runs, those with an unknown target last.

    Runs are float32, which ranks clips five times as fast.
    """

    def __init__(self, task: _Task) -> None:
        total = np.zeros(task.shape, np.float32)
        for run in task.runs:
            total += run[task.rows]
        order = np.argsort(np.where(task.known, -total, np.inf).T, axis=1)
        transposed = (np.ascontiguousarray(run[task.rows].T, dtype=np.float32) for run in task.runs)
        self.runs = [np.take_along_axis(run, order, axis=1) for run in transposed]
        positive = np.take_along_axis(task.positive.T, order, axis=1)
        self.positives = np.flatnonzero(positive) % len(task.rows)
        self.first = np.concatenate([[0], np.cumsum(task.true)])
        self.known = np.arange(len(task.rows)) < task.n_known[:, None]
        self.is_positive = positive[self.known]


class _RunningSum:
    """Sum of the picks on some clips, and its score with one more."""

    def __init__(self, task: _Task, for_each: Callable[..., Iterable[float]]) -> None:
        self.task, self.for_each = task, for_each  # `map`, or that of threads
        n, classes = task.shape
        self.total = np.zeros((n, classes))
        self.picks: list[int] = []
        self.undecided = np.arange(n)  # clips whose label one more pick may change
        if task.contended:
            self.leads, self.counts = np.zeros(n), np.full(n, classes, np.int16)
            self.contenders = np.tile(np.arange(classes, dtype=np.int16), (n, 1))
        self.hits, self.predicted = np.zeros(classes, np.int64), np.zeros(classes, np.int64)  # of the other clips
        if task.by_class is not None:
            self.total_by_class = np.zeros((classes, n), np.float32)

    def add(self, run: int) -> None:
        """Add a pick."""
        from acoustic_kit.blending.greedy_kernels import add_rows, update_contenders

        task = self.task
        self.picks.append(run)
        if task.by_class is not None:
            self.total_by_class += task.by_class.runs[run]
        if task.reads_rows:
            add_rows(self.total, task.runs[run], task.rows)
        if task.contended:
            update_contenders(self.total, task.spread, self.leads, self.contenders, self.counts)
            fixed, classes = self.counts == 1, len(task.true)
            labels = self.contenders[fixed, 0]
            self.predicted = np.bincount(labels, minlength=classes)
            self.hits = np.bincount(labels[labels == task.targets[fixed]], minlength=classes)
            self.undecided = np.flatnonzero(~fixed)

    def scores(self, runs: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the score of the mean with each of some runs as one more pick, float64 (runs,); greater is better."""
        metric = self.task.metric
        found = self.for_each(lambda run: float(metric.value(_OneMore(self, run))), runs)
        return metric.sign * np.nan_to_num(list(found))  # NaN if no clip has a label: all runs are then equal

    def losses(self, runs: np.ndarray) -> list[float]:
        """Return the log-loss of the mean with each of some runs as one more pick; 0 for several labels."""
        return [_OneMore(self, run).true_log_loss(FLOOR) if self.task.single else 0.0 for run in runs]


class _OneMore:
    """`Counts` of a sum with one run as one more pick."""

    def __init__(self, blend: _RunningSum, position: int) -> None:
        task = blend.task
        self.blend, self.task, self.position, self.run = blend, task, position, task.runs[position]
        self.multi_label, self.n_clips, self.true = not task.single, len(task.rows), task.true
        self.targets, self.weights = task.targets, None
        self.picks = len(blend.picks) + 1

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

        one, task = self.blend, self.task
        hits, predicted = one.hits.copy(), one.predicted.copy()
        if task.single:
            labels = one.undecided, one.contenders, one.counts
            count_labels(one.total, self.run, task.rows, task.targets, *labels, hits, predicted)
        else:
            threshold = MULTI_LABEL_THRESHOLD * self.picks
            count_sets(one.total, self.run, task.rows, task.truth, threshold, hits, predicted)
        return hits, predicted

    @cached_property
    def places(self) -> np.ndarray:
        from acoustic_kit.blending.greedy_kernels import count_places

        task, most = self.task, max(part.n_labels for _, part in self.task.metric.terms)
        return np.asarray(count_places(self.blend.total, self.run, task.rows, task.targets, most))

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

        ranked, run = self._ranked
        positives = ranked.positives, ranked.first
        return np.asarray(
            class_measures(self.blend.total_by_class, run, *positives, self.task.n_known, float(self.picks))
        )

    @property
    def pooled_average_precision(self) -> np.ndarray:
        ranked, run = self._ranked
        values = (self.blend.total_by_class + run)[ranked.known]
        return measured(average_precision, values, ranked.is_positive, np.empty(0), None)

    @property
    def _ranked(self) -> tuple[_ByClass, np.ndarray]:
        by_class = self.task.by_class
        assert by_class is not None
        return by_class, by_class.runs[self.position]

    @property
    def label_precision(self) -> np.ndarray:
        from acoustic_kit.blending.greedy_kernels import label_precision

        return np.asarray(label_precision(self.blend.total, self.run, self.task.rows, self.task.truth))

    @property
    def log_loss(self) -> np.ndarray:
        from acoustic_kit.blending.greedy_kernels import EPSILON, log_losses

        if self.task.single:
            return np.array([self.true_log_loss(EPSILON)])
        losses = log_losses(self.blend.total, self.run, self.task.rows, self.task.truth, self.picks)
        n_known = self.task.n_known
        return np.where(n_known > 0, losses / np.maximum(n_known, 1), np.nan)

    def true_log_loss(self, floor: float) -> float:
        """Return the mean of -log of the true label's probability, at least ``floor``."""
        from acoustic_kit.blending.greedy_kernels import true_log_loss

        return float(true_log_loss(self.blend.total, self.run, self.task.rows, self.task.targets, self.picks, floor))

    @property
    def squared_distance(self) -> np.ndarray:
        return self._plain.squared_distance

    @cached_property
    def _plain(self) -> PredictionCounts:
        """The counts that have no kernel, of the mean."""
        mean = (self.blend.total + self.run[self.task.rows]) / self.picks
        return PredictionCounts(self.targets, mean)


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
