"""UrbanSound8K: `metadata/UrbanSound8K.csv` and `audio/fold1` to `fold10`; or the tables of a competition over it.

J. Salamon, C. Jacoby, J. P. Bello, "A Dataset and Taxonomy for Urban Sound Research", ACM MM 2014,
https://urbansounddataset.weebly.com/urbansound8k.html. The ten folds are official; clips cut from one Freesound
recording share `fsID` and are in one fold. Mirrors put `UrbanSound8K.csv` beside `fold1` to `fold10`.

The course competition "Echoes of the City" gives folds 1 to 8 as `metadata/kaggle_train.csv` (`slice_file_name, fold,
classID, salience`) with clips in `audio/fold<k>/`, and folds 9 and 10 as `metadata/kaggle_test.csv` (`ID,
slice_file_name, salience`) with clips in `audio/test/`. Its submissions print `ID` and the class's index, in the form
of a `sample_submission.csv` in the root or in `metadata/`. If both tables exist, the competition's are read.
"""

from __future__ import annotations

from pathlib import Path

from acoustic_kit.data.audio_files import safe_path
from acoustic_kit.data.audio_index import AudioIndex, locate
from acoustic_kit.data.dataset import CsvOptions, Dataset, join_splits, make_clips
from acoustic_kit.data.label_tables import LabelTable, find_template, first_file, read_label_table
from acoustic_kit.errors import DataError

LOOKS_FOR = "metadata/UrbanSound8K.csv (or metadata/kaggle_train.csv) and audio/; UrbanSound8K.csv and fold1/"
# fmt: off
CLASSES = (  # in order of `classID`; the competition's tables lack the names
    "air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling", "engine_idling", "gun_shot",
    "jackhammer", "siren", "street_music",
)
# fmt: on
_OFFICIAL = ("metadata/UrbanSound8K.csv", "UrbanSound8K.csv")
_TRAIN = "metadata/kaggle_train.csv"
_TEST = "metadata/kaggle_test.csv"


def found(root: Path) -> bool:
    """Return whether `root` has this layout."""
    if first_file(root, _OFFICIAL):
        return (root / "audio").is_dir() or (root / "fold1").is_dir()
    return (root / "audio").is_dir() and (root / _TRAIN).is_file()


def read(root: Path, options: CsvOptions) -> Dataset:
    """Read the metadata. Classes are in order of `classID`. Raises DataError.

    The id is `slice_file_name`; for the competition's test clips it is `ID`.
    """
    if not found(root):
        raise DataError(f"{root} is not UrbanSound8K: it lacks {LOOKS_FOR}.")
    if (root / _TRAIN).is_file() and (root / "audio").is_dir():
        return _read_competition(root, options)
    path = first_file(root, _OFFICIAL)
    assert path is not None
    return _read_official(root, read_label_table(path), options)


def _read_official(root: Path, table: LabelTable, options: CsvOptions) -> Dataset:
    folders = [f"fold{fold}" for fold in table.whole_numbers("fold")]
    table, paths, notes = _locate(root, table, folders, "train", options)
    columns = {
        "id": table.ids("slice_file_name"),
        "path": paths,
        "label": [[name] for name in table.required("class")],
        "fold": table.whole_numbers("fold"),
        "group": table.required("fsID"),
        "split": ["train"] * len(table.lines),
    }
    own = table.own(without={"slice_file_name", "fold", "class", "classID", "fsID"})
    return Dataset(
        layout="urbansound8k",
        root=root,
        clips=make_clips(columns, own),
        classes=table.class_indices("class", "classID"),
        task="single",
        official_folds=True,
        notes=notes,
    )


def _read_competition(root: Path, options: CsvOptions) -> Dataset:
    train, test = read_label_table(root / _TRAIN), read_label_table(root / _TEST)
    folders = [f"fold{fold}" for fold in train.whole_numbers("fold")]
    train, train_paths, train_notes = _locate(root, train, folders, "train", options)
    test, test_paths, test_notes = _locate(root, test, ["test"] * len(test.lines), "test", CsvOptions())
    template = find_template(root) or find_template(root / "metadata")
    names = train.ids("slice_file_name")
    train_columns = {
        "id": names,
        "path": train_paths,
        "label": [[name] for name in _class_names(train)],
        "fold": train.whole_numbers("fold"),
        # A slice is named <fsID>-<classID>-<occurrence>-<slice>.wav.
        "group": [name.partition("-")[0] if "-" in name else None for name in names],
        "split": ["train"] * len(names),
    }
    test_ids = test.ids("ID")
    test_columns = {
        "id": test_ids,
        "path": test_paths,
        "label": [[] for _ in test_ids],
        "split": ["test"] * len(test_ids),
    }
    return Dataset(
        layout="urbansound8k",
        root=root,
        clips=join_splits(
            make_clips(train_columns, train.own(without={"slice_file_name", "fold", "classID"})),
            make_clips(test_columns, test.own(without={"slice_file_name", "ID"})),
        ),
        classes={name: index for index, name in enumerate(CLASSES)},
        task="single",
        official_folds=True,
        template=template,
        notes=(
            *train_notes,
            *test_notes,
            *(
                ()
                if template
                else ("sample_submission.csv is missing: submissions will have the columns id,label with class names",)
            ),
        ),
    )


def _locate(
    root: Path, table: LabelTable, folders: list[str], split: str, options: CsvOptions
) -> tuple[LabelTable, list[str], tuple[str, ...]]:
    """Return the rows whose clip is on disk, the paths of their clips, and notes."""
    above = "audio/" if (root / "audio").is_dir() else ""
    names = [
        f"{above}{folder}/{safe_path(name, table.at(row))}"
        for row, (folder, name) in enumerate(zip(folders, table.required("slice_file_name"), strict=True))
    ]
    paths, notes = locate(table, names, AudioIndex(root), split, may_lack=options.skip_missing)
    return table.keep([path is not None for path in paths]), [path for path in paths if path], notes


def _class_names(table: LabelTable) -> list[str]:
    numbers = table.whole_numbers("classID")
    for row, number in enumerate(numbers):
        if not 0 <= number < len(CLASSES):
            table.fail(row, f"classID {number} is not one of 0 to {len(CLASSES) - 1}.")
    return [CLASSES[number] for number in numbers]
