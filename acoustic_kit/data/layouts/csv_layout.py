"""Kaggle's layout: `train.csv` (or `.tsv`), `sample_submission.csv` and/or `test.csv`, folders of audio.

The columns are recognized by usual names and by the sample submission, or given as options; so are another training
table (`--train-csv`) and the folder of test clips (`--test-dir`). A clip's file is found by its id, or by the cell of
an audio column, with or without extension, in any folder below the root.

A column `split`, `subset`, … of training, validation and test clips is the official split: fold 1 are the training,
fold 2 the validation clips; the labels of test clips become the truth. `eval.csv` (or `.tsv`) instead of `test.csv` may
contain labels, which become the truth too. If no table lists test clips, those in a folder named test are used.

Clips whose id column is `YTID` come from YouTube, where videos disappear: clips that are missing on disk are left out
and counted in a note. In every other table a missing file is an error, unless `skip_missing` is set.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from acoustic_kit.data.audio_files import audio_files, is_audio, safe_path, split_words
from acoustic_kit.data.audio_index import AudioIndex, first_three, locate
from acoustic_kit.data.dataset import CsvOptions, Dataset, free_separator, join_splits, make_clips
from acoustic_kit.data.label_tables import LabelTable, find_template, first_file, read_label_table
from acoustic_kit.data.layouts.csv_columns import (
    AUDIO_NAMES,
    ID_NAMES,
    Columns,
    choose,
    guess_columns,
    read_splits,
    read_times,
    unknown_column,
)
from acoustic_kit.data.layouts.csv_labels import Labels, Target, guess_labels
from acoustic_kit.data.layouts.template_rows import windows_of_ids
from acoustic_kit.errors import DataError, UsageError

if TYPE_CHECKING:
    import polars as pl

LOOKS_FOR = "train.csv or train.tsv"

_TRAIN = ("train.csv", "train.tsv")
_EVAL = ("eval.csv", "eval.tsv")
_TEST = ("test.csv", "test.tsv", *_EVAL)
_AUDIO_HINT = " If another column names the audio file, use --audio-column; to leave such rows out, --skip-missing."


def found(root: Path) -> bool:
    """Return whether `root` has this layout."""
    return first_file(root, _TRAIN) is not None


def read(root: Path, options: CsvOptions) -> Dataset:
    """Read the tables and find the files. Raises DataError that names the file and line, or the option to use."""
    whole = read_label_table(_train_path(root, options))
    wanted = options.wanted_values(whole.columns)
    table = whole.where(wanted)
    template = read_label_table(path) if (path := find_template(root)) else None
    columns = guess_columns(table, template, options)
    listed = _test_table(root, template, columns, options)
    kinds = read_splits(table, columns.split) if columns.split else ["train"] * len(table.lines)
    train, own_test = (table.keep([(kind == "test") == is_test for kind in kinds]) for is_test in (False, True))
    if not train.lines:
        raise DataError(f"{table.path}: all clips are test clips by the column {columns.split!r}.")
    labels = guess_labels(train, columns, template, options)
    folds = _folds(train, columns, [kind for kind in kinds if kind != "test"])
    reader = _Reader(_Places.of(root, options), options)
    train_labels = labels.of(train, may_lack=columns.start is not None)
    clips = reader.read(train, columns, "train", train_labels, folds)
    for part in _read_tests(reader, columns, labels, own_test, listed):
        clips = join_splits(clips, part)
    if not listed and not own_test.lines and (loose := reader.loose_test_clips(clips)) is not None:
        clips = join_splits(clips, loose)
    separator = labels.separator or (_separator_of_events(clips, labels, template, options) if columns.start else None)
    notes = (
        f"{table.path.name}: {columns}",
        f"--where keeps {len(table.lines)} of {len(whole.lines)} rows" if wanted else "",
        options.missing_note(whole.columns),
        labels.note,
        _split_note(table, columns, kinds),
        _template_note(template, has_test="test" in clips["split"]),
        *reader.notes,
        reader.places.unused_note(set(clips["path"])),
    )
    return Dataset(
        layout="csv",
        root=root,
        clips=clips,
        classes=labels.classes,
        task="multi" if separator else "single",
        official_folds=folds is not None,
        template=template.path if template and "test" in clips["split"] else None,
        label_separator=separator,
        notes=tuple(filter(None, notes)),
    )


def _read_tests(
    reader: _Reader, columns: Columns, labels: Labels, own_test: LabelTable, listed: _Listed | None
) -> Iterator[pl.DataFrame]:
    """Yield the test clips: those of a table of their own, then the others in the training table."""
    known = labels.of(own_test, may_lack=True)
    if columns.start and not listed and own_test.lines:  # rows that share the name of their recording
        if any(target.labels for target in known):  # then parts without an event are known too
            known = [Target(target.labels, target.soft or []) for target in known]
        yield reader.read(own_test, columns, "test", known)
    if columns.start:
        own_test, known = own_test.keep([False] * len(own_test.lines)), []
    truth = dict(zip(own_test.ids(columns.id), known, strict=True))
    if listed:
        ids = listed.table.ids(listed.columns.id)
        known = labels.of(listed.table) if listed.has_labels else [truth.pop(id, Target([])) for id in ids]
        yield reader.read(listed.table, listed.columns, "test", known)
    if truth:
        rest = own_test.keep([id in truth for id in own_test.ids(columns.id)])
        yield reader.read(rest, columns, "test", list(truth.values()))


def _separator_of_events(
    clips: pl.DataFrame, labels: Labels, template: LabelTable | None, options: CsvOptions
) -> str | None:
    """Return the separator of labels if parts of files may have several of them, else None.

    Windows may, but for a template with one column of labels; other parts if two rows are about the same part.
    """
    if options.label_separator == "" or (template is not None and len(template.columns) == 2):
        return None
    unnamed = clips.filter(clips["id"].is_null())
    if options.windows is None and not unnamed.select("path", "start", "end").is_duplicated().any():
        return None
    return free_separator(labels.classes)


def _train_path(root: Path, options: CsvOptions) -> Path:
    if options.train_csv is None:
        if (path := first_file(root, _TRAIN)) is None:
            raise DataError(f"{root} lacks {LOOKS_FOR}; name another table with --train-csv.")
        return path
    path = next((path for path in (root / options.train_csv, Path(options.train_csv)) if path.is_file()), None)
    if path is None:
        raise UsageError(f"--train-csv {options.train_csv}: no such file in {root} or in the current folder.")
    return path


@dataclass(frozen=True)
class _Places:
    """Where to search for the clips of each split."""

    all: AudioIndex
    train: AudioIndex
    test: AudioIndex
    test_dir: str | None  # relative to the root, with / at its end

    @staticmethod
    def of(root: Path, options: CsvOptions) -> _Places:
        files = AudioIndex(root)
        if not files.paths:
            raise DataError(f"{root} contains no audio file.")
        if options.test_dir is None:
            return _Places(files, files, files, None)
        folder = test_folder(root, options.test_dir)
        test = [path for path in files.paths if path.startswith(folder)]
        rest = [path for path in files.paths if not path.startswith(folder)]
        return _Places(files, AudioIndex(root, rest), AudioIndex(root, test), folder)

    def test_clips(self, used: Container[str]) -> list[str]:
        """Return the clips of the test folder, or of folders named test, that no table names."""
        if self.test_dir is not None:
            return [path for path in self.test.paths if path not in used]
        return [path for path in self.all.paths if path not in used and split_words(path) == {"test"}]

    def unused_note(self, used: Container[str]) -> str:
        unused = [path for path in self.all.paths if path not in used and is_audio(path)]
        return f"{len(unused)} audio files are in no table and left out ({first_three(unused)})" if unused else ""


def test_folder(root: Path, name: str) -> str:
    """Return the folder of `--test-dir` relative to the root, with / at its end. Raises UsageError if it is missing."""
    path = (root / name).resolve()
    if not path.is_dir() or not path.is_relative_to(root.resolve()) or path == root.resolve():
        raise UsageError(f"--test-dir {name}: no such folder in {root}.")
    if not any(map(is_audio, audio_files(path))):
        raise UsageError(f"--test-dir {name}: {path} contains no audio file.")
    return f"{path.relative_to(root.resolve()).as_posix()}/"


class _Reader:
    """Reader of tables into clips, which collects notes."""

    def __init__(self, places: _Places, options: CsvOptions) -> None:
        self.places, self.options = places, options
        self.notes: list[str] = []

    def read(
        self, table: LabelTable, columns: Columns, split: str, targets: list[Target], folds: list[int] | None = None
    ) -> pl.DataFrame:
        """Return the clips of one table. Raises DataError for a missing clip, unless clips may be missing.

        Missing test clips are kept, as unreadable ones, so that the submission is complete.
        """
        import polars as pl

        files = self.places.train if split == "train" else self.places.test
        names, starts, ends = _parts_of_files(table, columns, files, split, self.options)
        for row, (start, target) in enumerate(zip(starts, targets, strict=True)):
            if split == "train" and start is not None and not target.labels:
                table.fail(row, f"the column {columns.label!r} contains no label.")
        may_lack, kept = self.options.skip_missing, split == "test"
        if columns.id.lower() == "ytid":
            may_lack, kept = True, False
        paths, notes = locate(table, names, files, split, may_lack=may_lack, kept=kept, hint=_AUDIO_HINT)
        self.notes += notes
        if kept and any(paths):
            paths = [path or name for path, name in zip(paths, names, strict=True)]
        clips = make_clips(
            {
                "id": _ids(table, columns),
                "path": paths,
                "start": starts,
                "end": ends,
                "label": [target.labels for target in targets],
                "soft": [target.soft if split == "test" else target.soft or None for target in targets],
                "fold": folds,
                "group": table.cells[columns.group] if columns.group else None,
                "split": [split] * len(targets),
            },
            table.own(without=columns.used()),
        )
        return clips.filter(pl.col("path").is_not_null())

    def loose_test_clips(self, clips: pl.DataFrame) -> pl.DataFrame | None:
        """Return test clips that no table lists; ids are file names, with extension if the other ids have one."""
        if not (paths := self.places.test_clips(set(clips["path"]))):
            return None
        with_extension = all(map(is_audio, clips["id"]))
        names = [PurePosixPath(path).name if with_extension else PurePosixPath(path).stem for path in paths]
        if len(set(names)) < len(names):
            names = paths
        folder = PurePosixPath(paths[0]).parent
        self.notes.append(f"no table lists test clips: those in {folder}/ are used ({len(paths)} clips)")
        columns = {"id": names, "path": paths, "label": [[] for _ in paths], "split": ["test"] * len(paths)}
        return make_clips(columns)


def _folds(table: LabelTable, columns: Columns, kinds: list[str]) -> list[int] | None:
    """Return each row's official fold: that of the fold column, else 1 for training and 2 for validation clips."""
    if columns.fold:
        return table.whole_numbers(columns.fold)
    if len(set(kinds)) == 2:
        return [1 if kind == "train" else 2 for kind in kinds]
    return None


def _template_note(template: LabelTable | None, *, has_test: bool) -> str:
    if template is None:
        return ""
    what = "its test clips and the form of submissions" if has_test else "no test clip is on disk, so it is not used"
    return f"{template.path.name}: {what}"


def _split_note(table: LabelTable, columns: Columns, kinds: list[str]) -> str:
    if not columns.split:
        return ""
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("train", "valid", "test") if kind in kinds)
    folds = "; fold 1 is train, fold 2 valid, so --folds 2 is the official protocol; --unofficial draws folds over both"
    return f"{table.path.name}: {columns.split!r} is the official split ({counts})" + (
        folds if {"train", "valid"} <= set(kinds) and not columns.fold else ""
    )


@dataclass(frozen=True)
class _Listed:
    """The table of test clips."""

    table: LabelTable
    columns: Columns
    has_labels: bool = False


def _test_table(root: Path, template: LabelTable | None, columns: Columns, options: CsvOptions) -> _Listed | None:
    """Return the table of test clips: ids and order of the template, with the other columns of `test.csv`."""
    test = read_label_table(path) if (path := first_file(root, _TEST)) else None
    if test is None:
        if template is None:
            return None
        name = template.columns[0]
        # Its other columns contain placeholders, not labels.
        return _Listed(replace(template, cells=template.cells.select(name)), Columns(name))
    hints = [*([options.id_column] if options.id_column else []), *(template.columns[:1] if template else [])]
    id_name = choose(test, None, [*hints, columns.id, *ID_NAMES])
    if id_name is None:
        raise DataError(unknown_column(test, "id", "--id-column"))
    own = Columns(
        id=id_name,
        label=columns.label,
        classes=columns.classes,
        audio=choose(test, None, [*([columns.audio] if columns.audio else []), *AUDIO_NAMES], but=(id_name,)),
        group=columns.group if columns.group in test.columns else None,
    )
    has_labels = test.path.name.lower() in _EVAL and {*columns.classes, *([columns.label] * bool(columns.label))} <= {
        *test.columns
    }
    if template is not None:
        test.ids(id_name)
        ids = template.cells.select(template.cells.to_series(0).alias(id_name))
        cells = ids.join(test.cells, on=id_name, how="left", maintain_order="left")
        test = LabelTable(template.path, cells, template.lines)
    return _Listed(test, own, has_labels)


def _ids(table: LabelTable, columns: Columns) -> list[str] | list[None]:
    """Return the id of each row; null if rows are parts of files that they name by the id column."""
    if columns.start and table.cells[columns.id].is_duplicated().any():
        table.required(columns.id)
        return [None] * len(table.lines)
    return table.ids(columns.id)


def _parts_of_files(
    table: LabelTable, columns: Columns, files: AudioIndex, split: str, options: CsvOptions
) -> tuple[list[str], list[float | None], list[float | None]]:
    """Return the file, the start and the end of each row, in seconds; of test rows those that the id means."""
    starts, ends = read_times(table, columns)
    if split == "test" and columns.audio is None and columns.start is None and (windows := options.windows):
        ids = table.ids(columns.id)
        if meant := windows_of_ids(table, ids, windows, files):
            names = [safe_path(window.name, table.at(row)) for row, window in enumerate(meant)]
            return names, [window.start for window in meant], [window.end for window in meant]
    return _file_names(table, columns, files, split), starts, ends


def _file_names(table: LabelTable, columns: Columns, files: AudioIndex, split: str) -> list[str]:
    """Return the file name in each row: the cell of the audio column, or the id if that column names no file."""
    ids = table.required(columns.id) if columns.start else table.ids(columns.id)
    if columns.audio:
        cells = table.cells[columns.audio].fill_null(table.cells[columns.id]).to_list()
        names = [safe_path(cell, table.at(row)) for row, cell in enumerate(cells)]
        if any(files.find(name, split) for name in names) or not any(files.find(id, split) for id in ids):
            return names
    return [safe_path(id, table.at(row)) for row, id in enumerate(ids)]
