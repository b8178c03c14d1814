"""Freesound Audio Tagging 2019 (Kaggle): `train_curated.csv`, `train_noisy.csv`, a folder for each, and `test/`.

E. Fonseca et al., "Audio Tagging with Noisy Labels and Minimal Supervision", DCASE 2019,
https://www.kaggle.com/c/freesound-audio-tagging-2019. A clip has one or several of 80 labels, separated by commas. The
curated clips are the training clips, in folds that akit makes. The noisy ones, whose labels come from tags of users,
are extra: trained on, never validated or scored. A submission has one column per class.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.data.audio_files import safe_path
from acoustic_kit.data.audio_index import AudioIndex, locate
from acoustic_kit.data.dataset import CsvOptions, Dataset, class_order, join_splits, make_clips
from acoustic_kit.data.label_tables import LabelTable, find_template, first_file, header_names, read_label_table
from acoustic_kit.data.layouts.csv_columns import split_labels
from acoustic_kit.errors import DataError

if TYPE_CHECKING:
    import polars as pl

LOOKS_FOR = "train_curated.csv with fname and labels, and train_curated/"
_CURATED, _NOISY = "train_curated", "train_noisy"  # table and folder
_SEPARATOR = ","


def found(root: Path) -> bool:
    """Return whether `root` has this layout."""
    return (root / _CURATED).is_dir() and {"fname", "labels"} <= header_names(root / f"{_CURATED}.csv")


def read(root: Path, options: CsvOptions) -> Dataset:
    """Read the tables. The id is `fname`; classes are the template's columns, else in alphabetical order.

    Raises DataError for a table that cannot be read, a missing clip, and a label that is no class.
    """
    if not found(root):
        raise DataError(f"{root} is not Freesound 2019: it lacks {LOOKS_FOR}.")
    curated = read_label_table(root / f"{_CURATED}.csv")
    noisy, template = (
        read_label_table(path) if path else None for path in (first_file(root, (f"{_NOISY}.csv",)), find_template(root))
    )
    names = template.columns[1:] if template else []
    if not names:
        cells = [cell for table in (curated, noisy) if table for cell in table.required("labels")]
        names = list(class_order(name for cell in cells for name in split_labels(cell, _SEPARATOR)))
    files, clips, notes = AudioIndex(root), [], list[str]()
    for table, folder, split in ((curated, _CURATED, "train"), (noisy, _NOISY, "extra"), (template, "test", "test")):
        if table is not None:
            part, of_part = _clips(table, folder, split, names, files, options)
            clips.append(part)
            notes += of_part
    if noisy is not None:
        notes.append(
            f"{noisy.path.name}: its {len(noisy.lines)} clips are extra, unlike those of {curated.path.name}: trained "
            "on, never validated"
        )
    labeled = clips[0] if noisy is None else _concat(clips[:2])
    return Dataset(
        layout="freesound2019",
        root=root,
        clips=join_splits(labeled, clips[-1]) if template else labeled,
        classes={name: index for index, name in enumerate(names)},
        task="multi",
        template=template.path if template else None,
        label_separator=_SEPARATOR,
        metric="lwlrap",
        notes=tuple(notes),
    )


def _concat(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Return curated and noisy clips in one table. Raises DataError if they share an id."""
    import polars as pl

    clips = pl.concat(parts, how="diagonal_relaxed")
    if (twice := clips.filter(clips["id"].is_duplicated())).height:
        raise DataError(f"{_CURATED}.csv and {_NOISY}.csv both list the clip {twice['id'][0]!r}.")
    return clips


def _clips(
    table: LabelTable, folder: str, split: str, classes: list[str], files: AudioIndex, options: CsvOptions
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the clips of a table, and notes. Missing test clips are kept, as unreadable ones."""
    import polars as pl

    ids = table.ids(table.columns[0] if split == "test" else "fname")
    names = [f"{folder}/{safe_path(name, table.at(row))}" for row, name in enumerate(ids)]
    is_test = split == "test"
    paths, notes = locate(
        table, names, files, "test" if is_test else "train", may_lack=options.skip_missing, kept=is_test
    )
    cells = [""] * len(ids) if is_test else table.required("labels")
    labels = [split_labels(cell, _SEPARATOR) for cell in cells]
    for row, of_row in enumerate(labels):
        if unknown := [name for name in of_row if name not in classes]:
            table.fail(row, f"the label {unknown[0]!r} is no class.")
    columns = {
        "id": ids,
        "path": [path or (name if is_test else None) for path, name in zip(paths, names, strict=True)],
        "label": labels,
        "split": [split] * len(ids),
    }
    own = None if is_test else table.own(without={"fname", "labels"})
    return make_clips(columns, own).filter(pl.col("path").is_not_null()), notes
