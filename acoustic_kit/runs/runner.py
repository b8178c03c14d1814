"""The runner: trains a recipe on the folds of a manifest, and stores models, predictions and records as a run."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from acoustic_kit.data.clips import FitResult, Fold
from acoustic_kit.data.targets import clip_targets
from acoustic_kit.device import AUTO, Compute, gpu_name, is_first_process, n_processes, require_one_process
from acoustic_kit.features.learnt import save_learnt
from acoustic_kit.files import replacing, write_atomically
from acoustic_kit.recipe.inference import class_frequencies
from acoustic_kit.recipe.job import (
    SILENT,
    Job,
    RunEvents,
    device_in_words,
    fit_fold,
    make_job,
    open_features,
    predict_rows,
    stored_features,
    wanted_folds,
)
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.recipe.pseudo import PREDICTIONS_NAME
from acoustic_kit.recipe.recipe import Recipe
from acoustic_kit.recipe.settings import Settings
from acoustic_kit.runs.guessing import find_guessing
from acoustic_kit.runs.locked_run import lock_run
from acoustic_kit.runs.run import FOLD_RECORD_NAME, FoldRecord, Run, new_fold, open_run
from acoustic_kit.workspace.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from acoustic_kit.recipe.job import Stored


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
    """Check what a recipe needs, build its features, train its folds, predict all clips, and store the run.

    >>> run, trained = run_recipe(workspace, load_recipe("my_recipe"), folds=["1", "2"])

    Parameters
    ----------
    settings : None for the defaults, or for those of the small form if `fast`
    full : fit one model on all training clips instead: test predictions, no out-of-fold ones
    fast : the recipe's small form; pass its settings too (`recipe.settings(fast=True)`)
    folds, note, fresh, workers, compute, events : see `run_job`

    Returns the run, and whether anything was trained. Raises as `make_job` and `run_job` do.

    """
    settings = settings or recipe.settings(fast=fast)
    job = make_job(workspace, recipe, settings, seed, fast=fast, full=full)  # `run_job` checks the device
    return run_job(job, folds=folds, note=note, fresh=fresh, workers=workers, compute=compute, events=events)


def run_job(
    job: Job,
    *,
    folds: Sequence[str] | None = None,
    note: str = "",
    fresh: bool = False,
    workers: int = 0,
    compute: Compute = AUTO,
    events: RunEvents = SILENT,
) -> tuple[Run, bool]:
    """Build the features of a job, train its folds, predict out-of-fold and test clips, and store the run.

    A finished fold is not trained again, so that a stopped run resumes. Test predictions are the mean over the fold
    models. A clip whose features could not be computed is predicted with the class frequencies of the training clips.

    Parameters
    ----------
    folds : names of the folds to train; None for all of the job
    note : a remark stored with the run; empty keeps the stored one
    fresh : delete the run first if it exists
    workers : processes that compute features; 0 is this one
    compute : device and precision, for recipes that train with torch
    events : callbacks

    Returns
    -------
    The run, and whether anything was trained.

    Raises
    ------
    UsageError : a fold does not exist, or several processes for a recipe without a network
    RecipeError : the recipe breaks its contract
    AkitError : the device is missing, or another process trains the run

    """
    if not job.recipe.has_network:
        require_one_process(f"{job.recipe.name}, which trains no network,")
    where = device_in_words(job.recipe, compute)
    wanted = wanted_folds(folds, job.folds)
    with _processes(compute) as broadcast:
        if not is_first_process():
            return _train_along(job, compute, broadcast)
        with lock_run(job, wanted, note, fresh=fresh) as locked_run:
            todo = locked_run.todo
            if todo and where:
                events.on_start(where)
            check_teacher(job, todo)
            stored = stored_features(job, todo, workers, events, compute.device) if todo else {}
            predict_pseudo_labels(job, todo, locked_run.run.path, workers, compute, events)
            broadcast(todo)
            if todo:
                events.on_fold(0, len(todo))
            for done, fold in enumerate(todo, 1):
                _train_fold(locked_run.run, job, stored[fold], fold, compute, events)
                locked_run.finalize()
                events.on_fold(done, len(todo))
            run = locked_run.finalize()  # also what a killed run left
            broadcast(None)  # all files are written
            return run, bool(todo)


def check_teacher(job: Job, folds: Sequence[str]) -> None:
    """Raise RunError if a job's teacher was trained on what these folds hold out, or on what it would label."""
    if job.pseudo is None or job.pseudo.teacher is None:
        return
    for fold in folds:
        rows = job.rows[fold]
        unlabeled = job.pseudo.clips(job.manifest, rows)[1]
        job.pseudo.teacher.check(fold, rows.valid["id"].to_list(), unlabeled["id"].to_list())


def predict_pseudo_labels(
    job: Job, folds: Sequence[str], run: Path, workers: int, compute: Compute, events: RunEvents
) -> None:
    """Write what a job's teacher predicts for folds beside their checkpoints, unless a stopped run has written it."""
    import polars as pl

    if job.pseudo is None or job.pseudo.teacher is None:
        return
    for fold in folds:
        path = run / "checkpoints" / fold / PREDICTIONS_NAME
        if not path.exists():
            rows = pl.concat(job.pseudo.clips(job.manifest, job.rows[fold]))
            on_clips = partial(events.on_label, fold)
            found = job.pseudo.teacher.predict(fold, rows, compute, workers, events.on_build, on_clips)
            path.parent.mkdir(parents=True, exist_ok=True)
            found.write(path, job.workspace.task_spec.names)


Broadcast = Callable[[Any], Any]  # a value of the first process → the same value, in all processes


@contextmanager
def _processes(compute: Compute) -> Iterator[Broadcast]:
    """Connect the processes that train one run. Each waits in `broadcast` until all have called it."""
    if n_processes() == 1:
        yield lambda value: value
        return
    from acoustic_kit.training.fabric import make_fabric, naming_lost_process

    with naming_lost_process():
        yield lambda value: make_fabric(compute).broadcast(value)


def _train_along(job: Job, compute: Compute, broadcast: Broadcast) -> tuple[Run, bool]:
    """Train and predict together with the first process, which writes all files."""
    todo = broadcast(None)  # waits until features are built
    run = open_run(job.workspace.runs_path / job.name)
    stored = open_features(job, todo)
    for fold in todo:
        trained, result = fit_fold(job, fold, stored[fold], run.path / "checkpoints" / fold, compute)
        _fold_predictions(job, trained, result.model, stored[fold])
    broadcast(None)
    return open_run(run.path), bool(todo)


def _train_fold(run: Run, job: Job, stored: Stored, name: str, compute: Compute, events: RunEvents) -> None:
    """Train one fold and commit its model, predictions and record by renaming a finished folder into place."""
    began = time.monotonic()
    fold, result = fit_fold(job, name, stored, run.path / "checkpoints" / name, compute, events)
    with new_fold(run.path, name) as folder:
        store_fold(folder, job, fold, result, stored, began)


def store_fold(folder: Path, job: Job, fold: Fold, result: FitResult, stored: Stored, began: float) -> None:
    """Write a fold's model, predictions, logs and, last, its record.

    - `began`: `time.monotonic()` at the start of training
    """
    model = result.model
    _save_model(model, folder)
    save_learnt(folder, job.features, stored, job.workspace.store())
    without: list[str] = []
    warnings: list[str] = []
    files: dict[str, str] = {}
    for part, (predictions, lacking) in _fold_predictions(job, fold, model, stored).items():
        files[f"{part}.parquet"] = predictions.write(folder / f"{part}.parquet", job.workspace.task_spec.names)
        without += lacking
        targets = None if part == "test" else clip_targets(job.manifest, predictions.ids, job.workspace.task_spec)
        if found := find_guessing(fold.metric, targets, predictions.probabilities):
            warnings.append(f"fold {fold.name}, {part}: {found}")
    for log in fold.folder.glob("*/log.jsonl"):
        shutil.copyfile(log, folder / f"{log.parent.name}.jsonl")
    record = FoldRecord(
        seconds=time.monotonic() - began,
        trained_on=len(fold.train),
        pseudo_clips=int(fold.train.is_pseudo.sum()),
        without_features=without,
        frequencies=class_frequencies(fold).tolist(),
        n_parameters=sum(p.numel() for p in model.parameters()) if _is_torch(model) else None,
        bias_warnings=list(result.bias_warnings),
        warnings=warnings,
        notes=list(result.notes),
        files=files,
        **(_used(fold.compute) if _is_torch(model) else {}),
    )
    write_atomically(folder / FOLD_RECORD_NAME, record.to_json())


def _fold_predictions(job: Job, fold: Fold, model: Any, stored: Stored) -> dict[str, tuple[Predictions, list[str]]]:
    """Return a fold model's predictions of `oof` and of `test` clips, if any, and the ids that lack features."""
    import polars as pl

    rows = {"oof": job.rows[fold.name].valid, "test": job.manifest.filter(pl.col("split") == "test")}
    return {part: predict_rows(job, fold, model, of_part, stored) for part, of_part in rows.items() if len(of_part)}


def _save_model(model: Any, folder: Path) -> None:
    """Store a torch model's weights with safetensors, other models with skops; neither executes code when read."""
    if _is_torch(model):
        from acoustic_kit.training import save_tensors

        save_tensors(folder / "model.safetensors", model.state_dict())
    else:
        import skops.io

        with replacing(folder / "model.skops") as temporary:
            skops.io.dump(model, temporary)


def _is_torch(model: Any) -> bool:
    torch = sys.modules.get("torch")  # without the module there are no models of torch
    return torch is not None and isinstance(model, torch.nn.Module)


def _used(compute: Compute) -> dict[str, Any]:
    """Return the fields of a fold's record about device and precision."""
    from acoustic_kit.training.fabric import make_fabric

    fabric = make_fabric(compute)
    return {
        "device": fabric.device.type,
        "gpu": gpu_name(str(fabric.device)) if fabric.device.type == "cuda" else None,
        "precision": str(fabric.strategy.precision.precision),
        "processes": fabric.world_size,
    }
