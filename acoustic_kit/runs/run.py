"""Runs: one recipe trained on one manifest, stored as a folder of settings, models, predictions and metrics."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from acoustic_kit.data.windows import Windows
from acoustic_kit.errors import AkitError, RunError, UsageError
from acoustic_kit.files import locked, read_regular, write_atomically
from acoustic_kit.recipe.predictions import Predictions, recovery_hint
from acoustic_kit.recipe.pseudo import PseudoRecord

RECORD_NAME, FOLD_RECORD_NAME = "run.json", "fold.json"

RUN_NAME = r"^\w[\w.-]*$"  # that of its folder, too
REMOVED = ".removed-"  # begins the name of a run's folder while it is deleted

FoldName = Annotated[str, Field(pattern=r"^[\w-]+$")]  # a folder's name: no path out of a run from elsewhere


class FoldRecord(BaseModel):
    """The record of one trained fold: `folds/<name>/fold.json`, written before the folder is renamed into place."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    seconds: float  # wall time of training and prediction
    trained_on: int  # clips
    pseudo_clips: int = 0  # of them, without a label of their own
    without_features: list[str]  # unreadable clips, predicted with the class frequencies
    frequencies: list[FiniteFloat] = []  # class frequencies of the training clips
    n_parameters: int | None = None  # trainable; None for a model without torch
    device: str = "cpu"
    gpu: str | None = None  # its name
    precision: str = "float64"
    processes: int = 1  # that trained it
    # Reasons why the score of this fold is biased upward, one per line; stored as `optimistic`.
    bias_warnings: list[str] = Field([], validation_alias="optimistic", serialization_alias="optimistic")
    warnings: list[str] = []  # reasons why the model may be useless, a line each
    notes: list[str] = []  # remarks, such as missing weights
    files: dict[str, str] = {}  # `oof.parquet` and `test.parquet` → their sha256; empty in older runs

    def to_json(self) -> str:
        """Return the content of `fold.json`."""
        return self.model_dump_json(indent=2, by_alias=True) + "\n"

    @property
    def compute(self) -> str:
        """Device and precision of the training: `cuda (NVIDIA H200), bf16-mixed, 4 processes`."""
        gpu, processes = self.gpu and f" ({self.gpu})", f", {self.processes} processes" if self.processes > 1 else ""
        return f"{self.device}{gpu or ''}, {self.precision}{processes}"


class RunRecord(BaseModel):
    """The record of a run and of what produced it: `run.json`."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=RUN_NAME)
    setting: str = ""  # 8 hex digits, equal for all seeds of a setting; empty in older runs
    recipe: str
    title: str
    settings: dict[str, Any]
    changed: dict[str, Any]  # settings other than the defaults, or those of the small form
    seed: int
    fast: bool
    full: bool
    note: str
    task: str
    classes: list[str]
    features: dict[str, str]  # the recipe's name of a feature → its key in the store
    parameters: dict[
        str, dict[str, Any]
    ] = {}  # the recipe's name of a feature → its parameters and those of its sources
    backbone: dict[str, Any] | None = None  # see `Recipe.backbone`
    recipe_sha256: str = ""  # of the recipe's source; `recipe.py` is a copy
    helpers: dict[str, str] | None = None  # modules imported from the recipe's folder → their sha256
    class_indices: list[int] = []  # the data set's own, in the order of `classes`
    metric: str = ""  # the workspace's
    label_separator: str | None = None  # the workspace's
    windows: Windows | None = None  # into which the workspace divides recordings; None: a clip is a file
    labels: str = ""  # `label_digest` of the manifest; empty in older and in imported runs
    folds: list[FoldName]  # those of the manifest, or ["full"]
    asked: list[FoldName] = []  # the requested folds, as by --folds; empty: all, as in runs of earlier versions
    combined: list[str] = Field(default_factory=list)  # folds whose predictions are in `oof` and `test`
    combined_from: dict[str, str] = {}  # those folds → the sha256 of their records, different for each training
    files: dict[str, str] = {}  # `oof.parquet` and `test.parquet` → their sha256; empty in older runs
    metrics: dict[str, float] = Field(default_factory=dict)  # of the out-of-fold predictions
    imported: dict[str, str] = Field(default_factory=dict)  # imported files → their sha256
    pseudo: PseudoRecord | None = None  # origin of pseudo-labels
    versions: dict[str, str]
    akit: str
    created: str  # ISO 8601


@dataclass(frozen=True)
class Run:
    """A run's folder and its record."""

    path: Path
    record: RunRecord

    @property
    def name(self) -> str:
        """The folder's name, by which users and blends refer to the run: `<recipe>-<8 hex>` unless renamed."""
        return self.path.absolute().name

    @cached_property
    def done(self) -> dict[str, FoldRecord]:
        """Records of the folds that are trained and predicted, in the manifest's order."""
        paths = {fold: self.path / "folds" / fold / FOLD_RECORD_NAME for fold in self.record.folds}
        return {fold: _fold_record(path) for fold, path in paths.items() if path.exists()}

    @property
    def missing_folds(self) -> list[str]:
        """Names of the folds that are not trained yet."""
        return [fold for fold in self.record.folds if fold not in self.done]

    @property
    def has_asked(self) -> bool:
        """Whether all requested folds are done; some protocols hold out only some of the folds."""
        return not set(self.record.asked or self.record.folds) - set(self.done)

    @property
    def finished(self) -> bool:
        """Whether all folds are done."""
        return not self.missing_folds

    @property
    def seconds(self) -> float:
        """The wall time of all folds."""
        return sum(fold.seconds for fold in self.done.values())

    @property
    def n_parameters(self) -> int | None:
        """Number of trainable parameters of one fold's model; None if unknown."""
        return next((fold.n_parameters for fold in self.done.values()), None)

    @property
    def compute(self) -> list[str]:
        """Devices and precisions that folds were trained with: `cuda (NVIDIA H200), bf16-mixed, 4 processes`."""
        return sorted({fold.compute for fold in self.done.values()})

    @property
    def bias_warnings(self) -> list[str]:
        """Reasons why the out-of-fold score is biased upward, such as an epoch chosen on the fold it is scored on."""
        return sorted({why for fold in self.done.values() for why in fold.bias_warnings})

    @property
    def warnings(self) -> list[str]:
        """Reasons why the run may be useless, such as predictions at chance."""
        return sorted({why for fold in self.done.values() for why in fold.warnings})

    @property
    def notes(self) -> list[str]:
        """Remarks of the training."""
        return sorted({note for fold in self.done.values() for note in fold.notes})

    @cached_property
    def oof(self) -> Predictions | None:
        """Out-of-fold predictions of the folds that are done; None for a run on all clips."""
        return self.predictions("oof", self.record.classes)

    @cached_property
    def test(self) -> Predictions | None:
        """Predictions of the test clips, averaged over the fold models; None without test clips."""
        return self.predictions("test", self.record.classes)

    def predictions(
        self, part: Literal["oof", "test"], classes: Sequence[str], fold: str | None = None
    ) -> Predictions | None:
        """Return the predictions of the run, or of one fold's model; None if there are none.

        Raises RunError if they are damaged.

        - `classes`: the run's own classes, in the order of the result's columns
        """
        folder = self.path if fold is None else self.path / "folds" / fold
        files, path = self.record.files if fold is None else self.done[fold].files, folder / f"{part}.parquet"
        return Predictions.read(path, classes, files.get(path.name)) if path.exists() else None

    def with_record(self, **changes: Any) -> Run:
        """Write a changed record, and return the run with it."""
        record = self.record.model_copy(update=changes)
        write_atomically(self.path / RECORD_NAME, record.model_dump_json(indent=2) + "\n")
        return Run(self.path, record)


@contextmanager
def new_fold(run: Path, name: str) -> Iterator[Path]:
    """Yield an empty folder, which atomically becomes that of a run's fold at the end of the `with` block."""
    temporary = run / f".fold-{name}.{secrets.token_hex(8)}.tmp"
    temporary.mkdir(parents=True)
    try:
        yield temporary
        final = run / "folds" / name
        final.parent.mkdir(exist_ok=True)
        shutil.rmtree(final, ignore_errors=True)  # a fold without a record, or an older one
        temporary.rename(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def open_run(path: Path) -> Run:
    """Open a run's folder. Raises RunError if its record is missing or damaged."""
    try:
        run = Run(path, RunRecord.model_validate_json(read_regular(path / RECORD_NAME)))
        _ = run.done
    except (OSError, ValidationError) as error:
        raise RunError(
            f"The run {path.name} cannot be read ({_reason(error)}; its {RECORD_NAME} is damaged, or another "
            f"version's).\nDelete {path / RECORD_NAME} and run the recipe again with the same settings, which keeps "
            f"its folds; or delete the whole run: `akit runs rm {path.name}`."
        ) from error
    return run


def _fold_record(path: Path) -> FoldRecord:
    try:
        return FoldRecord.model_validate_json(read_regular(path))
    except (OSError, ValidationError) as error:
        raise RunError(f"{path} cannot be read ({_reason(error)}). {recovery_hint(path)}") from error


def _reason(error: OSError | ValidationError) -> str:
    return error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror or str(error)


def list_runs(runs_path: Path, on_unreadable: Callable[[str, AkitError], None] = lambda *_: None) -> list[Run]:
    """Return all runs of a workspace, by name, without those that cannot be read, and without copies of others.

    `on_unreadable` is called with the name of each that is left out, and why.
    """
    runs: dict[str, Run] = {}  # by the name in the record, which a copy shares
    for name in _names(runs_path):
        try:
            if not re.fullmatch(RUN_NAME, name):
                raise RunError(
                    f"The folder {name!r} is left out: the name of a run has letters, digits, _, - and dots."
                )
            run = open_run(runs_path / name)
        except AkitError as error:
            on_unreadable(name, error)
            continue
        other = runs.get(run.record.name)
        original = run if other is None or run.name == run.record.name else other
        if other is not None:
            copy = other if original is run else run
            on_unreadable(copy.name, RunError(f"The run {copy.name} is a copy of {original.name}, and left out."))
        runs[run.record.name] = original
    return sorted(runs.values(), key=lambda run: run.name)


def find_run(runs_path: Path, name: str, *, whole: bool = True) -> Path:
    """Return the folder of the run of this name, or of the only one whose name begins or ends so.

    - `whole`: only runs with a record, which all have except those whose deletion was interrupted

    Raises UsageError if there is none, or several.
    """
    names = _names(runs_path) if whole else _folders(runs_path)
    matches = [n for n in names if n == name] or [n for n in names if n.startswith(name) or n.endswith(name)]
    if len(matches) > 1 and name:
        originals = {run.name for run in list_runs(runs_path)}
        matches = [n for n in matches if n in originals] or matches
    if len(matches) != 1 or not name:
        what = f"Several runs match {name!r}: {', '.join(matches[:5])}" if matches else f"There is no run {name!r}"
        raise UsageError(f"{what}. `akit runs list` shows their names.")
    return runs_path / matches[0]


def _names(runs_path: Path) -> list[str]:
    """Return the names of the runs. A folder without a record is not a run."""
    return [name for name in _folders(runs_path) if (runs_path / name / RECORD_NAME).is_file()]


def _folders(runs_path: Path) -> list[str]:
    try:
        names = sorted(path.name for path in runs_path.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    return [name for name in names if not name.startswith(".")]


def remove_run(path: Path) -> None:
    """Delete a run's folder, and the rest of runs whose deletion was interrupted.

    The folder is renamed first, so that an interrupted deletion leaves no partial run.
    Raises AkitError if a process trains the run.
    """
    with locked(path, f"{path.name} is being trained by another process: stop that first."):
        path.rename(path.with_name(f"{REMOVED}{path.name}-{secrets.token_hex(4)}"))
    remove_leftovers(path.parent)


def remove_leftovers(runs_path: Path) -> None:
    """Delete the rest of runs whose deletion was interrupted."""
    for folder in runs_path.glob(f"{REMOVED}*"):
        shutil.rmtree(folder, ignore_errors=True)


def trained_on_other_labels(run: Run, digest: str) -> bool:
    """Return whether a run was trained on another `label_digest` of the manifest; False if its record lacks one."""
    return run.record.labels not in ("", digest)
