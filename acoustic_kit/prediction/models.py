"""Trained runs and blends: located, checked and opened for prediction."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from acoustic_kit.data.windows import Windows
from acoustic_kit.device import Compute
from acoustic_kit.ensemble.result import BlendResult
from acoustic_kit.errors import AkitError, RunError, UsageError
from acoustic_kit.features import Feature, feature_from_parameters
from acoustic_kit.features.learnt import with_learnt
from acoustic_kit.metrics.names import recorded_metric
from acoustic_kit.prediction.pretrained import find_models
from acoustic_kit.prediction.saved_models import check_model, load_model, recipe_called
from acoustic_kit.recipe.catalog import recipe_folders
from acoustic_kit.recipe.recipe import Recipe, load_recipe
from acoustic_kit.recipe.recipe_file import RecipeFile, source_digest
from acoustic_kit.recipe.settings import Settings
from acoustic_kit.runs import remote_runs
from acoustic_kit.runs.run import RECORD_NAME, Run, RunRecord, find_run, open_run
from acoustic_kit.submission.record import read_record
from acoustic_kit.task import Task, TaskSpec
from acoustic_kit.workspace.workspace import Workspace

if TYPE_CHECKING:
    from acoustic_kit.blending import Blend
    from acoustic_kit.blending.recordings import Recordings

OnNote = Callable[[str], None]


@dataclass(frozen=True)
class MemberModel:
    """A run with the fold models that predict: all or some."""

    run: Run
    folds: tuple[str, ...]
    recipe: Recipe
    settings: Settings
    features: Mapping[str, Feature]  # by the recipe's names
    trusted: bool = False  # its models may contain any types

    def features_of(self, fold: str) -> dict[str, Feature]:
        """Return the features that a fold's model reads; a fitted one is another feature for each run and fold."""
        return with_learnt(self.run.path / "folds" / fold, self.features, f"{self.run.name}/{fold}")

    def model(self, fold: str, compute: Compute) -> Any:
        """Load the model of a fold. Raises RunError if it cannot be read, or does not fit the recipe."""
        record = self.run.record

        def build() -> Any:
            return self.recipe.rebuild_model(self.settings, len(record.classes), record.backbone)

        return load_model(self.run.path / "folds" / fold, build, compute, self.recipe.module, trusted=self.trusted)

    def frequencies(self, fold: str) -> np.ndarray:
        """Return a fold's predictions for a clip that cannot be read, the class frequencies: float64 (classes,)."""
        return np.array(self.run.done[fold].frequencies)

    @property
    def mean_frequencies(self) -> np.ndarray:
        """The prediction for a clip that cannot be read, the mean over folds: float64 (classes,)."""
        return np.asarray(np.mean([self.frequencies(fold) for fold in self.folds], axis=0))


@dataclass(frozen=True)
class Predictor:
    """A run, or a blend of runs."""

    name: str
    members: tuple[MemberModel, ...]
    task_spec: TaskSpec  # its metric is the one that a submission is written for
    blend: Blend | None  # of the members; None for one run
    file_windows: Windows | None = None  # of an exported file, which has no members

    @property
    def n_models(self) -> int:
        """Number of fold models, or 1 for an exported file."""
        return sum(len(member.folds) for member in self.members) or 1

    @property
    def windows(self) -> Windows | None:
        """The windows of recordings that it was trained on; None if they were whole files."""
        return self.members[0].run.record.windows if self.members else self.file_windows

    @property
    def compares_clips(self) -> bool:
        """Whether a clip's prediction depends on the other clips, as ranks without a fit do."""
        return self.blend is not None and self.blend.compares_clips

    def combine(self, stack: np.ndarray) -> np.ndarray:
        """Combine the members' predictions (members, clips, classes): float64 (clips, classes)."""
        if self.blend is None:
            return np.asarray(stack[0])
        with self._as_run_error():
            return self.blend.combine(stack)

    def finish(self, combined: np.ndarray, recordings: Recordings | None) -> np.ndarray:
        """Return combined predictions (rows, classes) with the blend's post-processing and decision, if it has any.

        - `recordings`: of rows that are windows
        """
        if self.blend is None:
            return combined
        with self._as_run_error():
            return self.blend.finish(combined, recordings)

    @contextmanager
    def _as_run_error(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:  # the numbers of a blend come from a file
            raise RunError(f"{self.name}: the blend does not fit its runs: {error}.") from error


def open_predictor(
    what: str | Path | BlendResult,
    folder: Path = Path(),
    *,
    trust: bool = False,
    weights: str | Path | Sequence[str | Path] | None = None,
    on_note: OnNote = lambda _: None,
) -> Predictor:
    """Open a run or a blend for prediction.

    Parameters
    ----------
    what : a blend of runs, a run's folder, a submission's JSON or CSV, or the name of a run or of a submission in the
        workspace that contains `folder`. The runs of a submission are looked up in the JSON's folder, in `runs/` in or
        next to that folder, and in the workspace
    trust : execute recipes in the run folders that are not installed, and load all types that their scikit-learn
        models contain
    weights : folders and files with the weights of models that compute features, if a run needs any
    on_note : called with messages for the user

    Raises UsageError if the run does not exist, AkitError if it cannot predict on this machine.

    """
    workspace = Workspace.around(folder)
    places = [weights] if isinstance(weights, str | Path) else weights or ()
    opener = _Opener(workspace, trust, tuple(map(str, places)), on_note)
    if isinstance(what, BlendResult):
        members = [opener.member(one.run, one.fold) for one in what.members]
        return _predictor(what.name, members, what.metric, what.blend.of_members())
    found = locate(what, folder)
    if found.is_file():
        return _open_blend(found, workspace, opener)
    member = opener.member(open_run(found))
    if missing := member.run.missing_folds:
        on_note(f"{member.run.name} is not finished: fold {', '.join(missing)} is left out.")
    record = member.run.record
    return _predictor(member.run.name, [member], record.metric, None)


def locate(what: str | Path, folder: Path) -> Path:
    """Return the folder of a run, or the JSON of a submission, that is a path or a name, see `open_predictor`.

    Raises UsageError if there is none.
    """
    path, workspace = Path(what), Workspace.around(folder)
    if path.name == RECORD_NAME:
        path = path.parent
    if (path / RECORD_NAME).is_file():
        return path
    if path.suffix in {".json", ".csv"} and path.with_suffix(".json").is_file():
        return path.with_suffix(".json")
    if workspace is None:
        raise UsageError(
            f"{what} is neither a run's folder nor a submission's JSON, and {folder.resolve()} is in no workspace "
            "that could have a run or a submission of this name."
        )
    remote_runs.pull(workspace)
    submission = workspace.submissions_path / f"{str(what).removesuffix('.csv').removesuffix('.json')}.json"
    if path.name == str(what) and submission.is_file() and not (workspace.runs_path / path).is_dir():
        return submission
    return _run_or_submission(workspace, str(what))


def _run_or_submission(workspace: Workspace, name: str) -> Path:
    """Return the folder of the run of this name. Raises UsageError that also lists the submissions."""
    try:
        return find_run(workspace.runs_path, name)
    except UsageError as error:
        submissions = ", ".join(sorted(path.stem for path in workspace.submissions_path.glob("*.json")))
        known = f"\nThere are the submissions {submissions}." if submissions else ""
        raise UsageError(f"{error}{known}") from error


def _open_blend(path: Path, workspace: Workspace | None, opener: _Opener) -> Predictor:
    from acoustic_kit.blending import Blend

    record, here = read_record(path), path.absolute().parent
    if workspace is not None:
        remote_runs.pull(workspace)
    places = [here, here / "runs", here.parent / "runs", *([workspace.runs_path] if workspace else [])]
    members = []
    for one in record.runs:
        found = next((place / one.name for place in places if (place / one.name / RECORD_NAME).is_file()), None)
        if found is None:
            looked = ", ".join(dict.fromkeys(map(str, places)))
            raise UsageError(f"{path} blends the run {one.name}, which is in none of {looked}.")
        members.append(opener.member(open_run(found), one.fold))
    blend = Blend.from_dict(record.blend)
    if len(blend.weights) != len(members) or blend.task != members[0].run.record.task:
        raise RunError(f"{path} is damaged: its runs do not match its blend.")
    return _predictor(path.stem, members, record.metric, blend)


def _predictor(name: str, members: list[MemberModel], metric: str, blend: Blend | None) -> Predictor:
    record = members[0].run.record
    for other in (member.run.record for member in members[1:]):
        if (other.classes, other.task) != (record.classes, record.task):
            raise RunError(f"{other.name} was trained for other classes than {record.name}, or in another order.")
    classes = dict(zip(record.classes, record.class_indices, strict=True))
    task: Task = "multi" if record.task == "multi" else "single"
    if recorded_metric(metric) is None:  # a workspace's own, which needs probabilities, as log_loss does
        metric = "log_loss"
    return Predictor(name, tuple(members), TaskSpec(classes, metric, task, record.label_separator), blend)


@dataclass(frozen=True)
class _Opener:
    """Options for opening runs."""

    workspace: Workspace | None
    trust: bool
    weights: tuple[str, ...]
    on_note: OnNote

    def member(self, run: Run, fold: str | None = None) -> MemberModel:
        """Open a run, or one fold of it, for prediction."""
        record = run.record
        if self.workspace is not None and run.path.parent == self.workspace.runs_path:
            remote_runs.pull(self.workspace, run.name, models=True)
        if record.imported:
            raise RunError(f"{run.name} was imported: it has predictions, but no models to predict new clips.")
        folds = [fold] if fold else list(run.done)
        if not folds or not set(folds) <= set(run.done):
            raise RunError(f"{run.path} has no trained model{f' of fold {fold}' if fold else ''}.")
        recipe = self._recipe(run) if record.recipe_sha256 else None
        n_classes = len(record.classes)
        whole = len(record.class_indices) == n_classes and all(len(run.done[f].frequencies) == n_classes for f in folds)
        if recipe is None or not record.parameters or not whole:
            raise RunError(
                f"{run.name} was trained by a version of akit that stored less with a run than a prediction needs. "
                f"Train it again: akit recipe run {record.recipe} --fresh, with the same settings."
            )
        if record.backbone is None and hasattr(recipe.module, "backbone"):
            raise RunError(f"{run.path / RECORD_NAME} lacks the shape of the backbone. Copy the run's folder again.")
        try:
            settings = recipe.settings_class.model_validate(record.settings)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise RunError(f"The settings in {run.path / RECORD_NAME} do not fit the recipe: {reason}.") from error
        for name in folds:
            check_model(run.path / "folds" / name, recipe.module, trusted=self.trust)
        return MemberModel(run, tuple(folds), recipe, settings, self._features(run, recipe), self.trust)

    def _recipe(self, run: Run) -> Recipe:
        """Return the installed recipe with the recorded digest, else the run's copy of it, if that is trusted."""
        record, copy = run.record, run.path / "recipe.py"
        folders = recipe_folders(self.workspace.recipes_path if self.workspace else None)
        for path in (p for folder in folders for p in sorted(folder.glob("[!_.]*.py"))):
            if _is_the_recipe(path, record):
                return dataclasses.replace(load_recipe(path), name=record.recipe)
        if not self.trust:
            raise RunError(
                f"{record.recipe}, as it trained {run.name}, is not installed here: it was changed since, or is from "
                f"elsewhere.\n{copy} is a copy, which would be executed: read it, then add --trust."
            )
        if not _is_the_recipe(copy, record):
            raise RunError(
                f"{copy} is missing, or not the recipe that trained {run.name}. Copy the run's folder again."
            )
        called = next((recipe_called(run.path / "folds" / fold) for fold in run.done), None)
        return dataclasses.replace(load_recipe(copy, called=called or record.recipe), name=record.recipe)

    def _features(self, run: Run, recipe: Recipe) -> dict[str, Feature]:
        record, features, models = run.record, {}, find_models(run, self.weights)
        for name, parameters in record.parameters.items():
            try:
                known = _with_resampler(parameters, self.on_note)
                features[name] = feature_from_parameters(known, models, recipe.own_features)
            except (AkitError, TypeError, ValueError) as error:
                raise RunError(
                    f"{record.name} cannot predict here, because its feature {name} is unavailable: {error}"
                ) from error
        return features


def _is_the_recipe(path: Path, record: RunRecord) -> bool:
    """Return whether a file, with the modules that it imports from its folder, is the recipe that trained a run."""
    try:
        if source_digest(path.read_text("utf-8-sig")) != record.recipe_sha256:
            return False
        return record.helpers in (None, RecipeFile.read(path, path.stem).helper_digests)  # None in older runs
    except (AkitError, OSError, UnicodeDecodeError):
        return False


def _with_resampler(parameters: Mapping[str, Any], on_note: OnNote) -> dict[str, Any]:
    """Return the parameters with the installed version of the resampler; other versions' waves differ negligibly."""
    from importlib.metadata import version

    found = {k: _with_resampler(v, on_note) if isinstance(v, Mapping) else v for k, v in parameters.items()}
    if "soxr" in found and found["soxr"] != version("soxr"):
        on_note(f"The run was trained with soxr {found['soxr']}; here is {version('soxr')}. Waves may differ slightly.")
        found["soxr"] = version("soxr")
    return found
