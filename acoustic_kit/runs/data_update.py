"""Changes of a data set since `akit init`, and the update of the manifest; ids, folds and built features stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoustic_kit.data.changes import (
    Changes,
    find_changes,
    known_lengths,
    scan_changed,
    update_clips,
    with_equal_files_together,
)
from acoustic_kit.data.targets import label_digest
from acoustic_kit.errors import AkitError
from acoustic_kit.files import locked
from acoustic_kit.runs.run import list_runs
from acoustic_kit.tables import read_parquet, write_parquet
from acoustic_kit.workspace.init_options import INIT_NAME, InitOptions, read_init_options

if TYPE_CHECKING:
    import polars as pl

    from acoustic_kit.data import Dataset
    from acoustic_kit.workspace.workspace import Workspace

_UNKNOWN_FOLD = 0  # akit's own begin with 1


@dataclass(frozen=True)
class Update:
    """The changes that `update_data` applied."""

    changes: Changes
    changed_files: int  # known clips with a changed file
    new_classes: tuple[str, ...]


def changes_of(workspace: Workspace) -> Changes:
    """Compare the data set's current tables and folders with the manifest; no audio is opened.

    Raises AkitError if the data set cannot be read.
    """
    clips, _ = _clips(workspace, *_read_again(workspace))
    return find_changes(workspace.manifest, clips)


def describe_changes(workspace: Workspace) -> str:
    """Return what changed in the data set's tables and folders since the manifest was made, and what to do.

    Empty if nothing changed, the data set is not available, or `changes_of` may read it otherwise than `akit init` did.
    """
    where = workspace.data_root
    is_known = (workspace.root / INIT_NAME).exists() or workspace.config.layout != "csv"  # which alone had options
    if not (is_known and isinstance(where, Path) and where.is_dir()):
        return ""
    try:
        changes = changes_of(workspace)
    except AkitError as error:
        return f"The data set has changed and cannot be read any more: {error}"
    return f"The data set in {where} has changed: {changes}.\n`akit data update` adds the changes." if changes else ""


def update_data(workspace: Workspace, on_progress: Callable[[int, int], None] | None = None) -> Update:
    """Add new clips, corrected labels and changed files to the manifest, and drop clips that no longer exist.

    - `on_progress`: called with the number of files scanned and of all files

    `workspace` itself is not updated; open it again. Raises AkitError if the data set cannot be read, or no longer has
    the workspace's task.
    """
    import polars as pl

    from acoustic_kit.data import check_manifest
    from acoustic_kit.data.schema import clip_schema

    dataset, extra, init = _read_again(workspace)
    clips, truth = _clips(workspace, dataset, extra, init)
    before = workspace.manifest
    changes = find_changes(before, clips)
    scanned, changed_files = scan_changed(clips, before, dataset.root, workspace.config.mono, on_progress)
    if init.unofficial or not dataset.official_folds:
        clips = with_equal_files_together(clips, scanned["content"], before["id"].to_list())
    common = list(clip_schema())
    manifest = pl.concat([clips.select(common), scanned, clips.drop(common)], how="horizontal")
    classes = _all_classes(workspace.config.classes, dataset.classes)
    check_manifest(manifest, classes, workspace.config.task)
    new_classes = tuple(name for name in classes if name not in workspace.config.classes)
    with locked(workspace.root):
        if changes.relabeled or changes.new or changes.gone:
            _record_labels(workspace, label_digest(before))
        workspace.add_classes({name: classes[name] for name in new_classes})
        _write_truth(workspace, truth)
        if not manifest.equals(before):
            write_parquet(workspace.manifest_path, manifest)
    return Update(changes, changed_files, new_classes)


def _read_again(workspace: Workspace) -> tuple[Dataset, Dataset | None, InitOptions]:
    """Return the data set, its extra clips, and the options with which both are read."""
    from acoustic_kit.data import CsvOptions
    from acoustic_kit.data.extra import read_with_extra

    root, config = workspace.data_root, workspace.config
    if isinstance(root, str):
        raise AkitError(f"{root} is not read clip by clip; only a data set in a local folder can be read again.")
    init = read_init_options(workspace.root) or _guessed_options(workspace)
    known = asdict(CsvOptions())
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in init.options.items()
        if name in known
    }
    if "own_weight" in workspace.manifest.columns:  # a column `weight`, which was not read as weights
        values = {"weight_column": "", **values}
    options = CsvOptions(**values, windows=init.windows)
    lengths = known_lengths(workspace.manifest, root)
    dataset, extra = read_with_extra(root, config.layout, options, Path(init.extra) if init.extra else None, lengths)
    if dataset.task == "multi" and config.task == "single":
        raise AkitError(f"{root} has clips of several labels now, but akit.toml says: task = single.")
    return dataset, extra, init


def _guessed_options(workspace: Workspace) -> InitOptions:
    """Infer the options of a workspace made by a version that did not store them."""
    config, options = workspace.config, {}
    if config.label_separator and config.layout == "csv":
        options["label_separator"] = config.label_separator
    held_out = workspace.truth_path.exists() and "train" in workspace.manifest["split"]
    return InitOptions(test_folds=[_UNKNOWN_FOLD] if held_out else [], options=options)


def _clips(
    workspace: Workspace, dataset: Dataset, extra: Dataset | None, init: InitOptions
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the clips in the manifest's form, without the columns of a file scan, and the truth."""
    from acoustic_kit.data.manifest import without_test_labels

    if init.unofficial:
        dataset = replace(dataset, official_folds=False)
    clips = update_clips(workspace.manifest, dataset, init.test_folds)
    dataset = replace(dataset, classes=_all_classes(workspace.config.classes, dataset.classes))
    return without_test_labels(dataset, clips, extra)


def _all_classes(known: dict[str, int], found: dict[str, int]) -> dict[str, int]:
    """Return the known classes with their indices, then the new ones: with the data set's index if it is free."""
    classes = dict(known)
    for name, index in found.items():
        if name not in classes:
            classes[name] = index if index not in classes.values() else max(classes.values()) + 1
    return classes


def _record_labels(workspace: Workspace, digest: str) -> None:
    """Record the labels that the manifest had until now in runs whose record has none."""
    for run in list_runs(workspace.runs_path):
        if not (run.record.labels or run.record.imported):
            run.with_record(labels=digest)


def _write_truth(workspace: Workspace, truth: pl.DataFrame) -> None:
    try:
        if read_parquet(workspace.truth_path).equals(truth):
            return
    except OSError:
        if not len(truth):
            return
    write_parquet(workspace.truth_path, truth)
