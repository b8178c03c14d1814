"""Teachers of pseudo-labels: the fold models of a run, or of the runs of a blend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acoustic_kit.data.folds import FULL
from acoustic_kit.data.targets import label_digest
from acoustic_kit.device import Compute, require_one_process
from acoustic_kit.errors import RunError, UsageError
from acoustic_kit.features import Feature, build_features
from acoustic_kit.prediction.models import open_predictor
from acoustic_kit.prediction.new_clips import stored_clips
from acoustic_kit.prediction.predict import predict_fold
from acoustic_kit.recipe.predictions import Predictions, predicted_ids
from acoustic_kit.recipe.pseudo import PseudoLabels, pseudo_settings
from acoustic_kit.runs import remote_runs
from acoustic_kit.runs.run import RECORD_NAME, Run, find_run, open_run, trained_on_other_labels
from acoustic_kit.submission.record import read_record
from acoustic_kit.workspace.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl


def open_pseudo_labels(
    workspace: Workspace, teacher: str | None, values: Mapping[str, Any], *, trust: bool = False
) -> PseudoLabels | None:
    """Return pseudo-labels by a run or a blend of the workspace; None without a teacher.

    A blend's runs have equal weights: its own are fitted on the labels of all folds, and so would carry labels of fold
    k into the training of model k.

    Parameters
    ----------
    teacher : a run, or enough of its name; a submission, or its JSON or CSV; or several of them, separated by commas
    values : settings of pseudo-labels, by name without `pseudo.`
    trust : see `open_predictor`, for runs that have not predicted all clips without labels

    Raises UsageError for an unknown teacher or setting, or settings without a teacher, and RunError for a teacher that
    has no models of folds for the workspace's classes.

    """
    if teacher is None:
        if values:
            raise UsageError(f"The setting pseudo.{next(iter(values))} needs a teacher: --pseudo RUN_OR_BLEND.")
        return None
    settings = pseudo_settings(values)
    remote_runs.pull(workspace)
    found = [run for name in teacher.split(",") for run in _runs(workspace, name.strip())]
    runs = tuple({run.name: run for run in found}.values())
    for run in runs:
        _require_usable(run, workspace)
    rounds = [run.record.pseudo.round for run in runs if run.record.pseudo]
    reasons = (f"its teacher {run.name}: {why.split(': ')[-1]}" for run in runs for why in run.bias_warnings)
    return PseudoLabels(
        settings=settings,
        name=runs[0].name if len(runs) == 1 else teacher,
        runs=tuple(run.name for run in runs),
        round=max(rounds, default=0) + 1,
        bias_warnings=tuple(dict.fromkeys(reasons)),
        teacher=FoldTeacher(workspace, runs, trust),
    )


def _runs(workspace: Workspace, teacher: str) -> list[Run]:
    """Return the run of this name, or the runs of the blend."""
    path, stem = Path(teacher), teacher.removesuffix(".csv").removesuffix(".json")
    blends = [path.with_suffix(".json")] if path.suffix in {".json", ".csv"} else []
    blends += [workspace.submissions_path / f"{stem}.json"] if path.name == teacher else []
    blend = next((found for found in blends if found.is_file()), None)
    if blend is None or (workspace.runs_path / teacher).is_dir():
        return [open_run(find_run(workspace.runs_path, teacher))]
    members = read_record(blend).runs
    if of_fold := [member.label for member in members if member.fold is not None]:
        raise RunError(f"{blend.stem} blends models of single folds ({of_fold[0]}); a teacher needs one of every fold.")
    for member in members:
        if not (workspace.runs_path / member.name / RECORD_NAME).is_file():
            raise UsageError(f"{blend.stem} blends the run {member.name}, which is not in {workspace.runs_path}.")
    return [open_run(workspace.runs_path / member.name) for member in members]


def _require_usable(run: Run, workspace: Workspace) -> None:
    record = run.record
    if record.imported:
        raise RunError(
            f"{run.name} was imported: it has no models of folds, so which clips its predictions were trained on is "
            "unknown. A teacher is a run that akit trained."
        )
    if (record.task, record.classes) != (workspace.config.task, list(workspace.config.classes)):
        raise RunError(f"{run.name} was trained for another task or other classes than those in akit.toml.")
    if not run.has_asked:
        asked = [fold for fold in run.missing_folds if fold in (record.asked or record.folds)]
        raise RunError(f"{run.name} is not finished: fold {', '.join(asked)} is not trained yet.")


@dataclass(frozen=True)
class FoldTeacher:
    """Runs whose models of a fold label clips for another run's model of the same fold: the mean of their predictions.

    >>> FoldTeacher(workspace, (run,)).check("1", held_out_ids, unlabeled_ids)
    """

    workspace: Workspace
    runs: tuple[Run, ...]
    trust: bool = False  # execute recipes in their folders that are not installed

    def check(self, fold: str, held_out: Sequence[str], unlabeled: Sequence[str]) -> None:
        """Raise RunError if a model of the fold was trained on `held_out` or `unlabeled` clips, by id."""
        for run in self.runs:
            self._require_fold(run, fold)
            if fold == FULL:
                if trained_on_other_labels(run, label_digest(self.workspace.manifest)):
                    raise RunError(f"{run.name} was trained on other labels, perhaps of clips that it would label.")
                continue
            own = predicted_ids(run.path / "folds" / fold / "oof.parquet")
            if seen := [id for id in held_out if id not in own]:
                raise RunError(
                    f"The folds of {run.name} differ: its model of fold {fold} may have been trained on {seen[0]}, "
                    f"which fold {fold} holds out here ({len(seen)} clips in all): labels would leak into the score."
                )
            trained = set().union(*(predicted_ids(run.path / "folds" / name / "oof.parquet") for name in run.done))
            if seen := [id for id in unlabeled if id in trained]:
                raise RunError(
                    f"{run.name} was trained on {seen[0]}, which it would label ({len(seen)} clips in all): it knows "
                    "labels that this workspace holds out."
                )

    def _require_fold(self, run: Run, fold: str) -> None:
        if fold in run.done:
            return
        if run.record.full:
            raise RunError(
                f"{run.name} was trained on all clips (--full), so also on those that fold {fold} is scored on. "
                "Name a run that was trained fold by fold."
            )
        if fold == FULL:
            raise RunError(f"{run.name} was trained fold by fold; the teacher of a --full run is a --full run.")
        raise RunError(f"{run.name} has no model of fold {fold}: it has those of {', '.join(run.done)}.")

    def predict(
        self,
        fold: str,
        rows: pl.DataFrame,
        compute: Compute,
        workers: int,
        on_build: Callable[[Feature, int, int], None],
        on_clips: Callable[[int, int], None],
    ) -> Predictions:
        """Return the mean of the predictions of the runs' models of a fold; see `Teacher.predict`."""
        total, done = np.zeros((len(rows), len(self.workspace.config.classes))), 0

        def on_done(n: int) -> None:
            nonlocal done
            done += n
            on_clips(done // len(self.runs), len(rows))

        for run in self.runs:
            total += self._predict(run, fold, rows, compute, workers, on_build, on_done)
        return Predictions(tuple(rows["id"]), total / len(self.runs))

    def _predict(
        self,
        run: Run,
        fold: str,
        rows: pl.DataFrame,
        compute: Compute,
        workers: int,
        on_build: Callable[[Feature, int, int], None],
        on_done: Callable[[int], None],
    ) -> np.ndarray:
        """Return the predictions of one run's model of a fold: those that the run stored, the others computed."""
        names = self.workspace.task_spec.names
        stored = run.predictions("test", names, fold) or Predictions((), np.empty((0, len(names))))
        known, found = stored.found(rows["id"].to_list())
        probabilities = np.empty((len(rows), len(names)))
        probabilities[known] = found
        on_done(int(known.sum()))
        if known.all():
            return probabilities
        require_one_process("Pseudo-labeling of clips that the teacher has not predicted yet")
        rest, store = rows.filter(~known), self.workspace.store()
        (member,) = open_predictor(run.path, self.workspace.root, trust=self.trust).members
        features = member.features_of(fold)
        build_features(
            rest,
            self.workspace.data_root,
            store,
            list(features.values()),
            workers=workers,
            on_progress=on_build,
            device=compute.device,
        )
        clips = stored_clips(rest, self.workspace.task_spec, features, store, compute)
        probabilities[~known] = predict_fold(member, fold, clips, on_done)
        return probabilities
