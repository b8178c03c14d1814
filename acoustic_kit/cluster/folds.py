"""Training on a cluster: each fold of each run is a task, which returns the finished folder."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoustic_kit.cluster.connection import Cluster, Send
from acoustic_kit.cluster.feature_jobs import ClusterExecutor
from acoustic_kit.device import AUTO, Compute, require_one_process
from acoustic_kit.errors import AkitError, RunError
from acoustic_kit.files import replacing
from acoustic_kit.recipe.job import SILENT, Job, RunEvents, fit_fold, stored_features, wanted_folds
from acoustic_kit.recipe.pseudo import PREDICTIONS_NAME, PseudoLabels
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.recipe.recipe_file import RecipeFile
from acoustic_kit.runs import remote_runs
from acoustic_kit.runs.locked_run import LockedRun, lock_run
from acoustic_kit.runs.remote_runs import RemoteCheckpoints, push_fold
from acoustic_kit.runs.run import Run, new_fold, open_run
from acoustic_kit.runs.runner import check_teacher, predict_pseudo_labels, store_fold
from acoustic_kit.workspace.config import Config
from acoustic_kit.workspace.workspace import Workspace

if TYPE_CHECKING:
    from acoustic_kit.recipe.job import Stored

_FILE_COLUMNS = ("size", "mtime_ns")  # columns of the manifest that training does not read


@dataclass(frozen=True)
class FoldTask:
    """Everything that a worker needs to train one fold; picklable."""

    run: str  # its name
    created: str  # distinguishes runs of one name
    fold: str
    recipe: str  # its name
    file: RecipeFile  # the recipe's source, with the modules that it imports from its folder
    settings: dict[str, Any]
    has_network: bool
    config: Config  # with absolute locations of data root and store
    manifest: bytes  # the rows, as parquet
    features: dict[str, str]  # the recipe's name of a feature → its key for this fold
    seed: int
    fast: bool
    full: bool
    pseudo: PseudoLabels | None  # without its teacher
    predictions: bytes | None  # of the teacher, as parquet
    compute: Compute
    run_folder: Path  # on the client

    @property
    def is_remote(self) -> bool:
        """Whether runs are stored on S3."""
        return "://" in self.config.runs


def run_on_cluster(
    jobs: Sequence[Job],
    cluster: Cluster,
    *,
    folds: Sequence[str] | None = None,
    note: str = "",
    fresh: bool = False,
    compute: Compute = AUTO,
    events: RunEvents = SILENT,
) -> list[tuple[Run, bool]]:
    """Build features and train folds on a cluster, all folds of all jobs at once; parameters as for `run_job`.

    A fold whose worker dies is trained by another one: from its last epoch if both have access to the workspace's
    folder, else from the start. One that fails does not stop the others.

    Returns each run, and whether anything of it was trained.

    Raises UsageError for a fold that does not exist or if torchrun started several processes, RunError if folds failed.

    """
    require_one_process("A cluster's client")
    with ExitStack() as locks:
        running: dict[str, LockedRun] = {}
        for job in jobs:
            if job.name not in running:
                names = wanted_folds(folds, job.folds)
                running[job.name] = locks.enter_context(lock_run(job, names, note, fresh=fresh))
        tasks = [task for one in running.values() for task in _tasks(one, cluster, compute, events)]
        _train(running, tasks, cluster, events)
        return [(one.finalize(), bool(one.todo)) for one in running.values()]


def _tasks(one: LockedRun, cluster: Cluster, compute: Compute, events: RunEvents) -> list[FoldTask]:
    """Build the features that a run reads, and return the tasks of its folds."""
    if not one.todo:
        return []
    job, workspace = one.job, one.job.workspace
    check_teacher(job, one.todo)
    stored = stored_features(job, one.todo, 0, events, compute.device, ClusterExecutor(cluster))
    predict_pseudo_labels(job, one.todo, one.run.path, 0, AUTO, events)
    pseudo = None if job.pseudo is None else replace(job.pseudo, teacher=None)
    config = workspace.config.model_copy(update={"data": str(workspace.data_root), "store": workspace.store().url})
    manifest = io.BytesIO()
    job.manifest.drop(_FILE_COLUMNS, strict=False).write_parquet(manifest)
    return [
        FoldTask(
            run=job.name,
            created=one.run.record.created,
            fold=fold,
            recipe=job.recipe.name,
            file=job.recipe.file,
            settings=job.settings.model_dump(mode="json"),
            has_network=job.recipe.has_network,
            config=config,
            manifest=manifest.getvalue(),
            features={alias: feature.key for alias, feature in stored[fold].items()},
            seed=job.seed,
            fast=job.fast,
            full=job.full,
            pseudo=pseudo,
            predictions=(one.run.path / "checkpoints" / fold / PREDICTIONS_NAME).read_bytes() if pseudo else None,
            compute=compute,
            run_folder=one.run.path,
        )
        for fold in one.todo
    ]


def _store_result(one: LockedRun, fold: str, files: Mapping[str, bytes] | None) -> None:
    """Store the folder of a finished fold; None: its worker has uploaded it to S3."""
    if files is None:
        remote_runs.pull(one.job.workspace, one.job.name)
    else:
        with new_fold(one.run.path, fold) as folder:
            for name, content in files.items():
                with replacing(folder / Path(name).name) as temporary:
                    temporary.write_bytes(content)
    one.finalize()


def _train(running: Mapping[str, LockedRun], tasks: Sequence[FoldTask], cluster: Cluster, events: RunEvents) -> None:
    """Train all folds of all runs. Raises RunError at the end if some failed."""
    if not tasks:
        return
    events.on_start(f"the workers of {cluster.address}")
    events.on_fold(0, len(tasks))
    done, failures = 0, list[tuple[FoldTask, Exception]]()
    on_message = _on_epoch(events, several=len(running) > 1)
    with closing(cluster.run(train_fold, tasks, gpu=lambda task: task.has_network, on_message=on_message)) as outcomes:
        for task, outcome in outcomes:
            if isinstance(outcome, Exception):
                failures.append((task, outcome))
                continue
            _store_result(running[task.run], task.fold, outcome)
            done += 1
            events.on_fold(done, len(tasks))
    if failures:
        task, error = failures[0]
        why = str(error) if isinstance(error, AkitError | OSError) else f"{type(error).__name__}: {error}"
        raise RunError(
            f"{len(failures)} of {len(tasks)} folds failed, first fold {task.fold} of {task.run}: {why}\n"
            "The others are stored; run the same command to train the missing ones."
        ) from error


def _on_epoch(events: RunEvents, several: bool) -> Callable[[Any], None]:
    def on_message(message: Sequence[Any]) -> None:
        run, fold, stage, done, total, figures = message
        events.on_epoch(f"{fold} of {run}" if several else fold, stage, done, total, figures)

    return on_message


def train_fold(task: FoldTask, send: Send) -> dict[str, bytes] | None:
    """Train a fold on a worker. Return the files of its folder, by name; None if they were uploaded to S3."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="akit-fold-") as scratch:
        job, stored = _unpacked(task, Path(scratch))
        checkpoints, remote = _shared_checkpoints(task) or Path(scratch, "checkpoints"), None
        if task.is_remote:
            checkpoints = Path(scratch, "checkpoints")
            remote = RemoteCheckpoints(task.config.runs, task.run, task.fold, checkpoints)
            remote.pull()
        if task.predictions is not None:
            checkpoints.mkdir(parents=True, exist_ok=True)
            with replacing(checkpoints / PREDICTIONS_NAME) as temporary:
                temporary.write_bytes(task.predictions)

        def on_epoch(fold: str, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
            send([task.run, fold, stage, done, total, {name: float(value) for name, value in figures.items()}])
            if remote is not None:
                remote.push()

        fold, result = fit_fold(job, task.fold, stored, checkpoints, task.compute, RunEvents(on_epoch=on_epoch))
        folder = Path(scratch, "fold")
        folder.mkdir()
        store_fold(folder, job, fold, result, stored, began)
        if remote is None:
            return {path.name: path.read_bytes() for path in folder.iterdir()}
        push_fold(folder, task.config.runs, task.run, task.fold)
        return None


def _unpacked(task: FoldTask, scratch: Path) -> tuple[Job, Stored]:
    """Return the job of a task, and its features as the fold reads them."""
    import polars as pl

    file = task.file.write(scratch, task.file.path.name)
    recipe = replace(load_recipe(file.path, called=file.called), name=task.recipe)
    settings = recipe.settings_class.model_validate(task.settings)
    workspace = Workspace(scratch, task.config)
    manifest = pl.read_parquet(io.BytesIO(task.manifest))
    store = workspace.store()
    stored = {alias: store[key] for alias, key in task.features.items()}
    return Job(workspace, recipe, settings, manifest, task.seed, task.fast, task.full, pseudo=task.pseudo), stored


def _shared_checkpoints(task: FoldTask) -> Path | None:
    """Return the folder of checkpoints that workers share; None without access to the run's folder."""
    try:
        record = open_run(task.run_folder).record
    except AkitError:
        return None
    is_it = (record.name, record.created) == (task.run, task.created)
    return task.run_folder / "checkpoints" / task.fold if is_it else None
