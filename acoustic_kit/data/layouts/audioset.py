"""AudioSet: `class_labels_indices.csv`, the official segments CSVs, and those of their clips that are on disk.

J. F. Gemmeke et al., "Audio Set: An ontology and human-labeled dataset for audio events", ICASSP 2017,
https://research.google.com/audioset/download.html. A segments CSV begins with comment lines; a row is
`YTID, start_seconds, end_seconds, "/m/03v3yw,/m/0k4j"`.

The clips of `balanced_train_segments.csv` and `unbalanced_train_segments.csv` are training clips (the own column
`subset` tells them apart), those of `eval_segments.csv` test clips, whose labels become the truth. AudioSet has no
folds: akit draws them. The published protocol, one model of all training clips, is `akit recipe run NAME --full`.

Many videos are no longer on YouTube, so rows without a file are normal: they are left out and counted in a note. A clip
is any audio file below the root named after its video's id: `<YTID>.flac`, `Y<YTID>.wav`, `<YTID>_30.000_40.000.wav`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from acoustic_kit.data.audio_files import audio_files, is_audio
from acoustic_kit.data.audio_index import left_out_note
from acoustic_kit.data.dataset import CsvOptions, Dataset, make_clips
from acoustic_kit.data.label_tables import LabelTable, read_label_table
from acoustic_kit.errors import DataError

if TYPE_CHECKING:
    import polars as pl

LOOKS_FOR = "class_labels_indices.csv and balanced_train_segments.csv or unbalanced_train_segments.csv"
_LABELS = "class_labels_indices.csv"
_TRAIN = ("balanced_train_segments.csv", "unbalanced_train_segments.csv")
_EVAL = "eval_segments.csv"
_CLIP_NAME = re.compile(r"Y?([\w-]{11})(?:_[\d._-]+)?", re.ASCII)  # a YouTube id has 11 characters
_SEPARATOR = ";"  # class names contain commas


def found(root: Path) -> bool:
    """Return whether `root` has this layout."""
    return (root / _LABELS).is_file() and any((root / name).is_file() for name in _TRAIN)


def read(root: Path, _options: CsvOptions) -> Dataset:
    """Read the tables and find the clips. The id is the YTID; classes are the names of all labels, by their index.

    Raises DataError for a table that cannot be read, a label missing in `class_labels_indices.csv`, a clip that is
    listed twice, two files for one clip, and if no training clip is on disk.
    """
    import polars as pl

    if not found(root):
        raise DataError(f"{root} is not AudioSet: it lacks {LOOKS_FOR}.")
    labels = read_label_table(root / _LABELS)
    classes = labels.class_indices("display_name", "index")
    names = dict(zip(labels.ids("mid"), labels.required("display_name"), strict=True))
    files = _find_files(root)
    parts, notes = [], []
    for table in (_read_segments(root / name) for name in (*_TRAIN, _EVAL) if (root / name).is_file()):
        there = {id: id in files for id in table.ids("YTID")}
        if not all(there.values()):
            notes.append(left_out_note(table.path, there))
        if any(there.values()):
            parts.append(_read_clips(table.keep(list(there.values())), names, files))
    if not parts or "train" not in parts[0]["split"]:
        raise DataError(f"none of the training clips is on disk: {root} contains no file named after their YTID.")
    clips = pl.concat(parts, how="vertical_relaxed")
    if (twice := clips.filter(clips["id"].is_duplicated())).height:
        raise DataError(f"{root}: two of its segments files list the clip {twice['id'][0]!r}.")
    return Dataset(
        layout="audioset",
        root=root,
        clips=clips,
        classes=classes,
        task="multi",
        label_separator=_SEPARATOR,
        notes=tuple(notes),
    )


def _find_files(root: Path) -> dict[str, list[str]]:
    """Return YTID → the audio files named after it."""
    files: dict[str, list[str]] = defaultdict(list)
    for path in filter(is_audio, audio_files(root)):
        if match := _CLIP_NAME.fullmatch(PurePosixPath(path).stem):
            files[match[1]].append(path)
    return dict(files)


def _read_segments(path: Path) -> LabelTable:
    """Return the rows below the comments, as a table with the columns YTID, start, end (both in seconds) and labels."""
    return read_label_table(path, columns=("YTID", "start", "end", "labels"), comment="#")


def _read_clips(table: LabelTable, names: dict[str, str], files: dict[str, list[str]]) -> pl.DataFrame:
    """Return the clips of one segments file, all of which are on disk."""
    import polars as pl

    ids, labels = table.ids("YTID"), []
    for row, (id, cell) in enumerate(zip(ids, table.required("labels"), strict=True)):
        mids = [mid.strip() for mid in cell.split(",")]
        if unknown := [mid for mid in mids if mid not in names]:
            table.fail(row, f"{_LABELS} has no label {unknown[0]!r}.")
        if len(files[id]) > 1:
            table.fail(row, f"{id!r} may be {files[id][0]} or {files[id][1]}; keep one of them.")
        labels.append(list(dict.fromkeys(names[mid] for mid in mids)))
    split = "test" if table.path.name == _EVAL else "train"
    columns = {"id": ids, "path": [files[id][0] for id in ids], "label": labels, "split": [split] * len(ids)}
    own = table.own(without={"YTID", "labels"})
    subset = table.path.name.removesuffix("_segments.csv")
    return make_clips(columns, own.with_columns(subset=pl.lit(subset)))
