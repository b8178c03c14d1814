"""Candidates for a blend: runs given by name, or ranked by their out-of-fold score."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from acoustic_kit.errors import AkitError, RunError, UsageError
from acoustic_kit.recipe.predictions import Predictions, predicted_ids
from acoustic_kit.runs.leaderboard import Standing, rank_runs
from acoustic_kit.runs.run import Run, find_run, open_run
from acoustic_kit.workspace.workspace import Workspace

if TYPE_CHECKING:
    from acoustic_kit.data.targets import TrainingSet


@dataclass(frozen=True)
class Candidate:
    """A run, or one fold's model of a run."""

    run: Run
    fold: str | None = None

    @property
    def name(self) -> str:
        """Name of the run, or `run/fold`."""
        return self.run.name if self.fold is None else f"{self.run.name}/{self.fold}"

    @property
    def folder(self) -> Path:
        """Folder of its predictions."""
        return self.run.path if self.fold is None else self.run.path / "folds" / self.fold

    def predictions(self, part: Literal["oof", "test"], classes: Sequence[str]) -> Predictions | None:
        """Return its predictions for the training or the test clips; None if there are none."""
        return self.run.predictions(part, classes, self.fold)


def candidates_by_name(workspace: Workspace, names: Sequence[str]) -> list[Candidate]:
    """Return the runs of some names, and the fold models of names such as `RUN/FOLD`.

    Raises UsageError for an unknown name, AkitError for a run that cannot be blended.
    """
    found: dict[str, Candidate] = {}
    for name in names:
        of_run, slash, fold = name.partition("/")
        run = open_run(find_run(workspace.runs_path, of_run))
        if set(run.record.classes) != set(workspace.config.classes):
            raise RunError(f"{run.name} was trained with other classes than those in akit.toml.")
        if slash and fold not in run.done:
            raise UsageError(
                f"{name}: {run.name} has no trained fold {fold!r}; it has {', '.join(run.done) or 'none'}."
            )
        if not run.done and not run.finished:
            raise RunError(f"{run.name} is not finished: fold {', '.join(run.missing_folds)} is not trained yet.")
        one = Candidate(run, fold if slash else None)
        found[one.name] = one
    return list(found.values())


def candidates_by_score(
    workspace: Workspace, metric: str
) -> tuple[list[Candidate], dict[str, str], dict[str, Predictions]]:
    """Return the runs that can be ranked by score, why others are left out, and predictions already read.

    - candidates, best first. All their requested folds are trained, and they have predictions for all training clips;
      if no run has, for the same whole folds, as in a protocol that holds out one fold of several; if there are only
      `--fast` runs, for some clips
    - run → why it is left out
    - run → out-of-fold predictions for all training clips, which take long to read
    """
    config, read = workspace.config, dict[str, Predictions]()
    train = tuple(workspace.clip_ids("train"))

    def keep(standing: Standing, _: np.ndarray, probabilities: np.ndarray) -> None:
        if standing.complete:
            read[standing.run.name] = Predictions(train, probabilities)

    left_out: dict[str, str] = {}

    def leave_out(name: str, error: AkitError) -> None:
        left_out[name] = f"is unreadable: {error}".rstrip(".")

    standings = rank_runs(workspace, metric, resample=False, on_scored=keep, on_unreadable=leave_out)
    standings = [s for s in standings if s.run.done or s.run.record.imported]  # others have no trained fold
    if not standings and not left_out:
        raise RunError(
            "There are no runs to blend yet. `akit recipe run NAME` makes one; `akit recipe list` shows the names."
        )
    full_size = [s for s in standings if s.run.has_asked and not s.run.record.fast]
    real, whole = any(s.whole_folds for s in full_size), any(s.complete for s in full_size)
    for standing in standings:
        if reason := _reason_to_leave_out(standing, config.classes, real=real, whole=whole):
            left_out[standing.run.name] = reason
    if real and not whole:
        left_out |= _of_other_folds([s for s in standings if s.run.name not in left_out])
    candidates = [standing.run for standing in standings if standing.run.name not in left_out]
    lacking = [run for run in candidates if not predicts_test(run, workspace)]
    if len(lacking) < len(candidates):  # else no submission can be written, and scores suffice
        left_out |= dict.fromkeys((run.name for run in lacking), "lacks predictions for some test clips")
        candidates = [run for run in candidates if run.name not in left_out]
    if not candidates:
        raise RunError("No run can be blended: " + "; ".join(f"{run} {why}" for run, why in left_out.items()) + ".")
    return [Candidate(run) for run in candidates], left_out, read


def _reason_to_leave_out(standing: Standing, classes: Collection[str], *, real: bool, whole: bool) -> str:
    """Return why a run cannot be ranked by score, empty if it can.

    - `classes`: of the workspace
    - `real`: there are runs that are not `--fast` and have whole folds
    - `whole`: and that have predictions for all training clips
    """
    run, record = standing.run, standing.run.record
    if record.full:
        return "was trained on all clips (--full) and so has no score; name it with --runs"
    if set(record.classes) != set(classes):
        return "was trained with other classes"
    if record.imported and standing.score is None:
        return "was imported without out-of-fold predictions; name it with --runs"
    if record.fast and real:
        return "is a --fast run, and there are full ones"
    enough = run.finished if record.fast else standing.complete if whole else standing.whole_folds
    if run.has_asked and enough:
        return ""
    missing = ", ".join(run.missing_folds)
    return f"lacks out-of-fold predictions{f' of fold {missing}' if missing else ''}"


def common_clips(train: TrainingSet, oofs: Sequence[Predictions], *, whole_folds: bool) -> np.ndarray:
    """Return which training clips all of some out-of-fold predictions cover: bool (clips,).

    `whole_folds`: only clips of folds that they cover completely. A score is not computed on the scattered clips that
    an imported table may have.
    """
    known = np.ones(len(train), dtype=bool)
    for oof in oofs:
        known &= oof.found(train.ids)[0]
    if whole_folds:
        known &= np.isin(train.folds, [fold for fold in np.unique(train.folds) if known[train.folds == fold].all()])
    return known


def _of_other_folds(standings: Sequence[Standing]) -> dict[str, str]:
    """Return run → why it is left out, for runs of other folds than the first, which has most predictions."""
    most = standings[0].whole_folds if standings else ()
    why = f"has predictions for other folds than {standings[0].run.name} ({', '.join(most)})" if standings else ""
    return {s.run.name: why for s in standings if s.whole_folds != most}


def predicts_test(run: Run, workspace: Workspace) -> bool:
    """Return whether a run has predictions for all test clips."""
    test, path = workspace.clip_ids("test"), run.path / "test.parquet"
    if not test or not path.exists():
        return not test
    return set(test) <= predicted_ids(path)
