"""Submission of a blend: written in the competition's form, checked, recorded, and rebuilt from its record."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acoustic_kit import __version__
from acoustic_kit.blending import Blend
from acoustic_kit.blending.recordings import Recordings
from acoustic_kit.ensemble.candidates import Candidate
from acoustic_kit.ensemble.competition import check, submission_template
from acoustic_kit.errors import RunError, SubmissionError, UsageError
from acoustic_kit.files import file_sha256
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.runs.run import open_run
from acoustic_kit.submission.record import (
    BestRun,
    Member,
    NameTakenError,
    Scores,
    SubmissionRecord,
    checked_name,
    history_of,
    read_record,
    refuse_other,
)
from acoustic_kit.submission.submission import errors, write_submission
from acoustic_kit.workspace.workspace import Workspace

if TYPE_CHECKING:
    from acoustic_kit.ensemble.result import BlendResult


def write_blend(workspace: Workspace, result: BlendResult, *, overwrite: bool, is_named: bool) -> BlendResult:
    """Write the submission and its record; notes, scores and submission dates of the same CSV are kept.

    Without test clips, as in many code competitions, write only the record, if the user has named the blend
    (`is_named`).
    """
    test = workspace.clip_ids("test")
    if not test:
        result = replace(result, no_submission="the data set has no test clips")
        return _write_record(workspace, result, overwrite=overwrite) if is_named else result
    tests = _test_predictions(workspace, result.members)
    lacking = [name for name, found in tests.items() if found is None or not set(test) <= set(found.ids)]
    if lacking:
        return replace(result, no_submission=f"{', '.join(lacking)} did not predict all {len(test)} test clips")
    blend = result.blend.of_members()
    path = workspace.output_folder(workspace.submissions_path.name) / f"{result.name}.csv"
    found = [predictions for predictions in tests.values() if predictions is not None]

    def accept(written: Path) -> None:
        if not overwrite:
            refuse_other(path, file_sha256(written))

    try:
        _write(workspace, path, blend, found, result.metric, accept)
    except NameTakenError as error:
        return replace(result, no_submission=str(error))
    record = _record_of(workspace, result, blend, path, file_sha256(path))
    record.model_copy(update=history_of(path, record.sha256)).write(path.with_suffix(".json"))
    return replace(result, submission=path, record=path.with_suffix(".json"))


def _write_record(workspace: Workspace, result: BlendResult, *, overwrite: bool) -> BlendResult:
    """Write the record of a blend without a CSV, for `akit predict` and `akit bundle`."""
    blend = result.blend.of_members()
    path = workspace.output_folder(workspace.submissions_path.name) / f"{result.name}.csv"
    content = [one.name for one in result.members], blend.to_dict()
    record = _record_of(workspace, result, blend, path, hashlib.sha256(json.dumps(content).encode()).hexdigest())
    if not overwrite:
        try:
            refuse_other(path, record.sha256)
        except NameTakenError as error:
            return replace(result, no_submission=str(error))
    record.model_copy(update=history_of(path, record.sha256)).write(path.with_suffix(".json"))
    return replace(result, record=path.with_suffix(".json"))


def _test_predictions(workspace: Workspace, members: Sequence[Candidate]) -> dict[str, Predictions | None]:
    return {one.name: one.predictions("test", workspace.task_spec.names) for one in members}


def _write(
    workspace: Workspace,
    path: Path,
    blend: Blend,
    tests: Sequence[Predictions],
    metric: str,
    accept: Callable[[Path], None],
) -> None:
    """Write the blend of the members' test predictions in the competition's form, and check it.

    `accept` is called with the temporary file before it replaces `path`.
    """

    def check_written(written: Path) -> None:  # a previous file is replaced only by a checked one
        if problems := errors(check(workspace, written, metric)):
            raise SubmissionError(f"The submission does not fit the competition's template: {problems[0]}.")
        accept(written)

    rows = workspace.manifest.filter(workspace.manifest["split"] == "test")
    ids, recordings = rows["id"].to_list(), Recordings.of(rows["path"], rows["start"])
    write_submission(
        path,
        submission_template(workspace, metric),
        ids,
        blend.predict(np.stack([found.aligned(ids) for found in tests]), recordings),
        replace(workspace.task_spec, metric=metric),
        check=check_written,
    )


def _record_of(workspace: Workspace, result: BlendResult, blend: Blend, path: Path, sha256: str) -> SubmissionRecord:
    """Return the record of a submission: its origin, and all that rebuilding it needs."""
    scores = None
    if result.scored:
        best, value = result.blend.single_best
        assert result.mean_of_all is not None
        scores = Scores(
            out_of_fold=result.blend.score,
            nested=_finite(result.blend.nested_score),
            interval=[_finite(bound) for bound in result.blend.interval],
            best_run=BestRun(name=result.candidates[best].name, score=value),
            mean_of_all=result.mean_of_all,
            scored_on=result.scored_on,
        )
    template = workspace.template_path
    return SubmissionRecord(
        submission=path.name,
        sha256=sha256,
        metric=result.metric,
        method=result.method,
        by=result.by,
        seed=result.seed,
        runs=[
            Member(
                name=one.run.name,
                fold=one.fold,
                recipe=one.run.record.recipe,
                weight=float(weight),
                optimistic=one.run.bias_warnings,
                test_sha256=_test_digest(one),
            )
            for one, weight in zip(result.members, blend.weights, strict=True)
        ],
        candidates=[one.name for one in result.candidates],
        blend=blend.to_dict(),
        scores=scores,
        template=workspace.config.template,
        template_sha256=file_sha256(template) if template else None,
        akit=__version__,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def rebuild(workspace: Workspace, path: Path, name: str | None = None, *, overwrite: bool = False) -> Path:
    """Rebuild the submission that a record describes, from the runs that it names; return the CSV's path.

    `name` is that of the new file, in this workspace; by default that of the recorded submission. No run is chosen and
    nothing is fitted again. Notes, scores and submission dates that this workspace has of the submission are kept;
    another submission of this name is replaced only with `overwrite`.

    Raises NameTakenError for another submission of this name, UsageError for a missing run, and AkitError if a run's
    predictions or the template differ from those that were blended.
    """
    record = read_record(path)
    members = recorded_members(workspace, record)
    if workspace.template_path and file_sha256(workspace.template_path) != record.template_sha256:
        raise SubmissionError(f"{workspace.template_path} is not the template that {path.name} was written for.")
    if not workspace.clip_ids("test"):
        raise SubmissionError(f"The data set has no test clips, so {path} describes no CSV. `akit predict` takes it.")
    tests = [found for found in _test_predictions(workspace, members).values() if found is not None]
    submissions = workspace.output_folder(workspace.submissions_path.name)
    target = submissions / f"{checked_name(name or record.submission)}.csv"

    def accept(written: Path) -> None:
        if file_sha256(written) != record.sha256:
            raise SubmissionError(
                f"{target} would differ from the recorded submission although its inputs are equal: "
                "another version of akit, or another machine."
            )
        if not overwrite:
            refuse_other(target, record.sha256)

    _write(workspace, target, Blend.from_dict(record.blend), tests, workspace.metric(record.metric), accept)
    noted = history_of(target, record.sha256)
    record.model_copy(update={"submission": target.name, **noted}).write(target.with_suffix(".json"))
    return target


def recorded_members(workspace: Workspace, record: SubmissionRecord) -> list[Candidate]:
    """Return the runs that a submission blends, in the order of its record.

    Raises UsageError for a missing run, RunError if its predictions are not those that were blended.
    """
    name = Path(record.submission).with_suffix(".json")
    missing = [m.name for m in record.runs if not (workspace.runs_path / m.name).is_dir()]
    if missing:
        raise UsageError(f"{name} blends runs that are not in this workspace: {', '.join(missing)}.")
    members = [Candidate(open_run(workspace.runs_path / m.name), m.fold) for m in record.runs]
    pairs = zip(members, record.runs, strict=True)
    changed = [one.name for one, member in pairs if _test_digest(one) != member.test_sha256]
    if changed:
        raise RunError(f"The test predictions of {', '.join(changed)} are not those that {name} blended.")
    return members


def _test_digest(member: Candidate) -> str:
    """Return the SHA-256 of a member's test predictions; an empty string without test clips."""
    path = member.folder / "test.parquet"
    return file_sha256(path) if path.is_file() else ""


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
