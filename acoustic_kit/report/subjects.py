"""Runs, and blends recomputed from their runs, that a report analyzes class by class and clip by clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from acoustic_kit.blending import Blend
from acoustic_kit.blending.recordings import Recordings
from acoustic_kit.data.targets import TrainingSet
from acoustic_kit.dsp.clip_source import clip_place
from acoustic_kit.dsp.sound_file import Span
from acoustic_kit.errors import AkitError
from acoustic_kit.metrics import MULTI_LABEL_THRESHOLD, score
from acoustic_kit.report.content import AudioPreview, Evaluation, Mistake, Mistakes
from acoustic_kit.report.evaluation import (
    class_scores,
    confusion,
    errors,
    is_wrong,
    most_confident_mistakes,
    reliability,
)
from acoustic_kit.report.sound import clip_sound
from acoustic_kit.runs.leaderboard import Standing
from acoustic_kit.runs.run import Run, find_run, open_run
from acoustic_kit.submission.record import SubmissionRecord
from acoustic_kit.workspace.workspace import Workspace

MISTAKES = 12
LABELS = 3  # predicted labels shown for a mistake


@dataclass(frozen=True)
class Scored:
    """Errors of a run with out-of-fold predictions: per clip only what the report needs of every run."""

    standing: Standing
    errors: np.ndarray  # float32 (clips,), see `evaluation.errors`; NaN if not predicted
    wrong: np.ndarray  # bool (clips,): the decision is wrong


class Scoring:
    """Collects the errors of scored runs, one run at a time, in the order of the calls of `add`."""

    def __init__(self, clips: TrainingSet) -> None:
        self.runs: dict[str, Scored] = {}
        self._clips = clips

    def add(self, standing: Standing, known: np.ndarray, probabilities: np.ndarray) -> None:
        """Add a run; `leaderboard` calls this with each scored run."""
        targets = self._clips.targets[known]
        of_all, wrong = np.full(len(known), np.nan, np.float32), np.zeros(len(known), bool)
        of_all[known], wrong[known] = errors(targets, probabilities), is_wrong(targets, probabilities)
        self.runs[standing.run.name] = Scored(standing, of_all, wrong)


@dataclass(frozen=True)
class Subject:
    """Out-of-fold predictions of a run or a blend."""

    name: str
    kind: str  # "run" or "blend"
    known: np.ndarray  # bool (training clips,): predicted
    probabilities: np.ndarray  # float (known clips, classes)
    caveats: tuple[str, ...]  # reasons why its scores are biased upward


def find_subjects(
    workspace: Workspace,
    names: Sequence[str],
    best: Sequence[Run],
    records: Mapping[str, SubmissionRecord],
    clips: TrainingSet,
) -> tuple[list[Subject], list[Run]]:
    """Return the runs and blends to analyze that have out-of-fold predictions, and the runs among `names`.

    `names` are runs or submissions; without names, the newest blend (the first of `records` with predictions) and
    `best` are used. Raises UsageError for an unknown name.
    """
    if not names:
        blends = (_blend_subject(workspace, *pair, clips) for pair in records.items())
        newest = next((found for found in blends if found), None)
        return [found for found in (newest, *(_run_subject(run, clips) for run in best)) if found], []
    subjects, runs = [], []
    for name in dict.fromkeys(names):
        if name in records:
            subjects.append(_blend_subject(workspace, name, records[name], clips))
        else:
            runs.append(open_run(find_run(workspace.runs_path, name)))
            subjects.append(_run_subject(runs[-1], clips))
    return [found for found in subjects if found], runs


def _run_subject(run: Run, clips: TrainingSet) -> Subject | None:
    oof = (
        run.predictions("oof", clips.task_spec.names) if set(run.record.classes) == set(clips.task_spec.names) else None
    )
    if oof is None:
        return None
    known, probabilities = oof.found(clips.ids)
    return Subject(run.name, "run", known, probabilities, tuple(run.bias_warnings)) if known.any() else None


def _blend_subject(workspace: Workspace, name: str, record: SubmissionRecord, clips: TrainingSet) -> Subject | None:
    """Return None if some of its runs are missing or have no out-of-fold predictions of common clips."""
    blend = combination(record)
    try:
        members = list(_members(workspace, record, clips))
        known = np.logical_and.reduce([which for which, _ in members])
        if blend is None or len(members) < len(record.runs) or not known.any():
            return None
        rows = clips.rows.filter(known)
        recordings = Recordings.of(rows["path"], rows["start"])
        blended = blend.predict(np.stack([found[known[which]] for which, found in members]), recordings)
    except (AkitError, ValueError):  # a run with other classes, or an edited record
        return None
    caveats = ["these predictions chose the blend, so the score is optimistic: rely on its nested estimate"]
    reasons = Counter(why for member in record.runs for why in member.optimistic)
    caveats += [f"{n} of its {len(record.runs)} runs are optimistic too: {why}" for why, n in reasons.items()]
    return Subject(name, "blend", known, blended, tuple(caveats))


def combination(record: SubmissionRecord) -> Blend | None:
    """Return how a submission's runs are combined; None if this version of akit cannot read it."""
    try:
        return Blend.from_dict(record.blend)
    except AkitError:
        return None


def _members(
    workspace: Workspace, record: SubmissionRecord, clips: TrainingSet
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the out-of-fold predictions of a blend's runs that have any, as `Predictions.found` returns them."""
    for member in record.runs:
        path = workspace.runs_path / member.name
        if record.by == "run" and (path / "oof.parquet").exists():
            oof = open_run(path).predictions("oof", clips.task_spec.names)
            if oof is not None:
                yield oof.found(clips.ids)


def evaluate(subject: Subject, metric: str, clips: TrainingSet) -> Evaluation:
    """Return all scores of one subject."""
    targets, probabilities = clips.targets[subject.known], subject.probabilities
    caveats = list(subject.caveats)
    if not subject.known.all():
        caveats.append(f"it predicted {len(targets):,} of {len(clips):,} training clips")
    return Evaluation(
        name=subject.name,
        kind=subject.kind,
        score=score(metric, targets, probabilities),
        n_clips=len(targets),
        caveats=tuple(caveats),
        confusion=confusion(targets, probabilities, clips.task_spec.names) if targets.ndim == 1 else None,
        classes=class_scores(targets, probabilities, clips.task_spec.names),
        reliability=reliability(targets, probabilities),
    )


def most_confident(
    workspace: Workspace, subject: Subject, clips: TrainingSet, scored: Mapping[str, Scored]
) -> Mistakes:
    """Return the most confident mistakes of a subject, with audio and spectrogram."""
    targets = clips.targets[subject.known]
    worst, classes, certainty = most_confident_mistakes(targets, subject.probabilities, MISTAKES)
    positions = np.flatnonzero(subject.known)[worst]
    columns = clips.rows[positions].select("id", "path", "start", "end", "label").rows(named=True)
    mistakes = []
    for row, position, at, wrong, probability in zip(columns, positions, worst, classes, certainty, strict=True):
        who = [one for one in scored.values() if one.standing.known[position]]
        span = None if row["start"] is None else Span(row["start"], row["end"])
        sound, reason = _sound(workspace, row["path"], span)
        mistakes.append(
            Mistake(
                id=row["id"],
                path=row["path"] if span is None else f"{row['path']}, {span.start:g} to {span.end:g} s",
                true=tuple(row["label"]),
                predicted=_predicted(subject.probabilities[at], clips.task_spec.names, several=targets.ndim == 2),
                wrong=clips.task_spec.names[wrong],
                probability=float(probability),
                wrong_runs=sum(bool(one.wrong[position]) for one in who),
                scored_runs=len(who),
                sound=sound,
                silent_because=reason,
            )
        )
    return Mistakes(subject.name, tuple(mistakes), int(is_wrong(targets, subject.probabilities).sum()))


def _predicted(probabilities: np.ndarray, classes: Sequence[str], *, several: bool) -> tuple[tuple[str, float], ...]:
    """Return the first labels of one clip; in multi-label tasks the predicted labels, at least one."""
    order = np.argsort(-probabilities, kind="stable")
    n = max(1, int((probabilities >= MULTI_LABEL_THRESHOLD).sum())) if several else LABELS
    return tuple((classes[c], float(probabilities[c])) for c in order[:n])


def _sound(workspace: Workspace, path: str, span: Span | None) -> tuple[AudioPreview | None, str]:
    try:
        return clip_sound(clip_place(workspace.data_root, path), span), ""
    except AkitError as error:
        return None, str(error)
