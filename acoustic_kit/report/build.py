"""Collect the content of a report from a workspace."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import numpy as np

from acoustic_kit import __version__
from acoustic_kit.data.leaks import leak_warnings
from acoustic_kit.data.target_summary import summarize_targets
from acoustic_kit.errors import AkitError
from acoustic_kit.report.content import Blended, Correlation, Report, Row, TrainingCurves, Weight
from acoustic_kit.report.evaluation import correlation
from acoustic_kit.report.subjects import Scored, Scoring, combination, evaluate, find_subjects, most_confident
from acoustic_kit.report.training_logs import training_curves
from acoustic_kit.runs.leaderboard import Placing, Standing, by_setting, rank_runs, ranks
from acoustic_kit.runs.run import Run
from acoustic_kit.submission.record import SubmissionRecord, list_records
from acoustic_kit.workspace.workspace import Workspace

TRAININGS = 6  # stages of the best runs whose curves are shown; of named runs, all stages
CORRELATED = 20  # runs; cells of a larger matrix would be too small to read


def build_report(workspace: Workspace, names: Sequence[str] = ()) -> Report:
    """Return the content of a report.

    `names` are runs (or enough of their names) or submissions to analyze; by default the newest blend and the best run.
    The leaderboard has all runs.

    Raises UsageError for an unknown name, and AkitError if there are no runs.
    """
    task, manifest = workspace.task_spec, workspace.manifest
    unreadable: list[str] = []
    standings, scored = _score_runs(workspace, unreadable)
    records = dict(reversed(list_records(workspace.submissions_path, unreadable.append).items()))
    clips = workspace.training_set
    best = [one.standing.run for one in scored.values()][:1]
    subjects, named_runs = find_subjects(workspace, names, best, records, clips)
    placings = by_setting(standings)
    return Report(
        workspace=workspace.root.name,
        metric=workspace.config.metric,
        task=workspace.config.task,
        n_train=len(clips),
        n_test=int((manifest["split"] == "test").sum()),
        n_extra=len(manifest.filter((manifest["split"] == "extra") & (manifest["label"].list.len() > 0))),
        targets=tuple(summarize_targets(manifest.filter(manifest["split"] != "test")).rows),
        classes=task.names,
        folds=tuple(str(fold) for fold in clips.rows["fold"].unique().sort()),
        n_groups=clips.n_groups or None,
        rows=tuple(_row(rank, placing) for rank, placing in zip(ranks(placings), placings, strict=True)),
        warnings=tuple(leak_warnings(manifest)),
        unreadable=tuple(unreadable),
        blends=tuple(
            _blended(name, record, scored if record.metric == workspace.config.metric else {})
            for name, record in records.items()
        ),
        evaluations=tuple(evaluate(subject, workspace.config.metric, clips) for subject in subjects),
        mistakes=most_confident(workspace, subjects[0], clips, scored) if subjects else None,
        trainings=_trainings(standings, named_runs),
        correlation=_correlation(list(scored.values())),
        akit=__version__,
        created=datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
    )


def _score_runs(workspace: Workspace, unreadable: list[str]) -> tuple[list[Standing], dict[str, Scored]]:
    """Return the leaderboard, and by name the runs that have a score, best first.

    Appends the reasons of runs that cannot be read to `unreadable`. Raises AkitError if there are no runs.
    """
    scoring = Scoring(workspace.training_set)
    standings = rank_runs(
        workspace, on_scored=scoring.add, on_unreadable=lambda _, error: unreadable.append(str(error))
    )
    if not standings:
        raise AkitError("There are no runs to report on yet. `akit recipe run NAME` makes one.")
    names = [standing.run.name for standing in standings if standing.score is not None]
    return standings, {name: scoring.runs[name] for name in names}


def _row(rank: int | None, placing: Placing) -> Row:
    notes = [run.record.note for run in placing.runs if run.record.note]
    notes += [f"pseudo-labels: {run.record.pseudo}" for run in placing.runs if run.record.pseudo]
    notes += [why for run in placing.runs for why in (*run.warnings, *run.bias_warnings, *run.notes)]
    if placing.score is None:
        notes.append("no out-of-fold predictions, so there is no score")
    return Row(
        rank=rank,
        names=tuple(run.name for run in placing.runs),
        score=placing.score,
        interval=placing.interval,
        spread=placing.spread,
        folds=placing.folds,
        seconds=placing.seconds,
        marks=tuple(placing.marks),
        settings=tuple(placing.settings),
        notes=tuple(dict.fromkeys(notes)),
    )


def _blended(name: str, record: SubmissionRecord, scored: dict[str, Scored]) -> Blended:
    scores = record.scores
    low, high = (*scores.interval, None, None)[:2] if scores else (None, None)
    weights = [
        Weight(member.label, member.weight, scored[member.name].standing.score if member.name in scored else None)
        for member in record.runs
    ]
    blend = combination(record)
    return Blended(
        name=name,
        method=record.method if blend is None or blend.method == record.method else f"{record.method}: {blend.method}",
        metric=record.metric,
        created=record.created,
        runs=len(record.runs),
        out_of_fold=scores.out_of_fold if scores else None,
        nested=scores.nested if scores else None,
        interval=None if low is None or high is None else (low, high),
        best_run=(scores.best_run.name, scores.best_run.score) if scores else None,
        mean_of_all=scores.mean_of_all if scores else None,
        gain=(blend.gain, *blend.gain_interval) if blend is not None and blend.beats_best_run is not None else None,
        public=record.public,
        note=record.remark,
        weights=tuple(sorted(weights, key=lambda weight: -weight.share)),
    )


def _trainings(standings: Sequence[Standing], named: Sequence[Run]) -> tuple[TrainingCurves, ...]:
    """Return the learning curves of the named runs, else of the best runs that have any."""
    if named:
        return tuple(training for run in named for training in training_curves(run.path))
    found: list[TrainingCurves] = []
    for standing in standings:
        if len(found) < TRAININGS:
            found += training_curves(standing.run.path)
    return tuple(found[:TRAININGS])


def _correlation(scored: Sequence[Scored]) -> Correlation | None:
    """Return the correlation of errors between runs that predicted the same clips as the best one."""
    alike = [one for one in scored if (one.standing.known == scored[0].standing.known).all()][:CORRELATED]
    if len(alike) < 2:
        return None
    known = alike[0].standing.known
    return Correlation(
        tuple(one.standing.run.name for one in alike),
        correlation(np.stack([one.errors[known] for one in alike])),
        int(known.sum()),
        len(scored) - len(alike),
    )
