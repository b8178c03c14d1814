"""Create a workspace for a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.data.dataset import CsvOptions, Dataset
from acoustic_kit.dsp.sound_file import Mono
from acoustic_kit.errors import DataError, UsageError
from acoustic_kit.files import write_atomically
from acoustic_kit.tables import write_parquet
from acoustic_kit.workspace.config import CONFIG_NAME, OWN_METRICS, Config, config_text, with_own_metrics
from acoustic_kit.workspace.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from acoustic_kit.workspace.init_options import InitOptions


def init_workspace(
    root: Path,
    data: Path,
    *,
    layout: str = "auto",
    metric: str | None = None,
    test_folds: Sequence[int] = (),
    n_folds: int | None = None,
    fold_seed: int | None = None,
    unofficial: bool = False,
    extra: Path | None = None,
    options: CsvOptions | None = None,
    mono: Mono = "mean",
    on_progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> Workspace:
    """Create a workspace for a data set: read it, scan every clip, and write the manifest and, last, `akit.toml`.

    Parameters
    ----------
    root : folder of the workspace, created if missing
    data : folder of the data set
    layout : one of `LAYOUTS`, or "auto"
    metric : default metric of the workspace; None is that of the competition, if the layout is of one, else f1
    test_folds, n_folds, fold_seed, unofficial, mono, on_progress : see `make_manifest`
    extra : folder of another data set, or of audio files without labels; its clips are added as `split` "extra"
    options : columns, files and clips to read if guesses are not enough
    on_note : called with each note about the data set, one line

    Raises
    ------
    UsageError : `root` already is a workspace, or the metric or the folds are invalid
    DataError : the data set cannot be read
    SubmissionError : the data set's template does not fit its classes

    """
    from acoustic_kit.data import CsvOptions, make_manifest
    from acoustic_kit.data.extra import read_with_extra
    from acoustic_kit.metrics.names import MetricName
    from acoustic_kit.workspace.init_options import InitOptions, given_options

    _check_folders(root, data)
    options = options or CsvOptions()
    dataset, others = read_with_extra(data, layout, options, extra)
    for note in (*dataset.notes, *(others.notes if others else ())):
        on_note(note)
    metric = MetricName(dataset.metric if metric is None else metric, root.resolve() / OWN_METRICS)
    _check_dataset(dataset, metric)
    manifest, truth = make_manifest(
        dataset,
        test_folds=test_folds,
        n_folds=n_folds,
        fold_seed=fold_seed,
        unofficial=unofficial,
        extra=others,
        mono=mono,
        on_progress=on_progress,
    )
    init_options = InitOptions(
        test_folds=list(test_folds),
        unofficial=unofficial,
        extra=str(extra.resolve()) if extra else None,
        windows=options.windows,
        options=given_options(options, data),
    )
    root.mkdir(parents=True, exist_ok=True)
    workspace = Workspace(root.resolve(), with_own_metrics(_config(root, dataset, metric, mono), root.resolve()))
    _write(workspace, manifest, truth, init_options)
    return workspace


def _check_folders(root: Path, data: Path) -> None:
    """Raise UsageError if the data is on S3 or `root` already is a workspace."""
    if str(data).startswith("s3:/"):
        raise UsageError(
            f"{data} cannot be scanned clip by clip. Create the workspace from a local copy, then set the place of the "
            'clips in its akit.toml: data = "s3://bucket/path".'
        )
    if (root / CONFIG_NAME).exists():
        raise UsageError(f"{root} already is a workspace. Choose another folder, or delete that one first.")


def _check_dataset(dataset: Dataset, metric: str) -> None:
    """Raise AkitError for a metric, a class name or a template that does not fit, before the clips are scanned."""
    from acoustic_kit.metrics.names import validate_metric
    from acoustic_kit.submission.submission import read_template

    validate_metric(metric, dataset.task)
    if "id" in dataset.classes:
        raise DataError("A class is called 'id', as is the column of clip ids. Rename the class.")
    if dataset.template:
        read_template(dataset.template, dataset.classes)


def _config(root: Path, dataset: Dataset, metric: str, mono: Mono) -> Config:
    return Config(
        data=_stored_path(dataset.root, root),
        layout=dataset.layout,
        task=dataset.task,
        metric=metric,
        features=("stats",),
        template=_stored_path(dataset.template, root) if dataset.template else None,
        label_separator=dataset.label_separator,
        mono=mono,
        classes=dataset.classes,
    )


def _write(workspace: Workspace, manifest: pl.DataFrame, truth: pl.DataFrame, init_options: InitOptions) -> None:
    """Write the files of a new workspace, `akit.toml` last: without it, the folder is no workspace."""
    write_parquet(workspace.manifest_path, manifest)
    workspace.truth_path.unlink(missing_ok=True)
    if len(truth):
        write_parquet(workspace.truth_path, truth)
    init_options.write(workspace.root)
    write_atomically(workspace.root / CONFIG_NAME, config_text(workspace.config))


def _stored_path(path: Path, root: Path) -> str:
    """Return a path as `akit.toml` stores it: relative if it is in the workspace (both move), else absolute."""
    path, root = path.resolve(), root.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
