"""Make a workspace of a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from acoustic_kit.data.dataset import CsvOptions, Dataset
from acoustic_kit.dsp.sound_file import Mono
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.files import write_atomically
from acoustic_kit.tables import write_parquet
from acoustic_kit.workspace.config import CONFIG_NAME, Config, config_text
from acoustic_kit.workspace.workspace import Workspace


def init_workspace(
    root: Path,
    data: Path,
    *,
    layout: str = "auto",
    metric: str = "f1",
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
    """Make a workspace of a data set: read it, look at every clip, and write the manifest and, last, `akit.toml`.

    Parameters are those of `akit init`; `n_folds` and `fold_seed` are 5 and 0 where None. `on_note` hears what the user
    should know of the data set, a line at a time.

    Raises
    ------
    UsageError : `root` already is a workspace, or the metric or the folds make no sense
    AkitError : the data set cannot be read

    """
    from acoustic_kit.data import CsvOptions, make_manifest, read_dataset
    from acoustic_kit.workspace.init_options import InitOptions, given_options

    if str(data).startswith("s3:/"):
        raise UsageError(
            f"{data} cannot be looked at clip by clip. Make the workspace of a local copy, then say in its akit.toml "
            'where the clips lie: data = "s3://bucket/path".'
        )
    if (root / CONFIG_NAME).exists():
        raise UsageError(f"{root} already is a workspace. Choose another folder, or delete that one to make it anew.")
    dataset = read_dataset(data, layout, options or CsvOptions())
    _check_before_work(dataset, metric)
    for note in dataset.notes:
        on_note(note)
    manifest, truth = make_manifest(
        dataset,
        test_folds=test_folds,
        n_folds=n_folds or 5,
        fold_seed=fold_seed or 0,
        unofficial=unofficial,
        n_folds_given=n_folds is not None or fold_seed is not None,
        extra=read_dataset(extra) if extra else None,
        mono=mono,
        on_progress=on_progress,
    )
    config = Config(
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
    root.mkdir(parents=True, exist_ok=True)
    workspace = Workspace(root.resolve(), config)
    write_parquet(workspace.manifest_path, manifest)
    workspace.truth_path.unlink(missing_ok=True)
    if len(truth):
        write_parquet(workspace.truth_path, truth)
    made_with = InitOptions(
        test_folds=list(test_folds),
        unofficial=unofficial,
        extra=str(extra.resolve()) if extra else None,
        options=given_options(options or CsvOptions(), data),
    )
    made_with.write(root)
    write_atomically(root / CONFIG_NAME, config_text(config))
    return workspace


def _check_before_work(dataset: Dataset, metric: str) -> None:
    """Raise what would otherwise be noticed after hours: a metric, a class name or a template that does not fit."""
    from acoustic_kit.metrics.scores import validate_metric
    from acoustic_kit.submission.submission import read_template

    validate_metric(metric, dataset.task)
    if "id" in dataset.classes:
        raise AkitError("A class is called 'id', as is the column of clip ids. Give it another name.")
    if dataset.template:
        read_template(dataset.template, dataset.classes)


def _stored_path(path: Path, root: Path) -> str:
    """How `akit.toml` names a path: relative where it lies in the workspace (they move together), else absolute."""
    path, root = path.resolve(), root.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
