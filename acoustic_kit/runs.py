"""Runs: one recipe trained on one manifest, as a folder of settings, models, predictions and metrics."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from acoustic_kit.atomic_write import write_atomically
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.fold import Task, encode_labels

if TYPE_CHECKING:
    import polars as pl

RECORD_NAME, FOLD_RECORD_NAME = "run.json", "fold.json"


class FoldRecord(BaseModel):
    """How one fold went; `folds/<name>/fold.json`, written before the folder is renamed into place."""

    model_config = ConfigDict(frozen=True)

    seconds: float  # wall time of training and prediction
    trained_on: int  # clips
    without_features: list[str]  # clips predicted with the class frequencies, as they could not be read
    device: str = "cpu"
    precision: str = "float64"
    optimistic: list[str] = []  # why the score of this fold flatters, a line each
    notes: list[str] = []  # what else to know of it, such as weights that were not to be had


class RunRecord(BaseModel):
    """What produced a run; `run.json`."""

    model_config = ConfigDict(frozen=True)

    name: str
    setting: str = ""  # 8 hex, alike for the seeds of one setting; empty in runs of before there was any
    recipe: str
    title: str
    settings: dict[str, Any]
    changed: dict[str, Any]  # those settings that are not the recipe's defaults
    seed: int
    fast: bool
    full: bool
    note: str
    task: str
    classes: list[str]
    features: dict[str, str]  # the recipe's name for it → the key in the feature store
    folds: list[str]  # that the manifest has, or ["full"]
    combined: list[str] = Field(default_factory=list)  # the folds whose predictions are in `oof` and `test`
    metrics: dict[str, float] = Field(default_factory=dict)  # over the out-of-fold predictions
    versions: dict[str, str]
    akit: str
    created: str  # ISO 8601


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of clips: `probabilities` is float64 (clips, classes), row i belongs to `ids[i]`."""

    ids: tuple[str, ...]
    probabilities: np.ndarray

    def aligned(self, ids: Sequence[str]) -> np.ndarray:
        """The probabilities of these clips, in this order. Raises KeyError for a clip that was not predicted."""
        row = {id: i for i, id in enumerate(self.ids)}
        return self.probabilities[[row[id] for id in ids]]

    def write(self, path: Path, classes: Sequence[str]) -> None:
        """Write as parquet: `id`, then one column a class."""
        import polars as pl

        columns = {name: self.probabilities[:, i] for i, name in enumerate(classes)}
        temporary = path.with_suffix(".tmp")
        pl.DataFrame({"id": list(self.ids), **columns}, schema_overrides={"id": pl.String}).write_parquet(temporary)
        temporary.replace(path)

    @staticmethod
    def read(path: Path, classes: Sequence[str]) -> Predictions:
        """Read what `write` wrote, in this class order. Raises AkitError where the file is missing or does not fit."""
        import polars as pl

        try:
            frame = pl.read_parquet(path, columns=["id", *classes])
        except (OSError, pl.exceptions.PolarsError) as error:
            reason = str(error).partition("\n")[0]
            raise AkitError(f"{path} cannot be read as predictions of {len(classes)} classes: {reason}") from error
        probabilities = frame.select(classes).to_numpy().astype(np.float64)
        if not np.isfinite(probabilities).all():
            raise AkitError(f"{path} holds probabilities that are not numbers. Run the recipe again with --fresh.")
        return Predictions(tuple(frame["id"]), probabilities)


@dataclass(frozen=True)
class Run:
    """A run's folder and its record."""

    path: Path
    record: RunRecord

    @property
    def name(self) -> str:
        """`<recipe>-<8 hex>`."""
        return self.record.name

    @cached_property
    def done(self) -> dict[str, FoldRecord]:
        """The folds that are trained and predicted, in the manifest's order, and how each went."""
        return {
            fold: FoldRecord.model_validate_json((self.path / "folds" / fold / FOLD_RECORD_NAME).read_bytes())
            for fold in self.record.folds
            if (self.path / "folds" / fold / FOLD_RECORD_NAME).exists()
        }

    @property
    def missing_folds(self) -> list[str]:
        """The folds that are still to be trained."""
        return [fold for fold in self.record.folds if fold not in self.done]

    @property
    def finished(self) -> bool:
        """All folds are done."""
        return not self.missing_folds

    @property
    def seconds(self) -> float:
        """The wall time of all folds."""
        return sum(fold.seconds for fold in self.done.values())

    @property
    def optimistic(self) -> list[str]:
        """Why the out-of-fold score flatters: choices that looked at the fold that they are scored on."""
        return sorted({why for fold in self.done.values() for why in fold.optimistic})

    @property
    def notes(self) -> list[str]:
        """What training found worth telling."""
        return sorted({note for fold in self.done.values() for note in fold.notes})

    @cached_property
    def oof(self) -> Predictions | None:
        """Out-of-fold predictions of the training clips, as far as folds are done; None for a run on all clips."""
        return self.predictions("oof", self.record.classes)

    @cached_property
    def test(self) -> Predictions | None:
        """Predictions of the test clips, averaged over the fold models; None where there are no test clips."""
        return self.predictions("test", self.record.classes)

    def predictions(self, part: Literal["oof", "test"], classes: Sequence[str]) -> Predictions | None:
        """Predictions with the classes in this order, which must be the run's own classes."""
        path = self.path / f"{part}.parquet"
        return Predictions.read(path, classes) if path.exists() else None

    def with_record(self, **changes: Any) -> Run:
        """The run with a changed record, which is written."""
        record = self.record.model_copy(update=changes)
        write_atomically(self.path / RECORD_NAME, record.model_dump_json(indent=2) + "\n")
        return Run(self.path, record)


def open_run(path: Path) -> Run:
    """Open a run's folder. Raises AkitError where its record is missing or damaged."""
    try:
        run = Run(path, RunRecord.model_validate_json((path / RECORD_NAME).read_bytes()))
        _ = run.done
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise AkitError(
            f"The run {path.name} cannot be read ({reason}; its {RECORD_NAME} is damaged, or another version's). "
            f"Delete it with `akit runs rm {path.name}`, and run it again."
        ) from error
    return run


def list_runs(runs_path: Path, on_unreadable: Callable[[str, AkitError], None] = lambda *_: None) -> list[Run]:
    """All runs of a workspace, by name, without those that cannot be read; `on_unreadable` hears which and why."""
    runs = []
    for name in _names(runs_path):
        try:
            runs.append(open_run(runs_path / name))
        except AkitError as error:
            on_unreadable(name, error)
    return runs


def find_run(runs_path: Path, name: str) -> Path:
    """The folder of the run of this name, or of the only one whose name begins or ends so; UsageError otherwise."""
    names = _names(runs_path)
    matches = [n for n in names if n == name] or [n for n in names if n.startswith(name) or n.endswith(name)]
    if len(matches) != 1 or not name:
        what = f"Several runs match {name!r}: {', '.join(matches[:5])}" if matches else f"There is no run {name!r}"
        raise UsageError(f"{what}. `akit runs list` shows their names.")
    return runs_path / matches[0]


def _names(runs_path: Path) -> list[str]:
    """A folder without a record (a run that never began) is none."""
    return sorted(path.parent.name for path in runs_path.glob(f"*/{RECORD_NAME}"))


def remove_run(path: Path) -> None:
    """Delete a run's folder; its record goes first, so that a deletion cut short leaves no run."""
    (path / RECORD_NAME).unlink(missing_ok=True)
    shutil.rmtree(path)


@dataclass(frozen=True)
class Standing:
    """A run's place on the leaderboard."""

    run: Run
    score: float | None  # over all out-of-fold predictions there are
    fold_scores: dict[str, float]  # of the folds that are done
    complete: bool  # every training clip has an out-of-fold prediction

    @property
    def spread(self) -> float | None:
        """The standard deviation of the score over folds; None for fewer than two."""
        return float(np.std(list(self.fold_scores.values()), ddof=1)) if len(self.fold_scores) > 1 else None


@dataclass(frozen=True)
class Placing:
    """A row of the leaderboard: the seeds of one setting, as far as the same folds of them are done."""

    standings: tuple[Standing, ...]  # best first

    @property
    def score(self) -> float | None:
        """The mean over seeds of the score over all out-of-fold predictions."""
        scores = [standing.score for standing in self.standings if standing.score is not None]
        return float(np.mean(scores)) if scores else None

    @property
    def spread(self) -> float | None:
        """The standard deviation over folds of the mean over seeds; None for fewer than two folds."""
        by_fold = [list(standing.fold_scores.values()) for standing in self.standings]
        return float(np.std(np.mean(by_fold, axis=0), ddof=1)) if len(by_fold[0]) > 1 else None


def by_setting(standings: Sequence[Standing]) -> list[Placing]:
    """The rows of a leaderboard with the seeds of one setting in one row, best first.

    Runs that lack folds stand apart from those that do not: a mean over both would compare different clips.
    """
    groups: dict[tuple[object, ...], list[Standing]] = {}
    for standing in standings:
        key = (standing.run.record.setting or standing.run.name, standing.complete, *standing.fold_scores)
        groups.setdefault(key, []).append(standing)
    placings = [Placing(tuple(group)) for group in groups.values()]
    return sorted(placings, key=lambda p: (not p.standings[0].complete, p.score is None, -(p.score or 0.0)))


def leaderboard(
    runs: Sequence[Run], manifest: pl.DataFrame, classes: Sequence[str], task: Task, metric: str
) -> list[Standing]:
    """The runs, best score first: first those that predicted every training clip, last those without a score.

    A run is scored on those of its out-of-fold predictions whose clips the manifest has as training clips.
    """
    import polars as pl

    train = manifest.filter(pl.col("split") == "train")
    standings = [_standing(run, train, classes, task, metric) for run in runs]
    return sorted(standings, key=lambda s: (not s.complete, s.score is None, -(s.score or 0.0), s.run.name))


def _standing(run: Run, train: pl.DataFrame, classes: Sequence[str], task: Task, metric: str) -> Standing:
    import polars as pl

    from acoustic_kit.metrics import score

    oof = run.predictions("oof", classes) if set(run.record.classes) == set(classes) else None
    rows = train.filter(pl.col("id").is_in(oof.ids if oof else []))
    if oof is None or not len(rows):
        return Standing(run, None, {}, complete=False)
    targets = encode_labels(rows["label"].to_list(), tuple(classes), task)
    probabilities = oof.aligned(rows["id"].to_list())
    folds = rows["fold"].to_numpy()
    by_fold = {str(f): score(metric, targets[folds == f], probabilities[folds == f]) for f in np.unique(folds)}
    return Standing(run, score(metric, targets, probabilities), by_fold, complete=len(rows) == len(train))
