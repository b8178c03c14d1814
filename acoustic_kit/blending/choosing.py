"""Choosing runs, method and decision, and saying honestly what the choice is worth."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from acoustic_kit.blending.arrays import checked, group_codes, task_of
from acoustic_kit.blending.blend import NONE, Blend, read_only
from acoustic_kit.blending.combine import FIXED, METHOD_NAMES, STACKED, decided
from acoustic_kit.blending.decision import Tuned, tune_decision
from acoustic_kit.blending.evidence import AUTO, Judge
from acoustic_kit.blending.nested import choosing_part
from acoustic_kit.blending.out_of_fold import Outer, OutOfFold
from acoustic_kit.bootstrap import interval, paired_scores
from acoustic_kit.errors import UsageError
from acoustic_kit.metrics import score, terms, validate_metric

DECISIONS = ("argmax", "tuned")
ALL = frozenset[int]()  # no fold is left out


def choose(
    probabilities: np.ndarray,
    targets: np.ndarray,
    groups: Sequence | np.ndarray | None = None,
    metric: str = "f1",
    method: str = "auto",
    top: int | None = None,
    seed: int = 0,
    *,
    diverse: bool = False,
    decision: str = "argmax",
    on_progress: Callable[[int, int], None] | None = None,
) -> Blend:
    """Choose runs by their out-of-fold predictions, combine them, and estimate what the choice is worth.

    - ``probabilities``: float (runs, clips, classes), out-of-fold
    - ``targets``: int (clips,) class positions, or bool (clips, classes)
    - ``groups``: (clips,), clips of one recording or speaker share a value; None where every clip is its own
    - ``metric``: see ``metrics.METRICS``; also a weighted sum
    - ``method``: a name in ``METHODS``; ``auto`` takes the simplest that no other beats beyond noise, see ``evidence``
    - ``top``: how many runs to take (all where it exceeds their number); None takes all. Of equal runs the earlier
    - ``seed``: of the nested folds, the bags of ``greedy`` and the bootstrap
    - ``diverse``: the ``top`` runs are those whose mean has the smallest Brier score, not the best ones
    - ``decision``: ``tuned`` tries a factor for each class, and keeps the factors where that gains beyond noise
    - ``on_progress``: hears (fits done, fits in all)

    The nested estimate: five folds, stratified by label (multi-label: by the rarest label of a clip) and kept whole
    by group. Whatever is chosen or fitted, runs, method, weights, decision, is so on the other folds, and what that
    gives predicts the held fold on its own, so that ``rank`` ranks among its clips only. The metric is computed once,
    on all held folds together. Of more than 30,000 clips, about 6,000 (whole groups) choose, with folds among them,
    and all others judge; what is chosen is then fitted to all, so that the estimate is rather too low. With fewer than
    two groups (clips) no nesting is possible: ``nested_score`` and the intervals are nan, and the caller has to say so;
    ``auto`` is then the mean. The interval resamples groups where there are any, else clips; the blend itself stays the
    same in it. Without groups the estimate flatters where recordings repeat.

    Raises ValueError for arrays that do not fit, UsageError for an unknown metric, method or decision, for methods that
    do not fit the metric, and for ``top`` below 1.
    """
    probabilities, targets = checked(probabilities), np.asarray(targets)
    task = task_of(targets)
    _check_wishes(method, decision, top, metric, task)
    score(metric, targets, probabilities[0])  # says what does not fit
    codes = group_codes(groups, probabilities.shape[1])
    methods = (method,) if method != "auto" else AUTO
    tune, part = decision == "tuned", choosing_part(targets, codes, seed)
    progress = _Progress(on_progress)
    whole = OutOfFold(probabilities, targets, codes, metric, top, diverse, seed, progress.advance)
    chooser = _Chooser(whole, whole.part(part), part, methods, tune)
    progress.total = chooser.number_of_fits()
    blend = chooser.blend(asked=method)
    progress.finish()
    return blend


class _Progress:
    def __init__(self, on_progress: Callable[[int, int], None] | None) -> None:
        self.on_progress, self.done, self.total = on_progress, 0, 0

    def advance(self) -> None:
        self.done += 1
        if self.on_progress:
            self.on_progress(min(self.done, self.total), self.total)

    def finish(self) -> None:
        if self.on_progress and self.done < self.total:  # `auto` took a method that needs no last fit
            self.on_progress(self.total, self.total)


def _check_wishes(method: str, decision: str, top: int | None, metric: str, task: str) -> None:
    known = ("auto", *METHOD_NAMES)
    if method not in known:
        raise UsageError(f"unknown blend method {method!r}; there are: {', '.join(known)}")
    if decision not in DECISIONS:
        raise UsageError(f"unknown decision {decision!r}; there are: {', '.join(DECISIONS)}")
    if top is not None and top < 1:
        raise UsageError(f"top must be at least 1; it is {top}")
    validate_metric(metric, task)
    names = {name for _, name in terms(metric)}
    if method == "rank" and task == "single" and "map" in names:
        raise UsageError("rank blends what stands in a row, map compares a column; use mean or geometric with map")
    if decision == "tuned" and names & {"map", "map3"}:
        raise UsageError("tuned decisions are for metrics of the first label; map and map3 take --decision argmax")


@dataclass(frozen=True, eq=False)
class _Plan:
    """What was decided on some folds: what to fit on them, and how to read its predictions."""

    method: str
    tuned: Tuned | None = None

    def read(self, predictions: np.ndarray, task: str) -> np.ndarray:
        factors = None if self.tuned is None else self.tuned.factors
        return predictions if factors is None else decided(predictions, factors, task)


@dataclass(eq=False)
class _Chooser:
    """One call of ``choose``."""

    whole: OutOfFold  # what is chosen is fitted to it
    choosing: OutOfFold  # of the clips that choose; of not too many clips `whole` itself
    part: np.ndarray  # which clips these are, bool (clips,)
    methods: tuple[str, ...]  # one, or those that ``auto`` weighs
    tune: bool

    @property
    def nested(self) -> bool:
        """All clips choose, and each fold in turn judges; else those judge that do not choose."""
        return self.choosing is self.whole

    def number_of_fits(self) -> int:
        """How many fits take time: see ``out_of_fold``."""
        slow = len({"stack" if method in STACKED else method for method in self.methods} - set(FIXED))
        n, weighed = self.choosing.n_folds, self.tune or len(self.methods) > 1
        if n < 2 or not slow:
            return slow
        if not self.nested:
            return slow * n * weighed + 2
        return slow * (n + (n * (n - 1) // 2 if n > 2 and weighed else 0)) + 1

    def plan(self, outer: Outer) -> _Plan:
        """Decide without looking at fold ``outer``."""
        oof, method = self.choosing, self.methods[0]
        if not oof.can_judge(outer):
            return _Plan(method)
        clips = oof.judged_by(outer)
        judge = Judge(oof.metric, oof.targets[clips], oof.groups[clips], oof.seed)
        if len(self.methods) > 1:
            method = judge.simplest_unbeaten({name: oof.predictions(name, outer) for name in self.methods})
        if not self.tune:
            return _Plan(method)
        return _Plan(method, tune_decision(judge, oof.predictions(method, outer), oof.folds[clips]))

    def blend(self, asked: str) -> Blend:
        """The blend that is chosen on all clips, with its estimate."""
        oof, plan = self.whole, self.plan(None)
        members, fit = oof.members(ALL), oof.fit(plan.method, ALL)
        scores = oof.run_choice.scores(oof.clips(ALL))
        best_first = np.argsort(-scores, kind="stable")
        chosen = best_first[np.isin(best_first, members[fit.weights > 0])]
        weights = np.zeros(len(oof.probabilities))
        weights[members] = fit.weights
        tuned = plan.tuned
        blend = Blend(
            members=tuple(int(run) for run in chosen),
            weights=read_only(weights),
            method=plan.method,
            task=oof.task,
            score=math.nan,
            nested_score=math.nan,
            interval=NONE,
            single_best=(int(best_first[0]), float(scores[best_first[0]])),
            asked=asked,
            metric=oof.metric,
            decision=None if tuned is None or tuned.factors is None else read_only(tuned.factors),
            decision_gain=None if tuned is None else tuned.gain,
            parameters=fit.ordered(np.searchsorted(members, chosen)).parameters,
        )
        blend = replace(blend, score=score(oof.metric, oof.targets, blend.predict(oof.probabilities)))
        return blend if self.choosing.n_folds < 2 else self.estimated(blend, plan)

    def estimated(self, blend: Blend, plan: _Plan) -> Blend:
        """The blend with what choosing like this is worth on clips that had no part in it."""
        judging, blended, best_run = self.nested_predictions() if self.nested else self.judged_predictions(plan)
        targets, metric, groups = self.whole.targets[judging], self.whole.metric, self.whole.groups[judging]
        draws = paired_scores(metric, targets, [blended, best_run], groups, self.whole.seed)
        nested_score = score(metric, targets, blended)
        return replace(
            blend,
            nested_score=nested_score,
            interval=interval(draws[:, 0]) or NONE,
            gain=nested_score - score(metric, targets, best_run),
            gain_interval=interval(draws[:, 0] - draws[:, 1]) or NONE,
            considered={method: self.weighed_score(method) for method in self.methods} if len(self.methods) > 1 else {},
        )

    def nested_predictions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All clips, and what is chosen on four folds, and the run that is best there, for the fifth, five times."""
        oof = self.whole
        blended, best_run = np.empty((2, *oof.probabilities.shape[1:]))
        for fold in range(oof.n_folds):
            held, others = oof.folds == fold, frozenset({fold})
            plan = self.plan(fold)
            blended[held] = plan.read(oof.held(plan.method, fold, others), oof.task)
            best_run[held] = oof.probabilities[oof.run_choice.best_first(oof.clips(others))[0], held]
        return self.part, blended, best_run

    def judged_predictions(self, plan: _Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The clips that do not choose, and for them what is chosen, and the run that is best, on those that do."""
        oof, probabilities, judging = self.choosing, self.whole.probabilities, ~self.part
        blended = plan.read(oof.predicted(plan.method, ALL, probabilities, judging), oof.task)
        return judging, blended, probabilities[oof.run_choice.best_first(oof.clips(ALL))[0], judging]

    def weighed_score(self, method: str) -> float:
        """The score of one method, by argmax, on the clips that choose, each fold by a fit without it."""
        oof = self.choosing
        return score(oof.metric, oof.targets, oof.predictions(method, None))
