"""A run while its folds are trained: this process holds its folder, and puts in order what is done."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

import numpy as np

from acoustic_kit import __version__
from acoustic_kit.data.targets import clip_targets, label_digest
from acoustic_kit.errors import AkitError
from acoustic_kit.files import file_sha256, locked, write_atomically
from acoustic_kit.metrics.scores import all_scores
from acoustic_kit.recipe.job import Job, being_trained
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.recipe.recipe import flat_settings
from acoustic_kit.recipe.recipe_file import source_digest
from acoustic_kit.runs import remote_runs
from acoustic_kit.runs.run import FOLD_RECORD_NAME, RECORD_NAME, Run, RunRecord, open_run, remove_leftovers

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


@dataclass
class HeldRun:
    """A run that nobody else trains, see `holding`."""

    job: Job
    run: Run
    todo: list[str]  # the wanted folds that are not done
    push: Callable[[], None]  # puts what is new where runs lie on S3

    def settle(self) -> Run:
        """The run with all folds that are done: their predictions combined, their checkpoints dropped."""
        self.run = _combined(self.run, self.job)
        _drop_checkpoints(self.run)
        self.push()
        return self.run


@contextmanager
def holding(job: Job, wanted: Collection[str], note: str = "", *, fresh: bool = False) -> Iterator[HeldRun]:
    """The run of a job, made where it is missing, held for this process alone.

    - `wanted`: names of folds
    - `note`: replaces the run's, where given
    - `fresh`: what there is of it is deleted first

    Raises AkitError where another process trains it.
    """
    with (
        locked(job.workspace.runs_path / job.name, being_trained(job.name)),
        remote_runs.in_step(job.workspace, job.name, fresh) as push,
    ):
        run = _open_or_create(job, wanted, note, fresh)
        try:
            yield HeldRun(job, run, [fold for fold in run.missing_folds if fold in wanted], push)
        except BaseException:
            if not any(run.path.glob(f"folds/*/{FOLD_RECORD_NAME}")) and not any(run.path.glob("checkpoints/*/*/*")):
                shutil.rmtree(run.path, ignore_errors=True)  # there is nothing that another attempt could go on from
            raise


def _open_or_create(job: Job, wanted: Collection[str], note: str, fresh: bool) -> Run:
    path = job.workspace.runs_path / job.name
    remove_leftovers(path.parent)
    if fresh:
        (path / RECORD_NAME).unlink(missing_ok=True)  # first, so that a deletion cut short leaves no run
    for leftover in path.iterdir() if fresh else path.glob(".*.tmp"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    if (path / RECORD_NAME).exists():
        run = open_run(path)
        asked = set(run.record.asked or run.record.folds) | set(wanted)
        changes = {"note": note or run.record.note, "asked": [fold for fold in run.record.folds if fold in asked]}
        return run if changes == {name: getattr(run.record, name) for name in changes} else run.with_record(**changes)
    write_atomically(path / "recipe.py", job.recipe.source)
    for relative, text in job.recipe.file.helpers if job.recipe.file else ():
        write_atomically(path / relative, text)
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
        helpers=job.recipe.helpers,
        class_indices=list(config.classes.values()),
        metric=config.metric,
        label_separator=config.label_separator,
        labels=label_digest(job.workspace.manifest),
        folds=job.folds,
        asked=[fold for fold in job.folds if fold in wanted],
        versions={package: metadata.version(package) for package in RECORDED_PACKAGES},
        akit=__version__,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    return Run(path, record).with_record()


def _drop_checkpoints(run: Run) -> None:
    """Delete what only a fold in training needs."""
    folder = run.path / "checkpoints"
    for fold in run.done:
        shutil.rmtree(folder / fold, ignore_errors=True)
    with suppress(OSError):  # other folds are in training
        folder.rmdir()


def _combined(run: Run, job: Job) -> Run:
    """Write the run's predictions, and its metrics, anew where they are not of the folds that are done."""
    run = Run(run.path, run.record)  # looks again at what is done
    parts: list[Literal["oof", "test"]] = [] if run.record.full else ["oof"]
    parts += ["test"] if (job.manifest["split"] == "test").any() else []
    whole = all((run.path / f"{part}.parquet").exists() for part in parts)
    combined_from = {fold: file_sha256(run.path / "folds" / fold / FOLD_RECORD_NAME) for fold in run.done}
    if not run.done or (whole and run.record.combined_from == combined_from):
        return run
    found = {part: [_of_fold(run, fold, part) for fold in run.done] for part in parts}
    run, files, metrics = run.with_record(files={}), {}, run.record.metrics  # no digests while files are replaced
    if tests := found.get("test"):
        mean = np.mean([test.aligned(tests[0].ids) for test in tests], axis=0)
        files["test.parquet"] = Predictions(tests[0].ids, mean).write(run.path / "test.parquet", job.classes)
    if oofs := found.get("oof"):
        oof = Predictions(tuple(id for o in oofs for id in o.ids), np.concatenate([o.probabilities for o in oofs]))
        files["oof.parquet"] = oof.write(run.path / "oof.parquet", job.classes)
        metrics = all_scores(clip_targets(job.manifest, oof.ids, job.workspace.task_spec), oof.probabilities)
    # last: what it says is on disk
    return run.with_record(combined=list(run.done), combined_from=combined_from, files=files, metrics=metrics)


def _of_fold(run: Run, fold: str, part: Literal["oof", "test"]) -> Predictions:
    found = run.predictions(part, run.record.classes, fold)
    if found is None:
        raise AkitError(
            f"{run.path / 'folds' / fold} lacks {part}.parquet. Delete the folder and run the recipe again."
        )
    return found
