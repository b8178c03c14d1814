"""The last hour of a competition: runs joined by id, blended, and written as a checked submission."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acoustic_kit import __version__
from acoustic_kit.atomic_write import write_atomically
from acoustic_kit.blending import METHODS, Blend, choose
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.fold import encode_labels
from acoustic_kit.metrics import score, validate_metric
from acoustic_kit.runs import Run, find_run, leaderboard, list_runs, open_run
from acoustic_kit.submission import (
    Problem,
    Template,
    check_submission,
    default_template,
    read_template,
    score_submission,
    write_submission,
)
from acoustic_kit.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class BlendResult:
    """A blend of runs, and what became of it."""

    name: str
    metric: str
    candidates: tuple[Run, ...]  # what the blend could choose from
    members: tuple[Run, ...]  # what it chose, best first
    left_out: dict[str, str]  # run → why it was no candidate
    blend: Blend | None  # None where a member has no out-of-fold predictions, so that nothing can be scored
    mean_of_all: float | None  # the score of the plain mean of all candidates
    by_group: bool  # the nested folds keep recordings or speakers whole
    submission: Path | None
    no_submission: str  # why there is none, or empty


def blend_runs(
    workspace: Workspace,
    *,
    top: int | None = None,
    metric: str | None = None,
    method: str = "mean",
    runs: Sequence[str] = (),
    name: str | None = None,
    seed: int = 0,
) -> BlendResult:
    """Choose runs by their out-of-fold score, combine them, and write `submissions/<name>.csv` with its `.json`.

    Parameters
    ----------
    top : how many runs to choose; None takes all
    metric : what decides; None is the workspace's
    method : a name in `blending.METHODS`
    runs : candidates by name; without, all runs with an out-of-fold prediction for every training clip
    seed : of the nested folds and the bootstrap

    Raises UsageError for unknown runs, metric, method or name, and AkitError where no run can be blended.

    """
    metric = metric or workspace.config.metric
    validate_metric(metric, workspace.config.task)
    if method not in METHODS:
        raise UsageError(f"There is no blend method {method!r}; there are {', '.join(METHODS)}.")
    if top is not None and runs:
        raise UsageError("--top chooses among all runs; it does not go with --runs.")
    candidates, left_out = _named(workspace, runs) if runs else _candidates(workspace, metric)
    blend, mean_of_all, by_group = _choose(workspace, candidates, metric, method, top, seed)
    members = [candidates[i] for i in blend.members] if blend else candidates
    name = _checked_name(name or _default_name(members, metric, method))
    result = BlendResult(
        name, metric, tuple(candidates), tuple(members), left_out, blend, mean_of_all, by_group, None, ""
    )
    return _submit(workspace, result, method, seed)


def _named(workspace: Workspace, names: Sequence[str]) -> tuple[list[Run], dict[str, str]]:
    paths = dict.fromkeys(find_run(workspace.runs_path, name) for name in names)
    runs = [open_run(path) for path in paths]
    for run in runs:
        if set(run.record.classes) != set(workspace.config.classes):
            raise AkitError(f"{run.name} was made with other classes than those in akit.toml.")
        if not run.finished:
            raise AkitError(f"{run.name} is not finished: fold {', '.join(run.missing_folds)} is still to be trained.")
    return runs, {}


def _candidates(workspace: Workspace, metric: str) -> tuple[list[Run], dict[str, str]]:
    """The runs that may be chosen by score, best first, and why each other one may not."""
    config = workspace.config
    left_out: dict[str, str] = {}
    runs = list_runs(workspace.runs_path, lambda name, error: left_out.update({name: f"is unreadable: {error}"}))
    runs = [run for run in runs if run.done]  # the others never got anywhere
    standings = leaderboard(runs, workspace.manifest, list(config.classes), config.task, metric)
    if not standings:
        raise AkitError(
            "There are no runs to blend yet. `akit recipe run NAME` makes one; `akit recipe list` shows the names."
        )
    for standing in standings:
        run = standing.run
        if run.record.full:
            left_out[run.name] = "was trained on all clips (--full), so nothing tells its score; name it with --runs"
        elif set(run.record.classes) != set(config.classes):
            left_out[run.name] = "was made with other classes"
        elif run.record.fast and any(s.complete for s in standings):
            left_out[run.name] = "is a --fast run, and there are full ones"
        elif not run.finished or not (standing.complete or run.record.fast):
            missing = ", ".join(run.missing_folds)
            left_out[run.name] = f"lacks out-of-fold predictions{f' of fold {missing}' if missing else ''}"
    candidates = [standing.run for standing in standings if standing.run.name not in left_out]
    if not candidates:
        raise AkitError("No run can be blended: " + "; ".join(f"{run} {why}" for run, why in left_out.items()) + ".")
    return candidates, left_out


def _choose(
    workspace: Workspace, candidates: Sequence[Run], metric: str, method: str, top: int | None, seed: int
) -> tuple[Blend | None, float | None, bool]:
    import polars as pl

    config = workspace.config
    train = workspace.manifest.filter(pl.col("split") == "train")
    oofs = [oof for run in candidates if (oof := run.predictions("oof", list(config.classes)))]
    if all(run.record.fast for run in candidates):  # they predicted only some clips
        train = train.filter(pl.all_horizontal(pl.col("id").is_in(oof.ids) for oof in oofs))
    ids = train["id"].to_list()
    if len(oofs) < len(candidates) or not ids or not all(set(ids) <= set(oof.ids) for oof in oofs):
        return None, None, False
    probabilities = np.stack([oof.aligned(ids) for oof in oofs])
    targets = encode_labels(train["label"].to_list(), tuple(config.classes), config.task)
    groups = _groups(train)
    blend = choose(probabilities, targets, groups, metric=metric, method=method, top=top, seed=seed)
    mean_of_all = score(metric, targets, METHODS["mean"](probabilities, config.task))
    return blend, mean_of_all, groups is not None


def _groups(train: pl.DataFrame) -> np.ndarray | None:
    """The group of each clip; a clip without one is its own. None where no clip has one."""
    import polars as pl

    if train["group"].null_count() == len(train):
        return None
    own = pl.lit("clip ") + pl.col("id")
    return train.select(pl.coalesce(pl.lit("group ") + pl.col("group"), own)).to_series().to_numpy()


def _submit(workspace: Workspace, result: BlendResult, method: str, seed: int) -> BlendResult:
    """Write the submission and its sidecar, and check it as the competition would."""
    test = workspace.manifest.filter(workspace.manifest["split"] == "test")["id"].to_list()
    tests = {run.name: run.predictions("test", list(workspace.config.classes)) for run in result.members}
    lacking = [name for name, found in tests.items() if found is None or not set(test) <= set(found.ids)]
    if not test:
        return replace(result, no_submission="the data set has no test clips")
    if lacking:
        return replace(result, no_submission=f"{', '.join(lacking)} did not predict all {len(test)} test clips")
    config = workspace.config
    template = submission_template(workspace, result.metric)
    combined = METHODS[method](
        np.stack([found.aligned(test) for found in tests.values() if found is not None]), config.task
    )
    path = workspace.submissions_path / f"{result.name}.csv"
    write_submission(
        path,
        template,
        test,
        combined,
        classes=config.classes,
        metric=result.metric,
        task=config.task,
        label_separator=config.label_separator or ",",
    )
    problems = check(workspace, path, result.metric)
    if problems:
        path.unlink()
        raise AkitError(f"The submission does not fit the competition's template: {problems[0]}.")
    sidecar = _sidecar(workspace, result, method, seed, path)
    write_atomically(path.with_suffix(".json"), json.dumps(sidecar, indent=2, ensure_ascii=False) + "\n")
    return replace(result, submission=path)


def _sidecar(workspace: Workspace, result: BlendResult, method: str, seed: int, path: Path) -> dict[str, Any]:
    """How a submission was made: enough to see where it came from and to make it again."""
    blend = result.blend
    return {
        "submission": path.name,
        "sha256": _file_hash(path),
        "metric": result.metric,
        "method": method,
        "seed": seed,
        "runs": [
            {
                "name": run.name,
                "recipe": run.record.recipe,
                "weight": 1 / len(result.members),
                "optimistic": run.optimistic,
                "test_sha256": _file_hash(run.path / "test.parquet"),
            }
            for run in result.members
        ],
        "candidates": [run.name for run in result.candidates],
        "scores": None
        if blend is None
        else {
            "out_of_fold": blend.score,
            "nested": _finite(blend.nested_score),
            "interval": [_finite(bound) for bound in blend.interval],
            "best_run": {"name": result.candidates[blend.single_best[0]].name, "score": blend.single_best[1]},
            "mean_of_all": result.mean_of_all,
        },
        "template": workspace.config.template,
        "akit": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _default_name(members: Sequence[Run], metric: str, method: str) -> str:
    text = json.dumps([method, metric, *(run.name for run in members)])
    return f"blend-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _checked_name(name: str) -> str:
    name = name.removesuffix(".csv")
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UsageError(f"--name {name!r}: use letters, digits, dots, dashes and underscores.")
    return name


def submission_template(workspace: Workspace, metric: str) -> Template:
    """The form of the competition's submissions: of its template, else `id,label` over the test clips."""
    classes = workspace.config.classes
    if workspace.template_path:
        return read_template(workspace.template_path, classes)
    test = workspace.manifest.filter(workspace.manifest["split"] == "test")["id"].to_list()
    return default_template(test, metric, classes)


def check(workspace: Workspace, path: Path, metric: str | None = None) -> list[Problem]:
    """Everything for which the competition could refuse a submission; an empty list if nothing.

    `metric` decides how many labels a cell may hold; None is that of the blend that wrote the file, else the
    workspace's. Raises UsageError where there is no such file.
    """
    if not path.is_file():
        raise UsageError(f"There is no file {path}.")
    metric = metric or _metric_of(path) or workspace.config.metric
    config = workspace.config
    return check_submission(
        path,
        submission_template(workspace, metric),
        classes=config.classes,
        metric=metric,
        task=config.task,
        label_separator=config.label_separator or ",",
    )


def _metric_of(path: Path) -> str | None:
    """The metric that the sidecar beside a submission names, if there is one that can be read."""
    try:
        document = json.loads(path.with_suffix(".json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    metric = document.get("metric") if isinstance(document, dict) else None
    return metric if isinstance(metric, str) else None


def score_against_truth(workspace: Workspace, path: Path, metric: str | None = None) -> dict[str, float]:
    """All metrics that fit what a submission holds, against the labels of kept-aside test clips.

    Among them is `metric`, or the workspace's, where it is a weighted sum.

    Raises UsageError where there is no such file or metric, and AkitError where the workspace has no truth.
    """
    import polars as pl

    config = workspace.config
    metric = metric or config.metric
    validate_metric(metric, config.task)
    if not path.is_file():
        raise UsageError(f"There is no file {path}.")
    if not workspace.truth_path.exists():
        raise AkitError("This workspace knows no labels of test clips: only `akit init --test-folds` keeps some aside.")
    try:
        truth = pl.read_parquet(workspace.truth_path, columns=["id", "label"])
    except (OSError, pl.exceptions.PolarsError) as error:
        raise AkitError(f"{workspace.truth_path} cannot be read; make the workspace again with `akit init`.") from error
    labels = dict(zip(truth["id"], truth["label"].to_list(), strict=True))
    return score_submission(path, labels, config.classes, config.task, config.label_separator or ",", metric)
