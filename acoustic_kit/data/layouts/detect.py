"""Detect the layout of a data set and read it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from acoustic_kit.data.audio_files import audio_files, is_audio, is_junk
from acoustic_kit.data.dataset import CsvOptions, Dataset
from acoustic_kit.data.layouts import (
    audioset,
    birdclef,
    csv_layout,
    esc50,
    folder,
    freesound2019,
    fsdkaggle2018,
    itmo2025,
    speechcommands,
    urbansound8k,
)
from acoustic_kit.data.layouts.contradictions import NamingTable, folder_contradictions, tables_naming_clips
from acoustic_kit.data.recordings import cut_recordings
from acoustic_kit.data.secondary import with_secondary
from acoustic_kit.errors import DataError, UsageError
from acoustic_kit.tables import listed

# In the order in which they are tried, those with distinctive files first.
ADAPTERS: dict[str, ModuleType] = {
    "esc50": esc50,
    "urbansound8k": urbansound8k,
    "fsdkaggle2018": fsdkaggle2018,
    "freesound2019": freesound2019,
    "speechcommands": speechcommands,
    "audioset": audioset,
    "birdclef": birdclef,
    "itmo2025": itmo2025,
    "csv": csv_layout,
    "folder": folder,
}
LAYOUTS = tuple(ADAPTERS)
# fmt: off
_OF_COLUMNS = {
    "id_column", "label_column", "audio_column", "group_column", "label_separator", "train_csv", "start_column",
    "end_column", "test_dir",
}
# fmt: on
_ALSO_USED = {"folder": {"test_dir"}, "birdclef": {"group_column"}}  # by other layouts than csv


def detect_layout(root: Path) -> str:
    """Detect the layout of the data set in `root` from its files.

    Raises DataError if the folder is missing or empty, and if no layout fits; the message lists what each layout looks
    for.
    """
    _require_folder(root)
    for name, adapter in ADAPTERS.items():
        if adapter.found(root):
            return name
    looked_for = "; ".join(f"{name}: {adapter.LOOKS_FOR}" for name, adapter in ADAPTERS.items())
    tables = tables_naming_clips(root, audio_files(root))
    hint = "".join(f"\n{table.path} names {table.named} clips: use --train-csv {table.path}." for table in tables[:1])
    raise DataError(f"{root} has no known layout. akit looked for {looked_for}.{hint}")


def read_dataset(
    root: Path,
    layout: str = "auto",
    options: CsvOptions = CsvOptions(),  # noqa: B008
    lengths: Mapping[str, float] | None = None,
    *,
    added_to: Dataset | None = None,
) -> Dataset:
    """Read the data set in `root` without decoding its audio files; with `options.windows`, their headers are read.

    >>> dataset = read_dataset(Path("ESC-50"))

    Parameters
    ----------
    root : the data set's folder; with "auto" also the folder around it
    layout : one of `LAYOUTS`, or "auto"
    options : options if guesses are not enough
    lengths : path → seconds, of files whose header need not be read
    added_to : the data set that these clips will be added to: the task and the classes are its own, weights and
        secondary labels are read if there is a column of them, and soft targets are not

    Raises
    ------
    DataError : for invalid data: a missing file that a table names, two rows with one id, a training clip without a
        label, a path that leaves `root`, no audio files; with "auto", for one folder per class if folders are named
        like splits or folds, or tables name the clips
    UsageError : for an unknown layout, and for `options` that the layout does not use

    """
    from acoustic_kit.data.soft_targets import with_soft_targets, with_weights

    _require_folder(root)
    options.wanted_values()
    finder = options.group_finder()
    note = ""
    if layout == "auto":
        layout = "csv" if options.train_csv is not None else detect_layout(root)
        if layout == "folder":
            if inner := inner_data_set(root):
                note = f"the data set is in {inner.name}/ of {root}"
                root, layout = inner, detect_layout(inner)
            else:
                notes = _check_folders(root, options)
                note = "; ".join(notes)
    if layout not in ADAPTERS:
        raise UsageError(f"unknown layout {layout!r}; akit knows {', '.join(LAYOUTS)} and auto.")
    _refuse_unused(root, layout, options)
    dataset: Dataset = ADAPTERS[layout].read(root, options)
    if layout != "csv":
        dataset = _only_wanted(dataset, options)
    if finder is not None:
        dataset = _with_groups(dataset, finder)
    if added_to is not None:
        dataset, options = _as_added(dataset, options, added_to)
    dataset = with_secondary(with_weights(dataset, options), options)
    dataset, _ = with_soft_targets(cut_recordings(dataset, options, lengths or {}), None, options)
    return replace(dataset, notes=(note, *dataset.notes)) if note else dataset


def _as_added(dataset: Dataset, options: CsvOptions, to: Dataset) -> tuple[Dataset, CsvOptions]:
    """Return the data set with the task and the classes of another one, and the options that fit its columns."""
    given = options.weight_column
    options = replace(
        options,
        weight_column=None if given and given not in dataset.clips.columns else given,
        soft_targets=None,
    )
    added = replace(
        dataset,
        classes=to.classes | {name: -1 for name in dataset.classes if name not in to.classes},  # refused later
        task=to.task,
        label_separator=to.label_separator,
    )
    return added, options


def _require_folder(root: Path) -> None:
    if not root.is_dir():
        raise DataError(f"the data folder {root} does not exist or is not a folder.")
    if not any(root.iterdir()):
        raise DataError(f"the data folder {root} is empty.")


def _refuse_unused(root: Path, layout: str, options: CsvOptions) -> None:
    unused = options.given() & _OF_COLUMNS - _ALSO_USED.get(layout, set())
    if unused and layout != "csv":
        flag = f"--{min(unused).replace('_', '-')}"
        hint = " For groups of clips in folders, use --group-pattern." if "group_column" in unused else ""
        raise UsageError(f"{flag} is for the layout csv, but {root} is read as {layout}; try --layout csv.{hint}")


def has_layout(root: Path) -> bool:
    """Return whether `root` has a layout other than one folder per class."""
    return any(ADAPTERS[name].found(root) for name in LAYOUTS[:-1])


def inner_data_set(root: Path) -> Path | None:
    """Return the only sub-folder with audio, if it has a layout of its own, as after unpacking."""
    tops = {path.partition("/")[0] for path in audio_files(root) if is_audio(path)}
    inner = root / min(tops)
    return inner if len(tops) == 1 and inner.is_dir() and has_layout(inner) else None


def _check_folders(root: Path, options: CsvOptions) -> list[str]:
    """Return notes about a data set of one folder per class. Raises DataError if there is evidence against it."""
    paths = [path for path in audio_files(root) if "/" in path and is_audio(path)]
    splits = folder.official_splits(root, paths, options)
    training = [path for path in paths if not folder.is_below(path, splits.get("test"))] or paths
    above = folder.shared_folder(training)
    names = sorted({path.removeprefix(above).split("/")[0] for path in training} - {folder.BACKGROUND})
    seen = "" if "valid" in splits else folder_contradictions(names)
    tables = tables_naming_clips(root, paths)
    if "test" in splits:
        tables = [table for table in tables if not _is_template(table)]
    against = [table for table in tables if table.contradicts]
    if seen or against:
        _refuse_folders(root, names, seen, tables)
    return [
        f"{table.path} names the clips and their folders too; --train-csv {table.path} reads it" for table in tables
    ]


def _is_template(table: NamingTable) -> bool:
    return Path(table.path).stem.lower().replace("_", "") == "samplesubmission"


def _refuse_folders(root: Path, names: list[str], seen: str, tables: list[NamingTable]) -> NoReturn:
    """Raise DataError that names the evidence and the options that would read the data set."""
    inner = [path for path in sorted(root.iterdir()) if path.is_dir() and not is_junk(path.name)]
    known = {path: next((name for name in LAYOUTS[:-1] if ADAPTERS[name].found(path)), None) for path in inner}
    ways = [f"--data {path} (layout {layout})" for path, layout in known.items() if layout]
    columns = [table for table in tables if not _is_template(table) and not table.path.endswith(".txt")]
    columns.sort(key=lambda table: ("test" in table.path.lower(), -table.named))
    ways += [f"--train-csv {table.path}" for table in columns[:3]]
    tests = [name for name in names if "test" in name.lower()]
    ways += [f"--test-dir {name} (its clips are the test set)" for name in tests[:1]]
    ways += [f"--data {root / names[0]} for one of them", "--train-csv FILE that names each clip"] if not ways else []
    ways.append("--layout folder if the folders are classes")
    said = [seen] if seen else []
    said += [f"{table.path} names {table.named} clips" for table in tables[:4]]
    raise DataError(
        f"{root} does not have one folder per class: {'; '.join(said)}.\nChoose how to read it: {', or '.join(ways)}."
    )


def _only_wanted(dataset: Dataset, options: CsvOptions) -> Dataset:
    """Return the data set with only the labeled clips that `--where` selects."""
    import polars as pl

    clips, wanted = dataset.clips, options.wanted_values(dataset.clips.columns)
    for name, values in wanted.items():
        if name not in clips.columns:
            raise DataError(f"{dataset.root} has no column {name!r}; it has {', '.join(clips.columns)}.")
        column = clips[name] if name == "label" else clips[name].cast(pl.String).reshape((-1, 1)).arr.to_list()
        text = column.list.eval(pl.element().str.to_lowercase())
        is_wanted = text.list.eval(pl.element().is_in(list(values))).list.any()
        kept = clips.filter(is_wanted | (clips["label"].list.len() == 0))
        if "train" not in kept["split"]:
            has = listed(sorted(text.explode().drop_nulls().unique()))
            raise DataError(
                f"{dataset.root}: no training clip has {name}={' or '.join(values)}; {name} contains {has}."
            )
        clips = kept
    if missing := options.missing_note(dataset.clips.columns):
        dataset = replace(dataset, notes=(*dataset.notes, missing))
    if not wanted:
        return dataset
    there = set(clips["label"].explode().drop_nulls())
    classes = {name: index for name, index in dataset.classes.items() if name in there}
    note = f"--where keeps {len(clips)} of {len(dataset.clips)} clips"
    return replace(dataset, clips=clips, classes=classes, notes=(*dataset.notes, note))


def _with_groups(dataset: Dataset, finder: re.Pattern[str]) -> Dataset:
    """Return the data set with the groups that a pattern finds in the paths of clips."""
    import polars as pl

    found = [finder.search(path) for path in dataset.clips["path"]]
    groups = [(match[1] if finder.groups else match[0]) if match else None for match in found]
    if not any(groups):
        raise DataError(f"--group-pattern {finder.pattern!r} matches no path, such as {dataset.clips['path'][0]}.")
    clips = dataset.clips.with_columns(group=pl.Series(groups, dtype=pl.String))
    train = clips.filter(pl.col("split") == "train")["group"]
    rest = f"; {n} training clips have none" if (n := train.null_count()) else ""
    note = f"{train.drop_nulls().n_unique()} groups of training clips from --group-pattern{rest}"
    return replace(dataset, clips=clips, notes=(*dataset.notes, note))
