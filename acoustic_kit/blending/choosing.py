"""Choosing runs and fitting a method to them, with an estimate of what the choice is worth."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from acoustic_kit.blending.arrays import checked, first_of_equal, group_codes, task_of
from acoustic_kit.blending.blend import NONE, Blend, read_only
from acoustic_kit.blending.combine import METHOD_NAMES
from acoustic_kit.blending.decision import Tuned, tune_thresholds
from acoustic_kit.blending.fitting import Chosen, Fitter
from acoustic_kit.blending.nested import fitting_part, nested_folds
from acoustic_kit.errors import UsageError
from acoustic_kit.metrics import get_metric, score, validate_metric
from acoustic_kit.metrics.bootstrap import score_and_gain_intervals

DECISIONS = ("argmax", "tuned")


def choose(
    probabilities: np.ndarray | Sequence[np.ndarray],
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
    - ``method``: a name in ``METHODS``; ``auto`` is the geometric mean of the predictions of ``mean``, ``stack``,
      ``weights`` and ``greedy``, as far as it departs from the mean by more than a margin, which is wide if there are
      few clips or groups to fit on (`margin_of`)
    - ``top``: how many runs to take (all where it exceeds their number); None takes all. Of equal runs the earlier
    - ``seed``: of the nested folds, the bags of ``greedy`` and the bootstrap
    - ``diverse``: the ``top`` runs are those whose mean has the smallest Brier score, not the best ones
    - ``decision``: ``tuned`` fits a threshold for each class of a task with several labels, and keeps them if they gain
      beyond noise; a single label has no thresholds, and nothing is tuned
    - ``on_progress``: called with (fits done, fits in all)

    Runs with equal predictions count once: the first of them takes part. A single run is taken as it is. A method that
    is fitted takes the 100 best runs of more.

    The nested estimate: five folds, stratified by label (multi-label: by the rarest label of a clip) and kept whole
    by group. Whatever is chosen or fitted, runs, weights, thresholds, is so on the other folds, and the result predicts
    the held fold on its own, so that ``rank`` ranks among its clips only. The metric is computed once, on all held
    folds together. Of more than 30,000 clips, a part (whole groups) fits and all others judge. With fewer than two
    groups (clips) no nesting is possible: ``nested_score`` and the intervals are nan, and the caller has to say so. The
    interval resamples groups if there are any, else clips; the blend itself stays the same in it. Without groups the
    estimate is optimistic if recordings repeat.

    Raises ValueError for arrays that do not fit, UsageError for an unknown metric, method or decision, for methods and
    decisions that do not fit the metric or the task, and for ``top`` below 1.
    """
    every, targets = checked(probabilities), np.asarray(targets)
    _check_options(method, decision, top, metric, task_of(targets))
    score(metric, targets, every[0])  # says what does not fit
    codes = group_codes(groups, len(every[0]))
    first = np.unique(first_of_equal(every))
    progress = _Progress(on_progress)
    fitter = Fitter([every[run] for run in first], targets, codes, metric, method, top, diverse, seed, progress.advance)
    tune = decision == "tuned" and targets.ndim == 2
    blend = _Chooser(fitter, asked=method, tune=tune, progress=progress).blend()
    return _among(blend, first, len(every))


def _among(blend: Blend, positions: np.ndarray, n_runs: int) -> Blend:
    """Return a blend of some runs as one of all, of which the others have no share."""
    weights = np.zeros(n_runs)
    weights[positions] = blend.weights
    members = tuple(int(positions[run]) for run in blend.members)
    best, value = blend.single_best
    return replace(blend, members=members, weights=read_only(weights), single_best=(int(positions[best]), value))


class _Progress:
    def __init__(self, on_progress: Callable[[int, int], None] | None) -> None:
        self.on_progress, self.done, self.total = on_progress, 0, 0

    def advance(self) -> None:
        self.done += 1
        if self.on_progress:
            self.on_progress(min(self.done, self.total), self.total)

    def finish(self) -> None:
        if self.on_progress and self.done < self.total:  # a single run was chosen, which needs no fit
            self.on_progress(self.total, self.total)


def _check_options(method: str, decision: str, top: int | None, metric: str, task: str) -> None:
    if method not in METHOD_NAMES:
        raise UsageError(f"unknown blend method {method!r}; there are: {', '.join(METHOD_NAMES)}")
    if decision not in DECISIONS:
        raise UsageError(f"unknown decision {decision!r}; there are: {', '.join(DECISIONS)}")
    if top is not None and top < 1:
        raise UsageError(f"top must be at least 1; it is {top}")
    validate_metric(metric, task)
    measured = get_metric(metric)
    if method == "rank" and task == "single" and measured.ranks_clips:
        raise UsageError("rank blends what stands in a row, map compares a column; use mean or geometric with map")
    if decision == "tuned" and any(part.n_labels != 1 for _, part in measured.terms):
        raise UsageError("tuned decisions are thresholds, and map and map3 have none; use --decision argmax")


@dataclass(frozen=True, eq=False)
class _Judged:
    """Predictions for clips by what was chosen and fitted without them."""

    clips: np.ndarray  # int (clips,), ascending
    folds: np.ndarray  # int (clips,), each predicted by one fit
    predictions: dict[str, np.ndarray]  # method → (clips, classes): the blend first, then what `auto` averages
    best_run: np.ndarray  # (clips, classes), of the run that is best on the other clips


@dataclass(eq=False)
class _Chooser:
    """One call of ``choose``."""

    fitter: Fitter
    asked: str
    tune: bool
    progress: _Progress

    def blend(self) -> Blend:
        """Return the blend that is chosen on all clips, with its estimate."""
        fitter, seed = self.fitter, self.fitter.seed
        everything = np.arange(len(fitter.targets))
        fits = fitting_part(fitter.targets, fitter.groups, seed)
        if fits.all():
            folds = nested_folds(fitter.targets, fitter.groups, seed)
            n_folds = int(folds.max()) + 1
            self.progress.total = fitter.slow_fits * (1 + (n_folds if n_folds > 1 else 0))
            chosen = fitter.chosen_on(everything)
            judged = self.nested(folds) if n_folds > 1 else None
        else:
            self.progress.total = fitter.slow_fits
            part = np.flatnonzero(fits)
            chosen = fitter.chosen_on(part)
            judged = self.others(chosen, np.flatnonzero(~fits))
            members = fitter.members_on(everything)
            if not np.array_equal(members, chosen.members):  # the judged clips would have chosen other runs
                self.progress.total += fitter.slow_fits
                chosen = replace(chosen, members=members, fit=fitter.fit(members, part))
        tuned = self.tuned(judged) if self.tune and judged else None
        blend = self.described(chosen, tuned)
        self.progress.finish()
        return self.estimated(blend, judged) if judged else blend

    def nested(self, folds: np.ndarray) -> _Judged:
        """All clips, each fold predicted by what the other folds chose and fitted."""
        runs, found = self.fitter.runs, dict[str, np.ndarray]()
        best_run = np.empty(runs[0].shape)
        for fold in range(int(folds.max()) + 1):
            held = np.flatnonzero(folds == fold)
            chosen = self.fitter.chosen_on(np.flatnonzero(folds != fold))
            for method, prediction in chosen.predictions(runs, held).items():
                found.setdefault(method, np.empty(runs[0].shape))[held] = prediction
            best_run[held] = runs[chosen.best][held]
        return _Judged(np.arange(len(folds)), folds, found, best_run)

    def others(self, chosen: Chosen, clips: np.ndarray) -> _Judged:
        """The clips that had no part in a choice."""
        fitter = self.fitter
        folds = nested_folds(fitter.targets[clips], group_codes(fitter.groups[clips], len(clips)), fitter.seed)
        return _Judged(clips, folds, chosen.predictions(fitter.runs, clips), fitter.runs[chosen.best][clips])

    def tuned(self, judged: _Judged, but: int | None = None) -> Tuned:
        """Fit thresholds to judged clips, without the fold ``but``."""
        fitter, taken = self.fitter, judged.folds != (-1 if but is None else but)
        clips, prediction = judged.clips[taken], next(iter(judged.predictions.values()))[taken]
        return tune_thresholds(
            fitter.metric, fitter.targets[clips], fitter.groups[clips], prediction, judged.folds[taken], fitter.seed
        )

    def described(self, chosen: Chosen, tuned: Tuned | None) -> Blend:
        """Return the blend, with its scores on the clips given, but without an estimate."""
        fitter, fit = self.fitter, chosen.fit
        scores = fitter.run_choice.scores(np.arange(len(fitter.targets)))
        best_first = np.argsort(-scores, kind="stable")
        members = best_first[np.isin(best_first, chosen.members[fit.weights > 0])]
        weights = np.zeros(len(fitter.runs))
        weights[chosen.members] = fit.weights
        blend = Blend(
            members=tuple(int(run) for run in members),
            weights=read_only(weights),
            method=fit.method,
            task=fit.task,
            score=math.nan,
            nested_score=math.nan,
            interval=NONE,
            single_best=(int(best_first[0]), float(scores[best_first[0]])),
            asked=self.asked,
            metric=fitter.metric,
            decision=None if tuned is None or tuned.factors is None else read_only(tuned.factors),
            decision_gain=None if tuned is None else tuned.gain,
            parameters=fit.ordered(np.searchsorted(chosen.members, members)).parameters,
        )
        return replace(blend, score=score(fitter.metric, fitter.targets, blend.predict(fitter.runs)))

    def estimated(self, blend: Blend, judged: _Judged) -> Blend:
        """Return the blend with what choosing like this is worth on clips that had no part in it."""
        fitter, (blended, *averaged) = self.fitter, judged.predictions.values()
        if self.tune:
            blended = blended.copy()
            for fold in np.unique(judged.folds):
                held = judged.folds == fold
                blended[held] = self.tuned(judged, but=fold).apply(blended[held])
        targets, metric, groups = fitter.targets[judged.clips], fitter.metric, fitter.groups[judged.clips]
        own, gain = score_and_gain_intervals(metric, targets, blended, judged.best_run, groups, fitter.seed)
        nested_score = score(metric, targets, blended)
        names = list(judged.predictions)[1:]
        return replace(
            blend,
            nested_score=nested_score,
            interval=own or NONE,
            gain=nested_score - score(metric, targets, judged.best_run),
            gain_interval=gain or NONE,
            considered={name: score(metric, targets, q) for name, q in zip(names, averaged, strict=True)},
        )
