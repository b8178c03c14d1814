"""Submissions to a competition: their form, check, upload and score."""

from __future__ import annotations

import datetime
import shutil
from dataclasses import replace
from pathlib import Path

from acoustic_kit.errors import AkitError, DataError, SubmissionError, UsageError
from acoustic_kit.metrics.names import validate_metric
from acoustic_kit.submission.kaggle import HandIn, hand_in
from acoustic_kit.submission.record import read_record
from acoustic_kit.submission.submission import (
    Problem,
    Template,
    check_submission,
    default_template,
    errors,
    read_template,
    require_writable,
    score_submission,
)
from acoustic_kit.submission.truth import score_by_table
from acoustic_kit.tables import read_parquet
from acoustic_kit.workspace.workspace import Workspace


def submission_template(workspace: Workspace, metric: str) -> Template:
    """Return the form of the competition's submissions: its template, else `id,label` of the test clips.

    With a metric that needs probabilities, the default is `id` and one column per class.
    """
    classes = workspace.config.classes
    if workspace.template_path:
        return read_template(workspace.template_path, classes)
    test = workspace.clip_ids("test")
    return default_template(test, metric, classes)


def require_submittable(workspace: Workspace, metric: str) -> None:
    """Raise AkitError if predictions for the test clips cannot be written in the competition's form."""
    if workspace.clip_ids("test"):
        require_writable(submission_template(workspace, metric), replace(workspace.task_spec, metric=metric))


def check(workspace: Workspace, path: Path, metric: str | None = None) -> list[Problem]:
    """Return all reasons for which the competition could refuse a submission; an empty list if there are none.

    `metric` decides how many labels a cell may hold; None is that of the blend that wrote the file, else the
    workspace's. Raises UsageError if the file is missing.
    """
    if not path.is_file():
        raise UsageError(f"There is no file {path}.")
    metric = workspace.metric(metric or _metric_of(path))
    return check_submission(path, submission_template(workspace, metric), replace(workspace.task_spec, metric=metric))


def _metric_of(path: Path) -> str | None:
    """Return the metric in the record of a submission; None if there is no readable record."""
    try:
        return read_record(path.with_suffix(".json")).metric
    except AkitError:
        return None


def submit(workspace: Workspace, path: Path, message: str, competition: str | None = None) -> HandIn:
    """Check a submission and upload it with the `kaggle` command; return its output and the competition's entry.

    `competition` is Kaggle's short name of the competition; None is that of akit.toml, else of `kaggle config`. The
    time of the upload, and the public score if there is one already, are added to the record of a submission that akit
    wrote.

    Raises AkitError if the file would be refused, if there is no `kaggle` command, and if the command fails or nothing
    confirms the upload.
    """
    problems = errors(check(workspace, path))
    if problems:
        raise SubmissionError(
            f"{path} was not submitted: {problems[0]}. `akit submission check {path}` lists everything."
        )
    kaggle = shutil.which("kaggle")
    if kaggle is None:
        raise AkitError(
            f"There is no kaggle command, so {path} was checked but not submitted.\n"
            "`pip install kaggle` installs it; then put your API token where its documentation says."
        )
    record = path.with_suffix(".json")
    if record.is_file():
        read_record(record)  # fails before the upload
    done = hand_in(kaggle, path, message, competition or workspace.config.competition)
    if record.is_file():
        kept = read_record(record)  # again: it may have changed during the upload
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        public = kept.public if done.public is None else done.public
        kept.model_copy(update={"submitted": [*kept.submitted, now], "public": public}).write(record)
    return done


def score_predictions(
    workspace: Workspace | None, path: Path, metric: str | None = None, truth: Path | None = None
) -> dict[str, float]:
    """Return all metrics that predictions allow, and `metric`, against a table of labels or held-out test clips.

    Parameters
    ----------
    workspace : its classes and task are used; None: those of the files, see `score_by_table`
    metric : default: the workspace's
    truth : a table of labels; None: the labels of test clips that `akit init --test-folds` held out

    Raises UsageError for a missing file or an unknown metric, AkitError if there are no labels, or they do not fit.

    """
    task_spec = None if workspace is None else replace(workspace.task_spec, metric=workspace.metric(metric))
    if task_spec is not None:
        validate_metric(task_spec.metric, task_spec.task)
    if truth is not None:
        return score_by_table(path, truth, task_spec, metric=metric or "")
    assert workspace is not None
    assert task_spec is not None
    if not path.is_file():
        raise UsageError(f"There is no file {path}.")
    if not workspace.truth_path.exists():
        raise DataError(
            "This workspace has no labels of test clips; `akit init --test-folds` holds some out, and --truth names a "
            "table of labels."
        )
    try:
        labels = read_parquet(workspace.truth_path)
    except OSError as error:
        raise DataError(f"{workspace.truth_path} cannot be read; make the workspace again with `akit init`.") from error
    return score_submission(path, labels, task_spec)
