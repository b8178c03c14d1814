"""Which runs may be blended: those that were named, or those whose out-of-fold score may choose them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.recipe.predictions import Predictions, predicted_ids
from acoustic_kit.runs.leaderboard import Standing, leaderboard
from acoustic_kit.runs.run import Run, find_run, list_runs, open_run
from acoustic_kit.workspace.workspace import Workspace

if TYPE_CHECKING:
    from acoustic_kit.data.targets import TrainingSet


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


def named(workspace: Workspace, names: Sequence[str]) -> list[Candidate]:
    """The runs of these names, and the fold models of names such as `RUN/FOLD`.

    Raises UsageError for an unknown one, AkitError for one that cannot be blended.
    """
    found: dict[str, Candidate] = {}
    for name in names:
        of_run, slash, fold = name.partition("/")
        run = open_run(find_run(workspace.runs_path, of_run))
        if set(run.record.classes) != set(workspace.config.classes):
            raise AkitError(f"{run.name} was made with other classes than those in akit.toml.")
        if slash and fold not in run.done:
            raise UsageError(
                f"{name}: {run.name} has no trained fold {fold!r}; it has {', '.join(run.done) or 'none'}."
            )
        if not run.done and not run.finished:
            raise AkitError(f"{run.name} is not finished: fold {', '.join(run.missing_folds)} is still to be trained.")
        one = Candidate(run, fold if slash else None)
        found[one.name] = one
    return list(found.values())


def by_score(workspace: Workspace, metric: str) -> tuple[list[Candidate], dict[str, str], dict[str, Predictions]]:
    """The runs that may be chosen by score, best first, why each other one may not, and what was read of them.

    All folds that were asked for are done. The runs predicted all training clips; if no run did, the same whole folds,
    as in a protocol that holds out one fold of several; if there are only `--fast` runs, some clips. The last are
    out-of-fold predictions of all training clips, run by run, which take long to read.
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
        replace(workspace.task_spec, metric=metric),
        on_scored=keep,
        on_unreadable=leave_out,
    )
    standings = [s for s in standings if s.run.done or s.run.record.imported]  # the others never got anywhere
    if not standings and not left_out:
        raise AkitError(
            "There are no runs to blend yet. `akit recipe run NAME` makes one; `akit recipe list` shows the names."
        )
    full_size = [s for s in standings if s.run.has_asked and not s.run.record.fast]
    real, whole = any(s.whole_folds for s in full_size), any(s.complete for s in full_size)
    for standing in standings:
        run = standing.run
        if run.record.full:
            left_out[run.name] = "was trained on all clips (--full), so nothing tells its score; name it with --runs"
        elif set(run.record.classes) != set(config.classes):
            left_out[run.name] = "was made with other classes"
        elif run.record.imported and standing.score is None:
            left_out[run.name] = "was imported without out-of-fold predictions; name it with --runs"
        elif run.record.fast and real:
            left_out[run.name] = "is a --fast run, and there are full ones"
        elif not run.has_asked or not (
            run.finished if run.record.fast else standing.complete if whole else standing.whole_folds
        ):
            missing = ", ".join(run.missing_folds)
            left_out[run.name] = f"lacks out-of-fold predictions{f' of fold {missing}' if missing else ''}"
    if real and not whole:
        left_out |= _of_other_folds([s for s in standings if s.run.name not in left_out])
    candidates = [standing.run for standing in standings if standing.run.name not in left_out]
    lacking = [run for run in candidates if not predicts_test(run, workspace)]
    if len(lacking) < len(candidates):  # else there is no submission to be had, and scores are all there is
        left_out |= dict.fromkeys((run.name for run in lacking), "did not predict all test clips")
        candidates = [run for run in candidates if run.name not in left_out]
    if not candidates:
        raise AkitError("No run can be blended: " + "; ".join(f"{run} {why}" for run, why in left_out.items()) + ".")
    return [Candidate(run) for run in candidates], left_out, read


def common_clips(train: TrainingSet, oofs: Sequence[Predictions], *, whole_folds: bool) -> np.ndarray:
    """Return which training clips all of some out-of-fold predictions are of: bool (clips,).

    `whole_folds`: only clips of folds of which they predicted all. A few clips here and there, as an imported table may
    have, are not what a score is of.
    """
    known = np.ones(len(train), dtype=bool)
    for oof in oofs:
        known &= oof.found(train.ids)[0]
    if whole_folds:
        known &= np.isin(train.folds, [fold for fold in np.unique(train.folds) if known[train.folds == fold].all()])
    return known


def _of_other_folds(standings: Sequence[Standing]) -> dict[str, str]:
    """Why each run is left out that did not predict the same folds as the first, the one that predicted most."""
    most = standings[0].whole_folds if standings else ()
    why = f"did not predict the same folds as {standings[0].run.name} ({', '.join(most)})" if standings else ""
    return {s.run.name: why for s in standings if s.whole_folds != most}


def predicts_test(run: Run, workspace: Workspace) -> bool:
    """Whether a run has predictions of all test clips."""
    test, path = workspace.clip_ids("test"), run.path / "test.parquet"
    if not test or not path.exists():
        return not test
    return set(test) <= predicted_ids(path)
