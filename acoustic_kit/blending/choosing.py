"""Choice of runs and fit of a method to them, with a nested estimate of the score."""

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
from acoustic_kit.blending.recordings import Recordings, apply_postprocessing, gaining, nested_gains
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
    recordings: Recordings | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Blend:
    """Choose runs by their out-of-fold predictions, combine them, and estimate the score of the blend.

    - ``probabilities``: float (runs, clips, classes), out-of-fold
    - ``targets``: int (clips,) class positions, or bool (clips, classes)
    - ``groups``: (clips,), clips of one recording or speaker share a value; None if clips are independent
    - ``metric``: see ``metrics.METRICS``; also a weighted sum
    - ``method``: a name in ``METHODS``; ``auto`` is the geometric mean of the predictions of ``mean``, ``stack``,
      ``weights`` and ``greedy``, as far as it departs from the mean by more than a margin, which is wide if there are
      few clips or groups to fit to (`margin_of`); of several labels and a metric that only compares clips, the power
      mean of ``mean``, ``rank`` and ``power``
    - ``top``: number of runs to choose, of equal ones the earlier; None, or more than there are, for all
    - ``seed``: of the nested folds, the bags of ``greedy`` and the bootstrap
    - ``diverse``: choose the ``top`` runs whose mean has the smallest Brier score, not the best ones
    - ``decision``: ``tuned`` fits a threshold for each class of a task with several labels, and uses them if they gain
      beyond noise; a single label has no thresholds
    - ``recordings``: of clips that are windows of recordings: the blend post-processes them
      (`blending.recordings`), each if the nested estimate gains; windows of one recording are a group if there are no
      ``groups``
    - ``on_progress``: called with (fits done, fits in total)

    Of runs with equal predictions only the first is used. The predictions of a single run are returned unchanged. A
    fitted method uses the best 100 runs if there are more.

    The nested estimate has five folds, stratified by label (multi-label: by the rarest label of a clip), which do not
    divide groups. Runs, weights, post-processing and thresholds are chosen and fitted on the other folds, and the
    result predicts the held-out fold alone, so that ``rank`` ranks among its clips only. The metric is computed once,
    on all held-out folds together. Of more than 30,000 clips, the fit uses a part (whole groups), and all others are
    scored. With fewer than two groups (clips) nesting is impossible: ``nested_score``, ``gain`` and the intervals are
    nan, which callers must report. The interval resamples groups if there are any, else clips; the blend itself is not
    fitted again in it. Without groups the estimate is optimistic if recordings repeat.

    Raises ValueError for arrays that do not fit, UsageError for an unknown metric, method or decision, for methods and
    decisions that do not fit the metric or the task, and for ``top`` below 1.

    >>> rng = np.random.default_rng(0)
    >>> targets = rng.integers(3, size=60)
    >>> runs = rng.dirichlet(np.ones(3), size=(4, 60)) + np.eye(3)[targets]  # 4 runs, 60 clips, 3 classes
    >>> blend = choose(runs / 2, targets, metric="accuracy", method="mean", top=2)
    >>> blend.weights.tolist(), blend.members
    ([0.5, 0.5, 0.0, 0.0], (0, 1))
    >>> blend.predict(runs[:, :5] / 2).shape
    (5, 3)
    """
    every, targets = checked(probabilities), np.asarray(targets)
    _check_options(method, decision, top, metric, task_of(targets))
    score(metric, targets, every[0])  # raises if arrays do not fit
    codes = group_codes(recordings.groups() if groups is None and recordings else groups, len(every[0]))
    first = np.unique(first_of_equal(every))
    progress = _Progress(on_progress)
    fitter = Fitter([every[run] for run in first], targets, codes, metric, method, top, diverse, seed, progress.advance)
    tune = decision == "tuned" and targets.ndim == 2
    blend = _Estimation(fitter, method, tune=tune, recordings=recordings, progress=progress).blend()
    return _of_all_runs(blend, first, len(every))


def _of_all_runs(blend: Blend, positions: np.ndarray, n_runs: int) -> Blend:
    """Return a blend of some runs as a blend of all, in which the others have no weight."""
    weights = np.zeros(n_runs)
    weights[positions] = blend.weights
    members = tuple(int(positions[run]) for run in blend.members)
    best, value = blend.single_best
    return replace(blend, members=members, weights=read_only(weights), single_best=(int(positions[best]), value))


class _Progress:
    """Number of fits done and in total, for a callback."""

    def __init__(self, on_progress: Callable[[int, int], None] | None) -> None:
        self.on_progress, self.done, self.total = on_progress, 0, 0

    def advance(self) -> None:
        self.done += 1
        if self.on_progress:
            self.on_progress(min(self.done, self.total), self.total)

    def finish(self) -> None:
        if self.on_progress and self.done < self.total:  # a single run needs no fit
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
        raise UsageError(
            f"rank is normalized within a row, but {metric} compares a column; use mean or geometric with {metric}"
        )
    if method == "rank" and not measured.greater_is_better:
        raise UsageError(f"ranks are no probabilities, which {metric} needs; use mean or geometric with {metric}")
    if decision == "tuned" and any(part.n_labels != 1 for _, part in measured.terms):
        raise UsageError(f"tuned decisions are thresholds, which {metric} does not use; use --decision argmax")


@dataclass(frozen=True, eq=False)
class _HeldOut:
    """Predictions for clips by choices and fits without them."""

    clips: np.ndarray  # int (clips,), ascending
    folds: np.ndarray  # int (clips,), each predicted by one fit
    predictions: dict[str, np.ndarray]  # method → (clips, classes): the blend first, then those that `auto` combines
    best_run: np.ndarray  # (clips, classes), of the best run on the other clips


@dataclass(eq=False)
class _Estimation:
    """Blend and nested estimate of one call of ``choose``."""

    fitter: Fitter
    requested: str
    tune: bool
    recordings: Recordings | None
    progress: _Progress

    def blend(self) -> Blend:
        """Return the blend chosen on all clips, with its estimate."""
        fitter, seed = self.fitter, self.fitter.seed
        everything = np.arange(len(fitter.targets))
        fits = fitting_part(fitter.targets, fitter.groups, seed)
        if fits.all():
            folds = nested_folds(fitter.targets, fitter.groups, seed)
            n_folds = int(folds.max()) + 1
            self.progress.total = fitter.slow_fits * (1 + (n_folds if n_folds > 1 else 0))
            chosen = fitter.choose_on(everything)
            held_out = self.nested(folds) if n_folds > 1 else None
        else:
            self.progress.total = fitter.slow_fits
            part = np.flatnonzero(fits)
            chosen = fitter.choose_on(part)
            held_out = self.rest(chosen, np.flatnonzero(~fits))
            members = fitter.members_on(everything)
            if not np.array_equal(members, chosen.members):  # the held-out clips change the choice of runs
                self.progress.total += fitter.slow_fits
                chosen = replace(chosen, members=members, fit=fitter.fit(members, part))
        held_out, gains = self.postprocessed(held_out) if held_out else (None, {})
        tuned = self.tuned(held_out) if self.tune and held_out else None
        blend = self.without_estimate(chosen, gains, tuned)
        self.progress.finish()
        return self.with_estimate(blend, held_out) if held_out else blend

    def nested(self, folds: np.ndarray) -> _HeldOut:
        """Return predictions for all clips, for each fold by the choice and fit on the other folds."""
        runs, found = self.fitter.runs, dict[str, np.ndarray]()
        best_run = np.empty(runs[0].shape)
        for fold in range(int(folds.max()) + 1):
            held = np.flatnonzero(folds == fold)
            chosen = self.fitter.choose_on(np.flatnonzero(folds != fold))
            for method, prediction in chosen.predictions(runs, held).items():
                found.setdefault(method, np.empty(runs[0].shape))[held] = prediction
            best_run[held] = runs[chosen.best][held]
        return _HeldOut(np.arange(len(folds)), folds, found, best_run)

    def rest(self, chosen: Chosen, clips: np.ndarray) -> _HeldOut:
        """Return predictions for the clips that a choice did not use."""
        fitter = self.fitter
        folds = nested_folds(fitter.targets[clips], group_codes(fitter.groups[clips], len(clips)), fitter.seed)
        return _HeldOut(clips, folds, chosen.predictions(fitter.runs, clips), fitter.runs[chosen.best][clips])

    def postprocessed(self, held_out: _HeldOut) -> tuple[_HeldOut, dict[str, float]]:
        """Return predictions after the steps that gain on other folds, and the gain of each step on all folds.

        If the metric ranks clips, the steps of all folds are those that gain on all: after different steps, the
        predictions of two folds have different scales.
        """
        if self.recordings is None or len(np.unique(held_out.folds)) < 2:
            return held_out, {}
        metric, targets = self.fitter.metric, self.fitter.targets[held_out.clips]
        recordings = self.recordings.take(held_out.clips)
        method, blended = next(iter(held_out.predictions.items()))
        gains = nested_gains(metric, targets, blended, recordings)
        found, best_run = np.empty_like(blended), np.empty_like(held_out.best_run)
        for fold in np.unique(held_out.folds):
            held = held_out.folds == fold
            if get_metric(metric).ranks_clips:
                steps = gaining(gains)
            else:
                steps = gaining(nested_gains(metric, targets[~held], blended[~held], recordings.take(~held)))
            found[held] = apply_postprocessing(steps, blended[held], recordings.take(held))
            best_run[held] = apply_postprocessing(steps, held_out.best_run[held], recordings.take(held))
        changed = replace(held_out, predictions={**held_out.predictions, method: found}, best_run=best_run)
        return changed, gains

    def tuned(self, held_out: _HeldOut, without: int | None = None) -> Tuned:
        """Fit thresholds to held-out predictions, without the fold ``without``."""
        fitter, taken = self.fitter, held_out.folds != (-1 if without is None else without)
        clips, prediction = held_out.clips[taken], next(iter(held_out.predictions.values()))[taken]
        return tune_thresholds(
            fitter.metric, fitter.targets[clips], fitter.groups[clips], prediction, held_out.folds[taken], fitter.seed
        )

    def without_estimate(self, chosen: Chosen, gains: dict[str, float], tuned: Tuned | None) -> Blend:
        """Return the blend with its score on all clips, but without an estimate."""
        fitter, fit = self.fitter, chosen.fit
        scores = fitter.run_choice.scores(np.arange(len(fitter.targets)))
        best_first = np.argsort(-get_metric(fitter.metric).sign * scores, kind="stable")
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
            asked=self.requested,
            metric=fitter.metric,
            decision=None if tuned is None or tuned.factors is None else read_only(tuned.factors),
            decision_gain=None if tuned is None else tuned.gain,
            postprocessing=gaining(gains),
            postprocessing_gains=gains,
            parameters=fit.ordered(np.searchsorted(chosen.members, members)).parameters,
        )
        return replace(blend, score=score(fitter.metric, fitter.targets, blend.predict(fitter.runs, self.recordings)))

    def with_estimate(self, blend: Blend, held_out: _HeldOut) -> Blend:
        """Return the blend with its score on clips that were not used in the choice."""
        fitter, (blended, *averaged) = self.fitter, held_out.predictions.values()
        if self.tune:
            blended = blended.copy()
            for fold in np.unique(held_out.folds):
                held = held_out.folds == fold
                blended[held] = self.tuned(held_out, without=fold).apply(blended[held])
        targets, metric, groups = fitter.targets[held_out.clips], fitter.metric, fitter.groups[held_out.clips]
        own, gain = score_and_gain_intervals(metric, targets, blended, held_out.best_run, groups, fitter.seed)
        nested_score = score(metric, targets, blended)
        names = list(held_out.predictions)[1:]
        return replace(
            blend,
            nested_score=nested_score,
            interval=own or NONE,
            gain=get_metric(metric).sign * (nested_score - score(metric, targets, held_out.best_run)),
            gain_interval=gain or NONE,
            considered={name: score(metric, targets, q) for name, q in zip(names, averaged, strict=True)},
        )
