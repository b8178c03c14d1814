"""Extra clips: those of another data set, or of a folder of audio files without labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.data.audio_files import audio_files, is_audio
from acoustic_kit.data.dataset import CsvOptions, Dataset, make_clips
from acoustic_kit.data.layouts.contradictions import tables_naming_clips
from acoustic_kit.data.layouts.detect import has_layout, inner_data_set, read_dataset
from acoustic_kit.data.recordings import cut_recordings
from acoustic_kit.data.schema import clip_schema
from acoustic_kit.data.secondary import require_secondary
from acoustic_kit.errors import DataError

if TYPE_CHECKING:
    import polars as pl


def read_with_extra(
    root: Path, layout: str, options: CsvOptions, extra: Path | None, lengths: Mapping[str, float] | None = None
) -> tuple[Dataset, Dataset | None]:
    """Read a data set and its extra clips, those in the folder `extra`; parameters as for `read_dataset`.

    Windows, weights and secondary labels of extra clips are read by the same options, and the same values are wanted of
    the columns that they have; soft targets are joined to both.
    """
    from acoustic_kit.data.soft_targets import with_soft_targets

    if extra is None:
        return read_dataset(root, layout, options, lengths), None
    dataset = read_dataset(root, layout, replace(options, soft_targets=None, secondary_found=True), lengths)
    others = read_extra(extra, dataset, options)
    if others.lacks_secondary:
        require_secondary(dataset, options)
    _require_classes(others, others.clips, dataset)
    return with_soft_targets(dataset, others, options)


def read_extra(root: Path, dataset: Dataset, options: CsvOptions) -> Dataset:
    """Read the data set or the unlabeled audio files in `root`, as extra clips of `dataset`.

    The files are unlabeled if `root` has no other layout than folders, no table names them, and no folder is called
    like a class.

    - `options`: those of `dataset`, of which wanted values, windows, weights and secondary labels are used

    Raises DataError as `read_dataset` does.
    """
    options = CsvOptions(
        where=options.where,
        where_found=True,
        windows=options.windows,
        min_overlap=options.min_overlap,
        weight_column=options.weight_column,
        secondary=options.secondary,
        secondary_column=options.secondary_column,
        secondary_found=True,
    )
    paths = [path for path in audio_files(root) if is_audio(path)] if root.is_dir() else []
    if not paths or not _is_unlabeled(root, paths, dataset.classes):
        return read_dataset(root, options=options, added_to=dataset)
    columns = {"id": paths, "path": paths, "label": [[] for _ in paths], "split": ["test"] * len(paths)}
    note = f"{root}: {len(paths)} audio files without labels; no folder is called like a class"
    found = replace(dataset, root=root, clips=make_clips(columns), template=None, notes=(note,))
    return cut_recordings(found, options, {})


def _is_unlabeled(root: Path, paths: list[str], classes: Collection[str]) -> bool:
    folders = {part.casefold() for path in paths for part in path.split("/")[:-1]}
    return not (
        folders & {name.casefold() for name in classes}
        or has_layout(root)
        or inner_data_set(root)
        or tables_naming_clips(root, paths)
    )


def extra_clips(dataset: Dataset, extra: Dataset) -> pl.DataFrame:
    """Return the clips of another data set as extra clips, without its own columns and folds.

    Its test clips have no labels, if it does not know them; its training clips without any are left out.

    Raises DataError for labels that are not classes, or for clips of several labels among clips of one.
    """
    import polars as pl

    is_used = (pl.col("label").list.len() > 0) | pl.col("soft").is_not_null() | (pl.col("split") == "test")
    clips = extra.clips.filter(is_used).select(list(clip_schema()))
    _require_classes(extra, clips, dataset)
    if dataset.task == "single" and (clips["label"].list.len() > 1).any():
        raise DataError(f"{extra.root} has clips with several labels; {dataset.root} has one label per clip.")
    root = extra.root.resolve().as_posix()
    return clips.with_columns(
        id="extra/" + pl.col("id"),
        path=f"{root}/" + pl.col("path"),
        fold=pl.lit(None, dtype=pl.Int64),
        split=pl.lit("extra"),
    )


def _require_classes(extra: Dataset, clips: pl.DataFrame, dataset: Dataset) -> None:
    labels = clips["label"].explode().drop_nulls().unique().sort()
    if unknown := [label for label in labels if label not in dataset.classes]:
        raise DataError(f"{extra.root} has labels that are not classes of {dataset.root}: {', '.join(unknown[:3])}.")
