"""Which runs may be blended: those that were named, or those whose out-of-fold score may choose them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from acoustic_kit.errors import AkitError
from acoustic_kit.leaderboard import Standing, leaderboard
from acoustic_kit.runs import Predictions, Run, find_run, list_runs, open_run, predicted_ids
from acoustic_kit.workspace import Workspace


@dataclass(frozen=True)
class Candidate:
    """What may be blended: a run, or one fold's model of a run."""

    run: Run
    fold: str | None = None

    @property
    def name(self) -> str:
        """The run's name, or `run/fold`."""
        return self.run.name if self.fold is None else f"{self.run.name}/{self.fold}"

    @property
    def folder(self) -> Path:
        """Where its predictions lie."""
        return self.run.path if self.fold is None else self.run.path / "folds" / self.fold

    def predictions(self, part: Literal["oof", "test"], classes: Sequence[str]) -> Predictions | None:
        """Its predictions of the training or the test clips; None where there are none."""
        return self.run.predictions(part, classes, self.fold)


def named(workspace: Workspace, names: Sequence[str]) -> list[Run]:
    """The runs of these names. Raises UsageError for an unknown one, AkitError for one that cannot be blended."""
    paths = dict.fromkeys(find_run(workspace.runs_path, name) for name in names)
    runs = [open_run(path) for path in paths]
    for run in runs:
        if set(run.record.classes) != set(workspace.config.classes):
            raise AkitError(f"{run.name} was made with other classes than those in akit.toml.")
        if not run.finished:
            raise AkitError(f"{run.name} is not finished: fold {', '.join(run.missing_folds)} is still to be trained.")
    return runs


def by_score(workspace: Workspace, metric: str) -> tuple[list[Run], dict[str, str], dict[str, Predictions]]:
    """The runs that may be chosen by score, best first, why each other one may not, and what was read of them.

    The last are out-of-fold predictions of all training clips, run by run, which take long to read.
    """
    config, read = workspace.config, dict[str, Predictions]()
    train = tuple(workspace.clip_ids("train"))

    def keep(standing: Standing, _: np.ndarray, probabilities: np.ndarray) -> None:
        if standing.complete:
            read[standing.run.name] = Predictions(train, probabilities)

    left_out: dict[str, str] = {}

    def leave_out(name: str, error: AkitError) -> None:
        left_out[name] = f"is unreadable: {error}".rstrip(".")

    standings = leaderboard(
        list_runs(workspace.runs_path, leave_out),
        workspace.manifest,
        list(config.classes),
        config.task,
        metric,
        on_scored=keep,
        on_unreadable=leave_out,
    )
    standings = [s for s in standings if s.run.done or s.run.record.imported]  # the others never got anywhere
    if not standings and not left_out:
        raise AkitError(
            "There are no runs to blend yet. `akit recipe run NAME` makes one; `akit recipe list` shows the names."
        )
    for standing in standings:
        run = standing.run
        if run.record.full:
            left_out[run.name] = "was trained on all clips (--full), so nothing tells its score; name it with --runs"
        elif set(run.record.classes) != set(config.classes):
            left_out[run.name] = "was made with other classes"
        elif run.record.imported and standing.score is None:
            left_out[run.name] = "was imported without out-of-fold predictions; name it with --runs"
        elif run.record.fast and any(s.complete for s in standings):
            left_out[run.name] = "is a --fast run, and there are full ones"
        elif not run.finished or not (standing.complete or run.record.fast):
            missing = ", ".join(run.missing_folds)
            left_out[run.name] = f"lacks out-of-fold predictions{f' of fold {missing}' if missing else ''}"
    candidates = [standing.run for standing in standings if standing.run.name not in left_out]
    lacking = [run for run in candidates if not predicts_test(run, workspace)]
    if len(lacking) < len(candidates):  # else there is no submission to be had, and scores are all there is
        left_out |= dict.fromkeys((run.name for run in lacking), "did not predict all test clips")
        candidates = [run for run in candidates if run.name not in left_out]
    if not candidates:
        raise AkitError("No run can be blended: " + "; ".join(f"{run} {why}" for run, why in left_out.items()) + ".")
    return candidates, left_out, read


def predicts_test(run: Run, workspace: Workspace) -> bool:
    """Whether a run has predictions of all test clips."""
    test, path = workspace.clip_ids("test"), run.path / "test.parquet"
    if not test or not path.exists():
        return not test
    return set(test) <= predicted_ids(path)
