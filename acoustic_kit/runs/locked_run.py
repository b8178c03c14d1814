"""A run while its folds are trained: its folder is locked, and finished folds are combined."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata

from acoustic_kit import __version__
from acoustic_kit.data.targets import label_digest
from acoustic_kit.files import locked, write_atomically
from acoustic_kit.recipe.job import Job, being_trained
from acoustic_kit.recipe.recipe_file import source_digest
from acoustic_kit.recipe.settings import flat_settings
from acoustic_kit.runs import remote_runs
from acoustic_kit.runs.combined import CombinedFolds
from acoustic_kit.runs.run import FOLD_RECORD_NAME, RECORD_NAME, Run, RunRecord, open_run, remove_leftovers
from acoustic_kit.workspace.init_options import read_init_options

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
class LockedRun:
    """A run that only this process trains, see `lock_run`."""

    job: Job
    run: Run
    todo: list[str]  # requested folds that are not done
    combined: CombinedFolds
    push: Callable[[], None]  # uploads what is new if runs are stored on S3

    def finalize(self) -> Run:
        """Combine the predictions of all folds that are done, delete their checkpoints, and return the run."""
        self.run = self.combined.update(self.run)
        _drop_checkpoints(self.run)
        self.push()
        return self.run


@contextmanager
def lock_run(job: Job, wanted: Collection[str], note: str = "", *, fresh: bool = False) -> Iterator[LockedRun]:
    """Lock the run of a job for this process, and create it if it is missing.

    - `wanted`: names of folds
    - `note`: replaces the run's, if given
    - `fresh`: delete what exists of the run first

    Raises AkitError if another process trains it.
    """
    with (
        locked(job.workspace.runs_path / job.name, being_trained(job.name)),
        remote_runs.synchronized(job.workspace, job.name, fresh) as push,
    ):
        run = _open_or_create(job, wanted, note, fresh)
        try:
            todo = [fold for fold in run.missing_folds if fold in wanted]
            yield LockedRun(job, run, todo, CombinedFolds(job), push)
        except BaseException:
            if not any(run.path.glob(f"folds/*/{FOLD_RECORD_NAME}")) and not any(run.path.glob("checkpoints/*/*/*")):
                shutil.rmtree(run.path, ignore_errors=True)  # nothing that another attempt could resume from
            raise


def _open_or_create(job: Job, wanted: Collection[str], note: str, fresh: bool) -> Run:
    path = job.workspace.runs_path / job.name
    remove_leftovers(path.parent)
    if fresh:
        (path / RECORD_NAME).unlink(missing_ok=True)  # first, so that an interrupted deletion leaves no run
    for leftover in path.iterdir() if fresh else path.glob(".*.tmp"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    if (path / RECORD_NAME).exists():
        run = open_run(path)
        asked = set(run.record.asked or run.record.folds) | set(wanted)
        changes = {"note": note or run.record.note, "asked": [fold for fold in run.record.folds if fold in asked]}
        return run if changes == {name: getattr(run.record, name) for name in changes} else run.with_record(**changes)
    file = job.recipe.file
    for relative, text in (("recipe.py", file.source), *file.helpers):
        write_atomically(path / relative, text)
    settings, config = flat_settings(job.settings), job.workspace.config
    options = read_init_options(job.workspace.root)
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
        task=config.task,
        classes=list(config.classes),
        features={alias: feature.key for alias, feature in job.features.items()},
        parameters={alias: feature.parameters() for alias, feature in job.features.items()},
        backbone=job.recipe.backbone(job.settings),
        recipe_sha256=source_digest(file.source),
        helpers=file.helper_digests,
        class_indices=list(config.classes.values()),
        metric=config.metric,
        label_separator=config.label_separator,
        windows=options.windows if options else None,
        labels=label_digest(job.workspace.manifest),
        folds=job.folds,
        asked=[fold for fold in job.folds if fold in wanted],
        pseudo=job.pseudo.record() if job.pseudo else None,
        versions={package: metadata.version(package) for package in RECORDED_PACKAGES},
        akit=__version__,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    return Run(path, record).with_record()


def _drop_checkpoints(run: Run) -> None:
    """Delete the checkpoints of finished folds."""
    folder = run.path / "checkpoints"
    for fold in run.done:
        shutil.rmtree(folder / fold, ignore_errors=True)
    with suppress(OSError):  # other folds are in training
        folder.rmdir()
