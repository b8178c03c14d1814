"""The leaderboard: runs ranked by their out-of-fold score, with its spread over folds and its bootstrap interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from acoustic_kit.data.targets import TrainingSet, label_digest
from acoustic_kit.errors import AkitError
from acoustic_kit.metrics.bootstrap import draw_weights, interval, resampled_scores
from acoustic_kit.metrics.names import get_metric, validate_metric
from acoustic_kit.metrics.scores import score, score_or_nan
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.runs.run import Run, list_runs, trained_on_other_labels
from acoustic_kit.task import TaskSpec

if TYPE_CHECKING:
    import polars as pl

    from acoustic_kit.workspace.workspace import Workspace


@dataclass(frozen=True)
class Standing:
    """A scored run on the leaderboard."""

    run: Run
    score: float | None  # of all available out-of-fold predictions
    fold_scores: dict[str, float]  # of the folds that are done and have a score
    known: np.ndarray  # bool (training clips,): whether the clip has an out-of-fold prediction
    whole_folds: tuple[str, ...]  # folds of which all clips have one
    other_labels: bool = False  # whether trained on other labels than the manifest has now
    draws: np.ndarray | None = None  # (resamples,): scores of bootstrap draws, if requested
    sign: int = 1  # of the metric: -1 if a lower score is better

    @property
    def complete(self) -> bool:
        """Whether every training clip has an out-of-fold prediction."""
        return bool(self.known.all())

    @property
    def coverage(self) -> str:
        """Number of training clips that have predictions: `39/320 clips`."""
        return f"{self.known.sum()}/{len(self.known)} clips"

    @property
    def spread(self) -> float | None:
        """Standard deviation of the score over folds; None for fewer than two."""
        return float(np.std(list(self.fold_scores.values()), ddof=1)) if len(self.fold_scores) > 1 else None


@dataclass(frozen=True)
class Placing:
    """A row of the leaderboard: the seeds of one setting for which the same folds are done."""

    standings: tuple[Standing, ...]  # best first

    @property
    def score(self) -> float | None:
        """Mean over seeds of the score of all out-of-fold predictions."""
        scores = [standing.score for standing in self.standings if standing.score is not None]
        return float(np.mean(scores)) if scores else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over folds of the mean over seeds; None for fewer than two folds."""
        by_fold = [list(standing.fold_scores.values()) for standing in self.standings]
        return float(np.std(np.mean(by_fold, axis=0), ddof=1)) if len(by_fold[0]) > 1 else None

    @property
    def runs(self) -> list[Run]:
        """The runs of the row, best first."""
        return [standing.run for standing in self.standings]

    @property
    def seconds(self) -> float:
        """Mean over seeds of the wall time of all folds, in seconds."""
        return sum(run.seconds for run in self.runs) / len(self.runs)

    @property
    def folds(self) -> str:
        """The folds that are trained: `3/5`; `full`; of imported predictions the clips if they are not all."""
        first = self.standings[0]
        if first.run.record.imported:
            return "–" if first.complete or first.score is None else first.coverage
        return "full" if first.run.record.full else f"{len(first.run.done)}/{len(first.run.record.folds)}"

    @property
    def settings(self) -> list[str]:
        """Differences from the recipe's defaults, and the seeds unless there is only seed 0."""
        seeds = sorted(run.record.seed for run in self.runs)
        named = f"seed{'s' * (len(seeds) > 1)}={','.join(map(str, seeds))}"
        return [*(f"{k}={v}" for k, v in self.runs[0].record.changed.items()), *([named] if seeds != [0] else [])]

    @property
    def marks(self) -> list[str]:
        """Marks such as `fast`; `part` if some training clips have no prediction."""
        first, record = self.standings[0], self.runs[0].record
        marks = {
            "fast": record.fast,
            "full": record.full,
            "imported": bool(record.imported),
            "at chance": any(run.warnings for run in self.runs),
            "optimistic": any(run.bias_warnings for run in self.runs),
            "other labels": any(standing.other_labels for standing in self.standings),
            "part": first.score is not None and not first.complete,
        }
        return [mark for mark, holds in marks.items() if holds]

    @property
    def notes(self) -> list[str]:
        """The settings, the marks that `folds` does not tell, the origin of pseudo-labels, and the user's remarks."""
        marks = [mark for mark in self.marks if mark not in {"full", "part"}]
        pseudo = dict.fromkeys(str(run.record.pseudo) for run in self.runs if run.record.pseudo)
        remarks = dict.fromkeys(run.record.note for run in self.runs if run.record.note)
        return [*self.settings, *marks, *pseudo, *remarks]

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % bootstrap interval of the mean over seeds; None if not requested."""
        draws = [standing.draws for standing in self.standings if standing.draws is not None]
        return interval(np.mean(draws, axis=0)) if draws else None


def by_setting(standings: Sequence[Standing]) -> list[Placing]:
    """Return the rows of a leaderboard, with the seeds of one setting in one row, best first.

    Runs that lack folds have rows of their own: a mean over both would compare different clips.
    """
    groups: dict[tuple[object, ...], list[Standing]] = {}
    for standing in standings:
        record = standing.run.record
        key = (record.recipe, record.setting or standing.run.name, standing.complete, *standing.fold_scores)
        groups.setdefault(key, []).append(standing)
    return sorted((Placing(tuple(group)) for group in groups.values()), key=_rank_key)


def ranks(placings: Sequence[Placing]) -> list[int | None]:
    """Return the rank of each row of `by_setting`: None if its score is of other clips than the first row's."""
    found: list[int | None] = []
    for placing in placings:
        alike = placing.score is not None and np.array_equal(placing.standings[0].known, placings[0].standings[0].known)
        found.append(1 + sum(rank is not None for rank in found) if alike else None)
    return found


def _rank_key(one: Standing | Placing) -> tuple[object, ...]:
    """Return the sort key: runs with scores first, then by clips predicted, then by score."""
    first = one.standings[0] if isinstance(one, Placing) else one
    unknown = one.score is None
    return unknown, -int(first.known.sum()), -first.sign * (one.score or 0.0), first.run.name


OnScored = Callable[[Standing, np.ndarray, np.ndarray], None]
OnUnreadable = Callable[[str, AkitError], None]


def rank_runs(
    workspace: Workspace,
    metric: str | None = None,
    *,
    resample: bool = True,
    on_scored: OnScored = lambda *_: None,
    on_unreadable: OnUnreadable = lambda *_: None,
) -> list[Standing]:
    """Return all runs of a workspace, best first in a metric, by default its own; parameters as for `leaderboard`.

    Raises UsageError for a metric that does not fit the task.
    """
    spec = replace(workspace.task_spec, metric=workspace.metric(metric))
    validate_metric(spec.metric, spec.task)
    runs, manifest = list_runs(workspace.runs_path, on_unreadable), workspace.manifest
    return leaderboard(runs, manifest, spec, resample=resample, on_scored=on_scored, on_unreadable=on_unreadable)


def leaderboard(
    runs: Sequence[Run],
    manifest: pl.DataFrame,
    task_spec: TaskSpec,
    *,
    resample: bool = False,
    on_scored: OnScored = lambda *_: None,
    on_unreadable: OnUnreadable | None = None,
) -> list[Standing]:
    """Return the runs, best first: by training clips predicted, then by score, last those without a score.

    A run is scored on its out-of-fold predictions of the manifest's training clips. With `resample`, bootstrap draws
    are scored too, of whole groups if the manifest has groups. `on_scored` is called with each scored run, the training
    clips that it predicted, bool (clips,), and their probabilities. `on_unreadable` is called with the name of a run
    whose files are damaged, and the error; without it, the error is raised.
    """
    training_set, metric = TrainingSet.of(manifest, task_spec), task_spec.metric
    ids, targets, folds = training_set.ids, training_set.targets, training_set.folds
    labels = label_digest(manifest)
    weights: dict[bytes, np.ndarray] = {}  # shared by runs that predicted the same clips
    standings = []
    for run in runs:
        try:
            oof = _out_of_fold(run, task_spec.names)
        except AkitError as error:
            if on_unreadable is None:
                raise
            on_unreadable(run.name, error)
            continue
        if not run.done and not run.record.imported:  # without a finished fold
            continue
        others = trained_on_other_labels(run, labels)
        known, probabilities = oof.found(ids) if oof else (np.zeros(len(ids), dtype=bool), None)
        if probabilities is None or not known.any():
            standings.append(Standing(run, None, {}, known, (), others))
            continue
        key, draws = known.tobytes(), None
        if resample and key not in weights:
            weights[key] = draw_weights(training_set.groups[known], metric, len(task_spec.names))
        if resample:
            draws = resampled_scores(metric, targets[known], probabilities, weights[key])
        by_fold = _by_fold(metric, targets[known], probabilities, folds[known])
        total = score(metric, targets[known], probabilities)
        whole = tuple(str(fold) for fold in np.unique(folds) if known[folds == fold].all())
        standings.append(Standing(run, total, by_fold, known, whole, others, draws, get_metric(metric).sign))
        on_scored(standings[-1], known, probabilities)
    return sorted(standings, key=_rank_key)


def _out_of_fold(run: Run, classes: Sequence[str]) -> Predictions | None:
    """Return a run's out-of-fold predictions. Raises RunError if they, or the records of its folds, are damaged."""
    _ = run.done  # read now, so that damage is found here
    return run.predictions("oof", classes) if set(run.record.classes) == set(classes) else None


def _by_fold(metric: str, targets: np.ndarray, probabilities: np.ndarray, folds: np.ndarray) -> dict[str, float]:
    """Return the score of each fold in which the metric is defined."""
    found = {str(f): score_or_nan(metric, targets[folds == f], probabilities[folds == f]) for f in np.unique(folds)}
    return {fold: value for fold, value in found.items() if not math.isnan(value)}
