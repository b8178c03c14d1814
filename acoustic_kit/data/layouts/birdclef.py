"""BirdCLEF, from 2021 on: `train_metadata.csv`, `train_audio/`, and a sample submission with rows for 5-second windows.

S. Kahl et al., "Overview of BirdCLEF", LifeCLEF 2021 and later, https://www.kaggle.com/competitions/birdclef-2025. A
recording of `train_audio/` has a primary label and secondary ones, which are labels too unless `--secondary` says
otherwise. It is one clip, or with `--window` several. The classes are those of `taxonomy.csv`, else of the sample
submission.

A row of the sample submission, `soundscape_7_15`, is about the part of `test_soundscapes/soundscape_7.ogg` that ends at
15 s. Before the competition's own run, that folder is empty: then there are no test clips. The unlabeled recordings of
`train_soundscapes/` (2025) or `unlabeled_soundscapes/` (2024) are left out. The windows of `train_soundscapes/` that
`train_soundscape_labels.csv` (2021) labels are training clips. The sample submissions of 2021 and 2022 have other
forms, which are not written: a test recording is then a clip, or with `--window` several.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from acoustic_kit.data.audio_files import audio_files, is_audio, safe_path
from acoustic_kit.data.audio_index import AudioIndex, locate, require_files
from acoustic_kit.data.dataset import CsvOptions, Dataset, class_order, free_separator, join_splits, make_clips
from acoustic_kit.data.label_tables import LabelTable, find_template, header_names, read_label_table
from acoustic_kit.data.layouts.template_rows import windows_of_ids
from acoustic_kit.data.windows import Windows
from acoustic_kit.errors import DataError

if TYPE_CHECKING:
    import polars as pl

LOOKS_FOR = "train_metadata.csv with primary_label and filename, and train_audio/"
_METADATA = "train_metadata.csv"
_AUDIO = ("train_audio", "train_short_audio")  # the latter in 2021
_TEST = "test_soundscapes"
_UNLABELED = ("train_soundscapes", "unlabeled_soundscapes")
_LABELED = "train_soundscape_labels.csv"
_WINDOWS = Windows(length=5, hop=5)  # of all these competitions
_OTHER_FORMS = {
    "birds": "the labels of a window in one cell",  # 2021
    "target": "a row for each window and class",  # 2022
}


def found(root: Path) -> bool:
    """Return whether `root` has this layout."""
    return _audio_folder(root) is not None and {"primary_label", "filename"} <= header_names(root / _METADATA)


def _audio_folder(root: Path) -> str | None:
    return next((name for name in _AUDIO if (root / name).is_dir()), None)


def read(root: Path, options: CsvOptions) -> Dataset:
    """Read the tables. The id of a training recording is its `filename`. Raises DataError."""
    import polars as pl

    folder = _audio_folder(root)
    if folder is None or not found(root):
        raise DataError(f"{root} is not BirdCLEF: it lacks {LOOKS_FOR}.")
    table = read_label_table(root / _METADATA)
    template, form_note = _template(root)
    classes, order_note = _classes(root, table, template)
    files = AudioIndex(root)
    train, train_notes = _training_clips(table, folder, files, classes, options)
    labeled = _labeled_windows(root, files, classes)
    train = train if labeled is None else pl.concat([train, labeled], how="diagonal")
    known = set(train["path"])
    test, test_note = _test_clips(root, template, options)
    unlabeled = {
        name: sum(path.startswith(f"{name}/") and is_audio(path) and path not in known for path in files.paths)
        for name in _UNLABELED
    }
    notes = [
        order_note,
        form_note,
        *train_notes,
        test_note,
        *(f"{n} unlabeled recordings of {name}/ are left out" for name, n in unlabeled.items() if n),
    ]
    return Dataset(
        layout="birdclef",
        root=root,
        clips=train if test is None else join_splits(train, test),
        classes=classes,
        task="multi",
        template=template.path if template else None,
        label_separator=free_separator(classes),
        metric=_metric(root),
        secondary="positive",
        notes=tuple(filter(None, notes)),
    )


def _template(root: Path) -> tuple[LabelTable | None, str]:
    """Return the sample submission, if it has a column for each class, and a note if it has not."""
    path = find_template(root)
    table = read_label_table(path) if path else None
    if path is None or table is None or len(table.columns) != 2 or table.columns[1] not in _OTHER_FORMS:
        return table, ""
    return None, (
        f"{path.name} wants {_OTHER_FORMS[table.columns[1]]} ({table.columns[1]!r}), which akit does not write: "
        f"convert what `akit predict NAME {_TEST} --window 5` writes, a row for each window and a column for each class"
    )


def _metric(root: Path) -> str:
    """Return the metric of the competition: in 2023, which had no unlabeled recordings, padded average precision."""
    later = any((root / name).exists() for name in ("taxonomy.csv", *_UNLABELED))
    return "cmap5" if not later and any(root.glob("eBird_Taxonomy*.csv")) else "roc_auc"


def _classes(root: Path, table: LabelTable, template: LabelTable | None) -> tuple[dict[str, int], str]:
    """Return the classes and a note about where their order is from: the taxonomy, the template, or the labels."""
    columns = template.columns[1:] if template else []
    if (root / "taxonomy.csv").is_file():
        taxonomy = read_label_table(root / "taxonomy.csv")
        names = taxonomy.ids("primary_label")
        if not columns or set(names) == set(columns):
            return {name: index for index, name in enumerate(names)}, "the classes are those of taxonomy.csv"
    if columns and template is not None:
        return {
            name: index for index, name in enumerate(columns)
        }, f"the classes are the columns of {template.path.name}"
    return class_order(table.required("primary_label")), ""


def _training_clips(
    table: LabelTable, folder: str, files: AudioIndex, classes: dict[str, int], options: CsvOptions
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the recordings of the metadata that are on disk, with their primary labels, and notes."""
    primary, ids = table.required("primary_label"), table.ids("filename")
    for row, name in enumerate(primary):
        if name not in classes:
            table.fail(row, f"the label {name!r} is no class.")
    names = [
        f"{folder}/{safe_path(id if '/' in id else f'{label}/{id}', table.at(row))}"
        for row, (id, label) in enumerate(zip(ids, primary, strict=True))
    ]
    paths, notes = locate(table, names, files, "train", may_lack=options.skip_missing)
    group = options.group_column
    columns = {
        "id": ids,
        "path": paths,
        "label": [[label] for label in primary],
        "group": None if group is None else table.required_column(group),
        "split": ["train"] * len(ids),
    }
    own = table.own(without={"primary_label", "filename", *([group] if group else [])})
    clips = make_clips(columns, own)
    return clips.filter(clips["path"].is_not_null()), notes


def _labeled_windows(root: Path, files: AudioIndex, classes: dict[str, int]) -> pl.DataFrame | None:
    """Return the windows that `train_soundscape_labels.csv` labels; None if there is none.

    The window of 5 s `7019_COR_5` is in the recording `train_soundscapes/7019_COR_20190904.ogg`.
    """
    if not (root / _LABELED).is_file():
        return None
    table = read_label_table(root / _LABELED)
    ids, ends = table.ids("row_id"), table.whole_numbers("seconds")
    soundscapes = [path for path in files.paths if path.startswith(f"{_UNLABELED[0]}/") and is_audio(path)]
    path_of = {"_".join(PurePosixPath(path).stem.split("_")[:2]): path for path in soundscapes}
    names = [id.rpartition("_")[0] for id in ids]
    require_files(table.path, {f"{_UNLABELED[0]}/{name}": name in path_of for name in names})
    labels = [[name for name in cell.split() if name != "nocall"] for cell in table.required("birds")]
    for row, of_row in enumerate(labels):
        for name in of_row:
            if name not in classes:
                table.fail(row, f"the label {name!r} is no class.")
    columns = {
        "id": ids,
        "path": [path_of[name] for name in names],
        "start": [end - _WINDOWS.length for end in ends],
        "end": [float(end) for end in ends],
        "label": labels,
        "split": ["train"] * len(ids),
    }
    return make_clips(columns)


def _test_clips(root: Path, template: LabelTable | None, options: CsvOptions) -> tuple[pl.DataFrame | None, str]:
    """Return the windows that the template asks for, or the recordings if there is no template, and a note."""
    folder = root / _TEST
    paths = [f"{_TEST}/{path}" for path in audio_files(folder) if is_audio(path)] if folder.is_dir() else []
    if not paths:
        return None, f"{_TEST}/ contains no recording yet, so there are no test clips"
    files = AudioIndex(root, paths)
    if template is None:
        ids = [path.removeprefix(f"{_TEST}/") for path in paths]
        return make_clips({"id": ids, "path": paths, "label": [[]] * len(ids), "split": ["test"] * len(ids)}), ""
    ids = template.ids(template.columns[0])
    windows = options.windows or _WINDOWS
    meant = windows_of_ids(template, ids, windows, files) or []
    if not any(files.find(window.name, "test") for window in meant):
        return None, f"{_TEST}/ has no recording of {template.path.name}, so there are no test clips"
    names = [safe_path(window.name, template.at(row)) for row, window in enumerate(meant)]
    found, notes = locate(template, names, files, "test", may_lack=options.skip_missing, kept=True)
    columns = {
        "id": ids,
        "path": [path or name for path, name in zip(found, names, strict=True)],
        "start": [window.start for window in meant],
        "end": [window.end for window in meant],
        "label": [[]] * len(ids),
        "split": ["test"] * len(ids),
    }
    return make_clips(columns), "; ".join(notes)
