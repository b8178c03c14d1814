"""What the competition takes and says: the form of its submissions, its check, hand-in, and score."""

from __future__ import annotations

import datetime
import shutil
from dataclasses import replace
from pathlib import Path

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.metrics.scores import validate_metric
from acoustic_kit.submission.kaggle import HandIn, hand_in
from acoustic_kit.submission.record import read_sidecar
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
from acoustic_kit.tables import read_parquet
from acoustic_kit.workspace.workspace import Workspace


def submission_template(workspace: Workspace, metric: str) -> Template:
    """The form of the competition's submissions: of its template, else `id,label` over the test clips."""
    classes = workspace.config.classes
    if workspace.template_path:
        return read_template(workspace.template_path, classes)
    test = workspace.clip_ids("test")
    return default_template(test, metric, classes)


def require_submittable(workspace: Workspace, metric: str) -> None:
    """Raise AkitError if predictions of the test clips cannot be written as the competition takes them."""
    if workspace.clip_ids("test"):
        require_writable(submission_template(workspace, metric), replace(workspace.task_spec, metric=metric))


def check(workspace: Workspace, path: Path, metric: str | None = None) -> list[Problem]:
    """Everything for which the competition could refuse a submission; an empty list if nothing.

    `metric` decides how many labels a cell may hold; None is that of the blend that wrote the file, else the
    workspace's. Raises UsageError where there is no such file.
    """
    if not path.is_file():
        raise UsageError(f"There is no file {path}.")
    metric = metric or _metric_of(path) or workspace.config.metric
    return check_submission(path, submission_template(workspace, metric), replace(workspace.task_spec, metric=metric))


def _metric_of(path: Path) -> str | None:
    """The metric that the sidecar beside a submission names, if there is one that can be read."""
    try:
        return read_sidecar(path.with_suffix(".json")).metric
    except AkitError:
        return None


def submit(workspace: Workspace, path: Path, message: str, competition: str | None = None) -> HandIn:
    """Check a submission and hand it to the `kaggle` command; what that said, and what the competition's list shows.

    `competition` is Kaggle's short name for it; None is akit.toml's, else what `kaggle config` says. A submission that
    akit wrote remembers when it was handed in, and its public score if there is one already.

    Raises AkitError where the file would be refused, where there is no `kaggle` command, and where that fails or
    nothing shows that the file was taken.
    """
    problems = errors(check(workspace, path))
    if problems:
        raise AkitError(f"{path} was not submitted: {problems[0]}. `akit submission check {path}` lists everything.")
    kaggle = shutil.which("kaggle")
    if kaggle is None:
        raise AkitError(
            f"There is no kaggle command, so {path} was checked but not submitted.\n"
            "`pip install kaggle` installs it; then put your API token where its documentation says."
        )
    record = path.with_suffix(".json")
    if record.is_file():
        read_sidecar(record)  # before anything has left the machine
    done = hand_in(kaggle, path, message, competition or workspace.config.competition)
    if record.is_file():
        kept = read_sidecar(record)  # again: someone may have noted something meanwhile
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        public = kept.public if done.public is None else done.public
        kept.model_copy(update={"submitted": [*kept.submitted, now], "public": public}).write(record)
    return done


def score_against_truth(workspace: Workspace, path: Path, metric: str | None = None) -> dict[str, float]:
    """All metrics that fit what a submission holds, against the labels of kept-aside test clips.

    Among them is `metric`, or the workspace's, where it is a weighted sum.

    Raises UsageError where there is no such file or metric, and AkitError where the workspace has no truth.
    """
    task_spec = replace(workspace.task_spec, metric=metric or workspace.task_spec.metric)
    validate_metric(task_spec.metric, task_spec.task)
    if not path.is_file():
        raise UsageError(f"There is no file {path}.")
    if not workspace.truth_path.exists():
        raise AkitError("This workspace knows no labels of test clips: only `akit init --test-folds` keeps some aside.")
    try:
        truth = read_parquet(workspace.truth_path, ["id", "label"])
    except OSError as error:
        raise AkitError(f"{workspace.truth_path} cannot be read; make the workspace again with `akit init`.") from error
    labels = dict(zip(truth["id"], truth["label"].to_list(), strict=True))
    return score_submission(path, labels, task_spec)
