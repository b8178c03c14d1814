"""The runner: one recipe over the folds of a manifest. It owns folds, files and the averaging of predictions."""

from __future__ import annotations

import datetime
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from acoustic_kit import __version__, remote_runs
from acoustic_kit.atomic_write import replacing, write_atomically
from acoustic_kit.compute import AUTO, Compute
from acoustic_kit.errors import UsageError
from acoustic_kit.features.learnt import save_learnt
from acoustic_kit.fold import Fold, clip_targets, training_rows
from acoustic_kit.folder_lock import locked
from acoustic_kit.job import (
    SILENT,
    Job,
    RunEvents,
    being_trained,
    class_frequencies,
    fast_manifest,
    fit_fold,
    open_features,
    predict_rows,
    stored_features,
    trained_on,
    wanted_folds,
)
from acoustic_kit.metrics import all_scores
from acoustic_kit.recipe import Recipe, Settings, flat_settings, source_digest
from acoustic_kit.runs import (
    FOLD_RECORD_NAME,
    RECORD_NAME,
    FoldRecord,
    Predictions,
    Run,
    RunRecord,
    new_fold,
    open_run,
)
from acoustic_kit.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from acoustic_kit.job import Stored

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
    compute: Compute = AUTO,
    events: RunEvents = SILENT,
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
    compute : device, precision and number of processes, for recipes that train with torch

    Returns the run, and whether anything was trained.

    Raises UsageError for a fold that does not exist or several processes for what is no network, AkitError for a recipe
    that breaks its contract, or a device that is not there.

    """
    if compute.devices > 1 and not recipe.has_network:
        raise UsageError(f"{recipe.name} trains no network: it takes no --devices {compute.devices}.")
    where = trained_on(recipe, compute)  # told before there is a run
    manifest = fast_manifest(workspace.manifest, recipe.fast) if fast else workspace.manifest
    job = Job(workspace, recipe, settings or recipe.settings(fast=fast), manifest, seed, fast, full)
    wanted = wanted_folds(folds, job.folds)
    with _processes(compute) as tell:
        if not compute.is_first:
            return _train_along(job, compute, tell)
        with (
            locked(workspace.runs_path / job.name, being_trained(job.name)),
            remote_runs.in_step(workspace, job.name, fresh) as push,
        ):
            run = open_or_create(job, note, fresh)
            todo = [fold for fold in run.missing_folds if fold in wanted]
            if todo and where:
                events.on_start(where)
            stored = stored_features(job, todo, workers, events, compute.device) if todo else {}
            tell(todo)
            for done, fold in enumerate(todo):
                events.on_fold(done, len(todo))
                _train_fold(run, job, stored[fold], fold, compute, events)
                run = combine(run, job)
                drop_checkpoints(run)
                push()
            events.on_fold(len(todo), len(todo))
            run = combine(run, job)
            drop_checkpoints(run)  # those, too, that a killed run left
            push()
            tell("done")
            return run, bool(todo)


Tell = Callable[[Any], Any]  # what the first process says → what all of them hear, when all have come so far


@contextmanager
def _processes(compute: Compute) -> Iterator[Tell]:
    """How the processes of a run speak to each other; where one fails in here, all end."""
    if compute.devices == 1:
        yield lambda said: said
        return
    from acoustic_kit.training.fabric import ending_together, make_fabric

    with ending_together():
        yield lambda said: make_fabric(compute).broadcast(said)  # the first call starts the others


def _train_along(job: Job, compute: Compute, tell: Tell) -> tuple[Run, bool]:
    """What the other processes do while the first trains a run: they train with it, and write nothing."""
    todo = tell(None)  # waits until features are built
    run = open_run(job.workspace.runs_path / job.name)
    stored = open_features(job, todo)
    for fold in todo:
        trained, model = fit_fold(job, fold, stored[fold], run.path / "checkpoints" / fold, compute)
        _fold_predictions(job, trained, model, stored[fold])
    tell(None)
    return open_run(run.path), bool(todo)


def _train_fold(run: Run, job: Job, stored: Stored, name: str, compute: Compute, events: RunEvents) -> None:
    """Train one fold and commit its model, predictions and record by renaming a finished folder into place."""
    began = time.monotonic()
    fold, model = fit_fold(job, name, stored, run.path / "checkpoints" / name, compute, events)
    with new_fold(run.path, name) as folder:
        store_fold(folder, job, fold, model, stored, began)


def store_fold(folder: Path, job: Job, fold: Fold, model: Any, stored: Stored, began: float) -> None:
    """Write a fold's model, predictions, logs and, last, its record."""
    _save_model(model, folder)
    save_learnt(folder, job.features, stored, job.workspace.store())
    without: list[str] = []
    for part, (predictions, lacking) in _fold_predictions(job, fold, model, stored).items():
        predictions.write(folder / f"{part}.parquet", job.classes)
        without += lacking
    for log in fold.folder.glob("*/log.jsonl"):
        shutil.copyfile(log, folder / f"{log.parent.name}.jsonl")
    record = FoldRecord(
        seconds=time.monotonic() - began,
        trained_on=len(fold.train),
        without_features=without,
        frequencies=class_frequencies(fold).tolist(),
        n_parameters=sum(p.numel() for p in model.parameters()) if _is_torch(model) else None,
        optimistic=fold.optimistic,
        notes=fold.notes,
        **(_used(fold.compute) if _is_torch(model) else {}),
    )
    write_atomically(folder / FOLD_RECORD_NAME, record.model_dump_json(indent=2) + "\n")


def _fold_predictions(job: Job, fold: Fold, model: Any, stored: Stored) -> dict[str, tuple[Predictions, list[str]]]:
    """A fold model's predictions, of `oof` and `test` clips where there are any, and the ids that lack features."""
    import polars as pl

    _, valid = training_rows(job.manifest, fold.name)
    rows = {"oof": valid, "test": job.manifest.filter(pl.col("split") == "test")}
    return {part: predict_rows(job, fold, model, of_part, stored) for part, of_part in rows.items() if len(of_part)}


def drop_checkpoints(run: Run) -> None:
    """Delete what only a fold in training needs."""
    folder = run.path / "checkpoints"
    for fold in run.done:
        shutil.rmtree(folder / fold, ignore_errors=True)
    with suppress(OSError):  # other folds are in training
        folder.rmdir()


def combine(run: Run, job: Job) -> Run:
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
    metrics = all_scores(clip_targets(job.manifest, oof.ids, job.classes, job.task), oof.probabilities)
    return run.with_record(combined=list(run.done), metrics=metrics)  # last: what it says is on disk


def _save_model(model: Any, folder: Path) -> None:
    """Store a torch model's weights with safetensors, a scikit-learn model with skops: neither runs code when read."""
    if _is_torch(model):
        from acoustic_kit.training import save_tensors

        save_tensors(folder / "model.safetensors", model.state_dict())
    else:
        import skops.io

        with replacing(folder / "model.skops") as temporary:
            skops.io.dump(model, temporary)


def _is_torch(model: Any) -> bool:
    torch = sys.modules.get("torch")  # a model of torch's cannot be there without it
    return torch is not None and isinstance(model, torch.nn.Module)


def _used(compute: Compute) -> dict[str, Any]:
    """What a network was trained on, as its fold's record has it."""
    from acoustic_kit.training.fabric import gpu_name, make_fabric

    fabric = make_fabric(compute)
    return {
        "device": fabric.device.type,
        "gpu": gpu_name(fabric),
        "precision": str(fabric.strategy.precision.precision),
        "processes": fabric.world_size,
    }


def open_or_create(job: Job, note: str, fresh: bool) -> Run:
    """The run of a job, made where it is missing; call it with the run's folder locked."""
    path = job.workspace.runs_path / job.name
    if fresh:
        (path / RECORD_NAME).unlink(missing_ok=True)  # first, so that a deletion cut short leaves no run
    for leftover in path.iterdir() if fresh else path.glob(".*.tmp"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    if (path / RECORD_NAME).exists():
        run = open_run(path)
        return run.with_record(note=note) if note else run
    write_atomically(path / "recipe.py", job.recipe.source)
    settings, config = flat_settings(job.settings), job.workspace.config
    defaults = flat_settings(job.recipe.settings(fast=job.fast))
    record = RunRecord(
        name=job.name,
        setting=job.setting,
        recipe=job.recipe.name,
        title=job.recipe.title,
        settings=job.settings.model_dump(mode="json"),
        changed={key: value for key, value in settings.items() if value != defaults[key]},
        seed=job.seed,
        fast=job.fast,
        full=job.full,
        note=note,
        task=job.task,
        classes=list(job.classes),
        features={alias: feature.key for alias, feature in job.features.items()},
        parameters={alias: feature.parameters() for alias, feature in job.features.items()},
        backbone=job.recipe.backbone(job.settings),
        recipe_sha256=source_digest(job.recipe.source),
        class_indices=list(config.classes.values()),
        metric=config.metric,
        label_separator=config.label_separator,
        folds=job.folds,
        versions={package: metadata.version(package) for package in RECORDED_PACKAGES},
        akit=__version__,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    return Run(path, record).with_record()
