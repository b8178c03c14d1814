"""Guess the meaning of the columns of a competition's table from usual names, the template and the cells."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from acoustic_kit.data.dataset import CsvOptions
from acoustic_kit.data.label_tables import LabelTable, column_list
from acoustic_kit.errors import DataError
from acoustic_kit.tables import listed, quoted

if TYPE_CHECKING:
    import polars as pl

# fmt: off
ID_NAMES = (
    "id", "fname", "filename", "file_name", "slice_file_name", "file", "clip", "clip_id", "clip_name", "audio_id",
    "recording_id", "ytid",
)
AUDIO_NAMES = (
    "filename", "file_name", "fname", "slice_file_name", "file", "filepath", "file_path", "path", "audio_path",
    "audio_file", "audio", "wav",
)
LABEL_NAMES = (
    "label", "labels", "tag", "tags", "class", "classes", "class_name", "category", "categories", "target",
    "primary_label", "class_id", "classid", "event_label", "event", "species", "species_id", "ebird_code", "birds",
)
_START_NAMES = (
    "start", "start_time", "start_s", "start_seconds", "start_sec", "onset", "event_onset", "begin", "begin_time",
    "begin time (s)", "t_min",
)
_END_NAMES = (
    "end", "end_time", "end_s", "end_seconds", "end_sec", "offset", "event_offset", "stop", "stop_time",
    "end time (s)", "t_max",
)
_GROUP_NAMES = ("group", "group_id", "speaker", "speaker_id", "src_file", "fsid", "session", "session_id")
FOLD_NAMES = ("fold", "folds", "kfold")
SPLIT_NAMES = ("split", "subset", "set", "partition", "is_test", "is_train", "is_valid", "is_val")
# fmt: on
MOST_SECONDS = 1e6  # latest time in a recording, 11 days
_SEPARATORS = (",", ";", "|")
_TRAIN = frozenset({"train", "training", "tr", "trn"})
_VALID = frozenset({"valid", "validation", "val"})
_TEST = frozenset({"test", "testing", "tst", "holdout", "held-out", "hidden"})
_DEV = frozenset({"dev", "devel", "development"})
_EVAL = frozenset({"eval", "evaluation"})
_TRUTH = {"1": True, "true": True, "yes": True, "1.0": True, "0": False, "false": False, "no": False, "0.0": False}


@dataclass(frozen=True)
class Columns:
    """Columns of a table, by meaning."""

    id: str
    label: str | None = None
    classes: tuple[str, ...] = ()  # a column for each, instead of `label`
    audio: str | None = None
    group: str | None = None
    fold: str | None = None
    split: str | None = None
    start: str | None = None
    end: str | None = None

    def used(self) -> set[str]:
        """Return the names of all these columns."""
        return {*self.classes, *self._single().values()}

    def __str__(self) -> str:
        """Describe the columns: `id from 'fname', label from 'labels'`."""
        return ", ".join(f"{what} from {quoted(name)}" for what, name in self._single().items())

    def _single(self) -> dict[str, str]:
        return {what: name for what, name in vars(self).items() if what != "classes" and name}


def guess_columns(train: LabelTable, template: LabelTable | None, options: CsvOptions) -> Columns:
    """Return the columns of a training table. Raises DataError that names the option to use."""
    # The sample submission names the id column and, if it contains labels, the label column: `fname,label`.
    id_hint = template.columns[:1] if template else []
    label_hint = template.columns[1:] if template and len(template.columns) == 2 else []
    id_name = choose(train, options.id_column, [*id_hint, *_unique_first(train, ID_NAMES)])
    if id_name is None:
        raise DataError(unknown_column(train, "id", "--id-column"))
    classes = _named_classes(train, template, options)
    label = None if classes else choose(train, options.label_column, [*label_hint, *LABEL_NAMES], but=(id_name,))
    used = (id_name, *classes, *([label] if label is not None else []))
    fold, split = choose(train, None, FOLD_NAMES, but=used), choose(train, None, SPLIT_NAMES, but=used)
    if split and _are_folds(train, split):
        fold, split = fold or split, None
    elif split and not _says_splits(train, split):
        split = None
    audio = choose(train, options.audio_column, AUDIO_NAMES, but=used)
    start, end = _guess_times(train, options, audio or id_name)
    found = Columns(
        id=id_name,
        label=label,
        classes=classes,
        audio=audio,
        group=choose(train, options.group_column, _GROUP_NAMES, but=used),
        fold=fold,
        split=split,
        start=start,
        end=end,
    )
    if label is None and not classes:
        weight = "weight" if options.weight_column is None else options.weight_column
        found = replace(found, classes=_columns_of_probabilities(train, {*found.used(), weight}))
        if not found.classes:
            raise DataError(unknown_column(train, "label", "--label-column"))
    return found


def _named_classes(table: LabelTable, template: LabelTable | None, options: CsvOptions) -> tuple[str, ...]:
    """Return the columns of classes that `--label-column 'a,b'` or `'class_*'` names, or the template; else none."""
    given = options.label_column
    if given is not None:
        if given in table.columns or not re.search("[,*]", given):
            return ()
        patterns = [pattern.strip() for pattern in given.split(",") if pattern.strip()]
        found = [name for name in table.columns if any(fnmatchcase(name, pattern) for pattern in patterns)]
        if len(found) < 2:
            raise DataError(
                f"{table.path}: --label-column {given!r} names {len(found)} columns; at least two are needed."
            )
        return tuple(found)
    names = template.columns[1:] if template else []
    return tuple(names) if len(names) > 1 and set(names) <= set(table.columns) else ()


def _columns_of_probabilities(table: LabelTable, used: set[str]) -> tuple[str, ...]:
    """Return the other columns if at least two of them contain only numbers from 0 to 1, -1 or nothing; else none."""
    found = []
    for name in table.columns:
        cells = table.cells[name].drop_nulls()
        numbers = read_marks(cells)
        is_probability = (numbers.is_between(0, 1) | (numbers == -1)).fill_null(False).all()
        if name not in used and len(cells) and is_probability and (numbers > 0).any():
            found.append(name)
    return tuple(found) if len(found) > 1 else ()


def read_marks(cells: pl.Series) -> pl.Series:
    """Return numbers, and True and False as 1 and 0; null for other text."""
    import polars as pl

    return cells.str.to_lowercase().replace({"true": "1", "false": "0"}).cast(pl.Float64, strict=False)


def _unique_first(table: LabelTable, names: Sequence[str]) -> list[str]:
    """Return the usual names, those of columns without repeated cells first: rows about parts repeat the file."""
    unique = {name.lower() for name in table.columns if not table.cells[name].is_duplicated().any()}
    return sorted(names, key=lambda name: name not in unique)


def _guess_times(table: LabelTable, options: CsvOptions, name: str) -> tuple[str | None, str | None]:
    """Return the columns of the times in a file at which the part begins and ends that a row is about, if any.

    Without options and windows, such columns are only used if a file has several rows: clips that were cut from other
    recordings have them too.
    """
    if "" in (options.start_column, options.end_column):
        return None, None
    start = choose(table, options.start_column, _START_NAMES)
    end = choose(table, options.end_column, _END_NAMES)
    if start is None or end is None:
        for given, other in (("start", options.start_column), ("end", options.end_column)):
            if other is not None:
                missing = "end" if given == "start" else "start"
                raise DataError(unknown_column(table, missing, f"--{missing}-column"))
        return None, None
    is_chosen = options.windows or options.start_column or options.end_column
    return (start, end) if is_chosen or table.cells[name].drop_nulls().is_duplicated().any() else (None, None)


def read_times(table: LabelTable, columns: Columns) -> tuple[list[float | None], list[float | None]]:
    """Return the start and the end of each row in seconds, None if the row is about the whole file.

    Raises DataError, which names the row, for times that are no numbers, negative, huge, or in the wrong order.
    """
    if columns.start is None or columns.end is None:
        return [None] * len(table.lines), [None] * len(table.lines)
    starts, ends = (_seconds(table, name) for name in (columns.start, columns.end))
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if (start is None) != (end is None):
            table.fail(row, f"only one of {columns.start!r} and {columns.end!r} is given.")
        if start is not None and end is not None and not start < end:
            table.fail(row, f"{columns.end!r} is {end:g}, not after {columns.start!r}, {start:g}.")
    return starts, ends


def _seconds(table: LabelTable, name: str) -> list[float | None]:
    found = []
    for row, cell in enumerate(table.required_column(name)):
        try:
            seconds = None if cell is None else float(cell)
        except ValueError:
            seconds = -1.0
        if seconds is not None and not 0 <= seconds <= MOST_SECONDS:
            table.fail(row, f"{name} {quoted(cell or '')} is not a time in seconds from 0 to {MOST_SECONDS:g}.")
        found.append(seconds)
    return found


def choose(table: LabelTable, given: str | None, names: Sequence[str], but: Sequence[str] = ()) -> str | None:
    """Return the given column, else the first of the usual names that the table has, in any case."""
    if given is not None:
        table.required_column(given)
        return given
    by_lower = {name.lower(): name for name in reversed(table.columns) if name not in but}
    return next((by_lower[name.lower()] for name in names if name.lower() in by_lower), None)


def unknown_column(table: LabelTable, what: str, option: str) -> str:
    """Return the message for a column that cannot be guessed."""
    return f"{table.path}: which column is the {what}? It has {column_list(table.columns)}. Use {option} NAME."


def _are_folds(table: LabelTable, name: str) -> bool:
    """Return whether a split column contains fold numbers: at least three, as 0 and 1 may be a flag."""
    values = {cell for cell in table.required_column(name) if cell}
    return len(values) > 2 and all(re.fullmatch(r"[0-9]{1,3}", value) for value in values)


def _says_splits(table: LabelTable, name: str) -> bool:
    """Return whether a column contains names of splits. Raises DataError if only some of its values are."""
    values = {cell.lower() for cell in table.required_column(name) if cell}
    if name.lower().startswith("is_"):
        return values <= _TRUTH.keys()
    known = values & (_TRAIN | _VALID | _TEST | _DEV | _EVAL)
    if values == {"0", "1"}:
        raise DataError(
            f"{table.path}: does {name}=1 mean test clips, or a fold? Rename the column to is_test or fold, "
            f"or read some of the rows: --where {name}=0."
        )
    if known and (unknown := sorted(values - known)):
        raise DataError(
            f"{table.path}: the column {name!r} contains {listed(sorted(known))}, which are splits, and "
            f"{listed(unknown)}. Choose the rows to read: --where {name}={min(known)}."
        )
    return bool(known)


def read_splits(table: LabelTable, name: str) -> list[str]:
    """Return "train", "valid" or "test" for each row of a split column. Raises DataError for an empty cell."""
    cells = [cell.lower() for cell in table.required(name)]
    mark = name.lower().removeprefix("is_")
    if mark != name.lower():
        kind = {"test": "test", "train": "train"}.get(mark, "valid")
        other = "test" if kind == "train" else "train"
        return [kind if _TRUTH[cell] else other for cell in cells]
    values = set(cells)
    kinds = dict.fromkeys(_TRAIN, "train") | dict.fromkeys(_VALID, "valid") | dict.fromkeys(_TEST, "test")
    kinds |= dict.fromkeys(_DEV, "valid" if values & _TRAIN else "train")
    kinds |= dict.fromkeys(_EVAL, "valid" if values & _TEST else "test")
    return [kinds[cell] for cell in cells]


def guess_separator(cells: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the separator between several labels of a cell; None if each cell contains one label.

    `names` are the template's columns after the id; if there are several, they are the classes and decide. Otherwise,
    labels recur in other combinations and half of them also alone, while splitting names that contain a comma ("Bell,
    church"; "dog, big") yields names that no cell contains alone.
    """
    distinct = set(cells)
    for separator in _SEPARATORS:
        parts = {part.strip() for cell in distinct for part in cell.split(separator)}
        if not any(separator in cell for cell in distinct) or "" in parts:
            continue
        if len(names) > 1 and (distinct <= set(names) or parts <= set(names)):
            return None if distinct <= set(names) else separator
        if len(parts) < len(distinct) and 2 * len(parts & distinct) >= len(parts):
            return separator
    return None


def separator_note(table: LabelTable, label: str, separator: str | None, *, given: bool) -> str:
    """Return a note on how cells with separators were read; empty if no cell contains one."""
    cells = [cell for cell in table.required_column(label) if cell]
    if separator:
        return f"{table.path.name}: several labels per clip, separated by {separator!r} in {label!r}" + (
            "" if given else ' (--label-separator "" if each cell is one label)'
        )
    if given:
        return ""
    counts = Counter({mark: sum(mark in cell for cell in cells) for mark in _SEPARATORS})
    mark, n = counts.most_common(1)[0]
    if not n:
        return ""
    example = next(cell for cell in cells if mark in cell)
    return (
        f"{table.path.name}: {n} labels contain {mark!r} and are read as one label each, such as {quoted(example)} "
        f"(--label-separator {mark!r} if they are several)"
    )


def split_labels(cell: str, separator: str | None) -> list[str]:
    """Return the labels of a cell, each once."""
    parts = cell.split(separator) if separator else [cell]
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))
