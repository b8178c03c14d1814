"""Labels of the training clips of a run, in its folder: blends of runs are estimated without a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acoustic_kit.data.targets import TrainingSet
from acoustic_kit.errors import RunError
from acoustic_kit.tables import read_parquet, write_parquet
from acoustic_kit.workspace.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from acoustic_kit.runs.run import Run
    from acoustic_kit.task import TaskSpec

LABELS_NAME = "labels.parquet"
_COLUMNS = ("id", "path", "start", "label", "soft", "fold", "group", "content")  # of the manifest


def write_labels(run: Run, manifest: pl.DataFrame) -> None:
    """Write the labels, folds and groups of the training clips into a run's folder."""
    train = manifest.filter(manifest["split"] == "train")
    write_parquet(run.path / LABELS_NAME, train.select(_COLUMNS))


def labeled_clips(run: Run, task_spec: TaskSpec) -> TrainingSet | None:
    """Return the training clips of a run: those of the workspace that has it, else those in its folder; None if none.

    Raises RunError if the file in its folder is damaged.
    """
    workspace = Workspace.around(run.path)
    if workspace is not None and run.path.parent.resolve() == workspace.runs_path.resolve():
        return TrainingSet(workspace.training_set.rows, task_spec)
    path = run.path / LABELS_NAME
    if not path.is_file():
        return None
    try:
        return TrainingSet(read_parquet(path, _COLUMNS), task_spec)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error}. Copy it from the run's workspace again.") from error
