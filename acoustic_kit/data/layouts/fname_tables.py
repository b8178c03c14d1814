"""Tables with `fname`: `train.csv` (`fname,label`), `sample_submission.csv`, and a folder of clips for each.

The form of the Freesound competition of 2018 and of later ones.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.data.audio_files import safe_path
from acoustic_kit.data.audio_index import AudioIndex, locate
from acoustic_kit.data.dataset import join_splits, make_clips
from acoustic_kit.data.label_tables import LabelTable, find_template, read_label_table
from acoustic_kit.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_HINT = " If the clips are in another folder, use --layout csv."


def read_fname_tables(
    root: Path, train_folder: str, test_folder: str, may_lack: Collection[str] = ()
) -> tuple[pl.DataFrame, Path, tuple[str, ...]]:
    """Return the clips, as `Dataset.clips` but without folds, the template, and notes.

    The id is `fname`; rows keep their order. Raises DataError if a table or a clip is missing, except for the test
    clips in `may_lack`.
    """
    template = find_template(root)
    if not (root / "train.csv").is_file() or template is None:
        raise DataError(f"{root} lacks train.csv or sample_submission.csv.")
    train, test = read_label_table(root / "train.csv"), read_label_table(template)
    train_ids, test_ids = train.ids("fname"), test.ids("fname")
    files = AudioIndex(root)
    train_paths, train_notes = _paths(files, train, train_ids, train_folder, ())
    test_paths, test_notes = _paths(files, test, test_ids, test_folder, may_lack)
    train_clips = make_clips(
        {
            "id": train_ids,
            "path": train_paths,
            "label": [[label] for label in train.required("label")],
            "split": ["train"] * len(train_ids),
        },
        train.own(without={"fname", "label"}),
    )
    test_clips = make_clips(
        {
            "id": test_ids,
            "path": test_paths,
            "label": [[] for _ in test_ids],
            "split": ["test"] * len(test_ids),
        }
    )
    return join_splits(train_clips, test_clips), template, train_notes + test_notes


def _paths(
    files: AudioIndex, table: LabelTable, ids: list[str], folder: str, may_lack: Collection[str]
) -> tuple[list[str], tuple[str, ...]]:
    """Return the path of each row's clip, and notes."""
    names = [f"{folder}/{safe_path(name, table.at(row))}" for row, name in enumerate(ids)]
    certain = [name for id, name in zip(ids, names, strict=True) if id not in may_lack]
    split = "test" if "test" in folder else "train"
    paths, notes = locate(table, certain, files, split, may_lack=False, hint=_HINT)
    path_of = dict(zip(certain, paths, strict=True))
    return [path_of.get(name) or name for name in names], notes
