"""The runner: one recipe over the folds of a manifest. It owns folds, seeds, files and the averaging of predictions."""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acoustic_kit import __version__
from acoustic_kit.atomic_write import write_atomically
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features import BuildReport, Feature, build_features, fingerprints, for_folds
from acoustic_kit.fold import FULL, Clips, Fold, Task, encode_labels, fold_names, training_rows
from acoustic_kit.metrics import fitting_metrics, score
from acoustic_kit.recipe import Recipe, Settings
from acoustic_kit.runs import FOLD_RECORD_NAME, RECORD_NAME, FoldRecord, Predictions, Run, RunRecord, open_run
from acoustic_kit.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from acoustic_store import StoredFeature

    Stored = Mapping[str, StoredFeature]  # by the recipe's name for the feature

RECORDED_PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "zarr",
    "soxr",
    "soundfile",
    "numba",
    "polars",
    "torch",
    "transformers",
)


@dataclass(frozen=True)
class RunEvents:
    """What a caller may want to hear while a recipe runs."""

    on_build: Callable[[Feature, int, int], None] = lambda *_: None  # feature, clips done, clips to do
    on_built: Callable[[Sequence[BuildReport]], None] = lambda _: None
    on_fold: Callable[[int, int], None] = lambda *_: None  # folds done, folds to do
    on_epoch: Callable[[str, str, int, int, Mapping[str, float]], None] = lambda *_: None
    """Fold, stage, epochs done, epochs in all, and the epoch's figures by name."""


def run_recipe(
    workspace: Workspace,
    recipe: Recipe,
    settings: Settings | None = None,
    *,
    folds: Sequence[str] | None = None,
    full: bool = False,
    fast: bool = False,
    seed: int = 0,
    note: str = "",
    fresh: bool = False,
    workers: int = 0,
    device: str = "auto",
    events: RunEvents = RunEvents(),
) -> tuple[Run, bool]:
    """Build the features a recipe needs, train its folds, predict out-of-fold and test clips, and store the run.

    A fold that is done is not done again, so a stopped run goes on where it was. Test predictions are the mean over
    the fold models. A clip whose features could not be computed is predicted with the training labels' frequencies.

    Parameters
    ----------
    folds : the folds to train, by name; None for all (of the recipe's small form, where `fast`)
    full : fit one model on all training clips instead: test predictions, no out-of-fold ones
    fast : the recipe's small form; pass its settings too (`recipe.settings(fast=True)`)
    fresh : discard the run if it exists
    device : "cpu", "cuda" or "auto", for recipes that train with torch

    Returns the run, and whether anything was trained.

    Raises UsageError for a fold that does not exist and AkitError for a recipe that breaks its contract.

    """
    job = _Job(workspace, recipe, settings or recipe.settings(fast=fast), seed, fast, full)
    wanted = _wanted_folds(folds, job.folds)
    with _locked(workspace.runs_path / job.name):
        run = _open_or_create(job, note, fresh)
        todo = [fold for fold in wanted if fold in run.missing_folds]
        stored = _stored_features(job, todo, workers, events) if todo else {}
        for done, fold in enumerate(todo):
            events.on_fold(done, len(todo))
            _train_fold(run, job, stored[fold], fold, device, events)
            run = _combine(run, job)
        events.on_fold(len(todo), len(todo))
        return _combine(run, job), bool(todo)


@dataclass(frozen=True)
class _Job:
    """All that decides a run's result."""

    workspace: Workspace
    recipe: Recipe
    settings: Settings
    seed: int
    fast: bool
    full: bool

    @cached_property
    def manifest(self) -> pl.DataFrame:
        manifest = self.workspace.manifest
        return _fast_manifest(manifest, self.recipe) if self.fast else manifest

    @cached_property
    def features(self) -> dict[str, Feature]:
        return self.recipe.features(self.settings)

    @property
    def folds(self) -> list[str]:
        return [FULL] if self.full else fold_names(self.manifest)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.workspace.config.classes)

    @property
    def task(self) -> Task:
        return self.workspace.config.task

    @cached_property
    def name(self) -> str:
        """`<recipe>-<8 hex>` of all that decides the result: not of folds trained, device or place."""
        import polars as pl

        content = list(fingerprints(self.manifest, self.workspace.data_root).values())
        rows = self.manifest.select("id", "label", "fold", "split").with_columns(content=pl.Series(content))
        parts = {
            "settings": self.settings.model_dump(mode="json"),
            "seed": self.seed,
            "recipe": self.recipe.source,
            "manifest": hashlib.sha256(rows.sort("id").write_json().encode()).hexdigest(),
            "classes": self.classes,
            "features": {alias: feature.key for alias, feature in self.features.items()},
            "fast": self.fast,
            "full": self.full,
        }
        return f"{self.recipe.name}-{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]}"

    def clips(self, rows: pl.DataFrame, stored: Stored) -> Clips:
        return Clips(rows, self.classes, self.task, stored)


def _readable(rows: pl.DataFrame, stored: Stored) -> pl.DataFrame:
    """The rows of clips that every feature could be computed for."""
    held = [all(id in feature for feature in stored.values()) for id in rows["id"]]
    return rows.filter(np.array(held, dtype=bool))


def _train_fold(run: Run, job: _Job, stored: Stored, name: str, device: str, events: RunEvents) -> None:
    """Train one fold and commit its model, predictions and record by renaming a finished folder into place."""
    import polars as pl

    began = time.monotonic()
    train, valid = training_rows(job.manifest, name)
    usable = _readable(train, stored)
    if usable["label"].explode().n_unique() < 2:
        raise AkitError(
            f"Fold {name} has no training clips of two classes. `akit features info NAME` lists what failed."
        )
    valid_clips = job.clips(_readable(valid, stored), stored) if len(valid) else None
    fold = Fold(
        name,
        job.clips(usable, stored),
        valid_clips,
        fold_seed(job.seed, name),
        job.workspace.config.metric,
        device,
        run.path / "checkpoints" / name,
        partial(events.on_epoch, name),
        [
            f"{x} was fitted on validation clips too"
            for x, f in job.features.items()
            if f.sees_validation and len(valid)
        ],
    )
    model = job.recipe.train(fold, job.settings)

    temporary = run.path / f".fold-{name}.{os.getpid()}.tmp"
    temporary.mkdir()
    _save_model(model, temporary)
    without: list[str] = []
    prior = _class_frequencies(fold.train.labels, fold.n_classes)
    for part, rows in (("oof", valid), ("test", job.manifest.filter(pl.col("split") == "test"))):
        if len(rows):
            usable = _readable(rows, stored)
            probabilities = np.tile(prior, (len(rows), 1))
            probabilities[rows["id"].is_in(usable["id"].to_list()).to_numpy()] = _predict(job, model, usable, stored)
            Predictions(tuple(rows["id"]), probabilities).write(temporary / f"{part}.parquet", job.classes)
            without += sorted(set(rows["id"]) - set(usable["id"]))
    for log in fold.folder.glob("*/log.jsonl"):
        shutil.copyfile(log, temporary / f"{log.parent.name}.jsonl")
    used, precision = _device_of(model)
    record = FoldRecord(
        seconds=time.monotonic() - began,
        trained_on=len(fold.train),
        without_features=without,
        device=used,
        precision=precision,
        optimistic=fold.optimistic,
    )
    write_atomically(temporary / FOLD_RECORD_NAME, record.model_dump_json(indent=2) + "\n")
    final = run.path / "folds" / name
    final.parent.mkdir(exist_ok=True)
    shutil.rmtree(final, ignore_errors=True)  # a fold that lost its record
    temporary.rename(final)
    shutil.rmtree(fold.folder, ignore_errors=True)


def _predict(job: _Job, model: Any, rows: pl.DataFrame, stored: Stored) -> np.ndarray:
    """The recipe's predictions of rows that have features, checked: float64 (rows, classes)."""
    if not len(rows):
        return np.empty((0, len(job.classes)))
    name = job.recipe.name
    found = job.recipe.predict(model, job.clips(rows, stored), job.settings).astype(np.float64)
    if found.shape != (len(rows), len(job.classes)):
        raise AkitError(
            f"{name}: predict gave shape {found.shape} for {len(rows)} clips and {len(job.classes)} classes."
        )
    if not np.isfinite(found).all() or (found < 0).any() or (found > 1 + 1e-3).any():
        raise AkitError(f"{name}: predict gave values that are not between 0 and 1.")
    found = np.minimum(found, 1)
    if job.task == "single":
        total = found.sum(axis=1, keepdims=True)
        if not np.allclose(total, 1, atol=1e-3):
            raise AkitError(
                f"{name}: predict must give rows that sum to one; they sum to {total.min():.3g}–{total.max():.3g}."
            )
        found = found / total
    return found


def _class_frequencies(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """The share of the training clips that have each class: float64 (classes,)."""
    return labels.mean(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=n_classes) / len(labels)


def _combine(run: Run, job: _Job) -> Run:
    """Write the run's predictions, and its metrics, anew where they are not of the folds that are done."""
    run = Run(run.path, run.record)  # looks again at what is done
    parts = ["oof"] * (not run.record.full) + ["test"] * (job.manifest["split"] == "test").any()
    whole = all((run.path / f"{part}.parquet").exists() for part in parts)
    if not run.done or (whole and run.record.combined == list(run.done)):
        return run
    found = {
        part: [Predictions.read(run.path / "folds" / fold / f"{part}.parquet", job.classes) for fold in run.done]
        for part in parts
    }
    if tests := found.get("test"):
        mean = np.mean([test.aligned(tests[0].ids) for test in tests], axis=0)
        Predictions(tests[0].ids, mean).write(run.path / "test.parquet", job.classes)
    oofs = found.get("oof")
    if not oofs:
        return run.with_record(combined=list(run.done))
    oof = Predictions(tuple(id for o in oofs for id in o.ids), np.concatenate([o.probabilities for o in oofs]))
    oof.write(run.path / "oof.parquet", job.classes)
    label = dict(zip(job.manifest["id"], job.manifest["label"].to_list(), strict=True))
    targets = encode_labels([label[id] for id in oof.ids], job.classes, job.task)
    metrics = {metric: score(metric, targets, oof.probabilities) for metric in fitting_metrics(job.task)}
    return run.with_record(combined=list(run.done), metrics=metrics)  # last: what it says is on disk


def _stored_features(job: _Job, folds: Sequence[str], workers: int, events: RunEvents) -> dict[str, Stored]:
    """The recipe's features as each fold reads them, built where the store lacks them."""
    workspace, store = job.workspace, job.workspace.store()
    of_fold = for_folds(list(job.features.values()), job.manifest, workspace.data_root, folds)
    wanted = [feature for features in of_fold.values() for feature in features]
    reports = build_features(
        job.manifest, workspace.data_root, store, wanted, workers=workers, on_progress=events.on_build
    )
    events.on_built(reports)
    workspace.remember_features([job.recipe.name] if job.recipe.named else [])
    opened = {feature.key: store[feature.key] for feature in wanted}
    return {
        fold: dict(zip(job.features, (opened[feature.key] for feature in features), strict=True))
        for fold, features in of_fold.items()
    }


def _save_model(model: Any, folder: Path) -> None:
    """Store a torch model's weights with safetensors, a scikit-learn model with skops: neither runs code when read."""
    if _is_torch(model):
        from acoustic_kit.training import save_tensors

        save_tensors(folder / "model.safetensors", model.state_dict())
    else:
        import skops.io

        skops.io.dump(model, folder / "model.skops")


def _is_torch(model: Any) -> bool:
    torch = sys.modules.get("torch")  # a model of torch's cannot be there without it
    return torch is not None and isinstance(model, torch.nn.Module)


def _device_of(model: Any) -> tuple[str, str]:
    """Where a model was trained, and in which precision."""
    if not _is_torch(model):
        return "cpu", "float64"
    from acoustic_kit.training import make_fabric

    device = next(model.parameters()).device
    return device.type, str(make_fabric(device.type).strategy.precision.precision)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder of a run, made where it is missing, for this process alone; the lock goes with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = f"{folder.name} is being trained by another process; wait until it has finished."
            raise AkitError(text) from None
        yield
    finally:
        os.close(descriptor)


def fold_seed(seed: int, fold: str) -> int:
    """A seed for one fold of one run, 31 bits."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{fold}".encode()).digest()[:4], "little") >> 1


def _wanted_folds(folds: Sequence[str] | None, known: list[str]) -> list[str]:
    unknown = sorted(set(folds or ()) - set(known))
    if unknown:
        raise UsageError(f"There is no fold {', '.join(unknown)} to train: the folds are {', '.join(known)}.")
    return [fold for fold in known if folds is None or fold in folds]


def _open_or_create(job: _Job, note: str, fresh: bool) -> Run:
    path = job.workspace.runs_path / job.name
    if fresh:
        (path / RECORD_NAME).unlink(missing_ok=True)  # first, so that a deletion cut short leaves no run
    for leftover in path.iterdir() if fresh else path.glob(".*.tmp"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    if (path / RECORD_NAME).exists():
        run = open_run(path)
        return run.with_record(note=note) if note else run
    (path / "recipe.py").write_text(job.recipe.source, "utf-8")
    settings, defaults = (s.model_dump(mode="json") for s in (job.settings, job.recipe.settings()))
    record = RunRecord(
        name=job.name,
        recipe=job.recipe.name,
        title=job.recipe.title,
        settings=settings,
        changed={key: value for key, value in settings.items() if value != defaults[key]},
        seed=job.seed,
        fast=job.fast,
        full=job.full,
        note=note,
        task=job.task,
        classes=list(job.classes),
        features={alias: feature.key for alias, feature in job.features.items()},
        folds=job.folds,
        versions={package: metadata.version(package) for package in RECORDED_PACKAGES},
        akit=__version__,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    return Run(path, record).with_record()


def _fast_manifest(manifest: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """The clips of the recipe's small form: the first of each class in each of the first folds, and some test clips."""
    import polars as pl

    fast = recipe.fast
    if fast.folds is not None:
        first = manifest["fold"].drop_nulls().unique().sort().head(fast.folds).to_list()
        manifest = manifest.filter(pl.col("fold").is_null() | pl.col("fold").is_in(first))
    if fast.clips_per_class is None:
        return manifest
    n_classes = manifest["label"].explode().drop_nulls().n_unique()
    limit = pl.when(pl.col("split") == "test").then(fast.clips_per_class * n_classes).otherwise(fast.clips_per_class)
    return manifest.filter(pl.int_range(pl.len()).over("split", "fold", "label") < limit)
