"""ESC-50, ESC-10 and subsets: `meta/esc50.csv` and `audio/`.

K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM MM 2015, https://github.com/karolpiczak/ESC-50.
The five folds are official. Clips cut from one Freesound recording share `src_file` and are in one fold.
"""

from __future__ import annotations

from pathlib import Path

from acoustic_kit.data.audio_files import safe_path
from acoustic_kit.data.audio_index import AudioIndex, locate
from acoustic_kit.data.dataset import CsvOptions, Dataset, make_clips
from acoustic_kit.data.label_tables import read_label_table
from acoustic_kit.errors import DataError

LOOKS_FOR = "meta/esc50.csv and audio/"


def found(root: Path) -> bool:
    """Return whether `root` has this layout."""
    return (root / "meta" / "esc50.csv").is_file() and (root / "audio").is_dir()


def read(root: Path, options: CsvOptions) -> Dataset:
    """Read the metadata. The id is the file name; classes are in the order of `target`. Raises DataError."""
    if not found(root):
        raise DataError(f"{root} is not ESC-50: it lacks {LOOKS_FOR}.")
    table = read_label_table(root / "meta" / "esc50.csv")
    names = [f"audio/{safe_path(name, table.at(row))}" for row, name in enumerate(table.ids("filename"))]
    paths, notes = locate(table, names, AudioIndex(root), "train", may_lack=options.skip_missing)
    table = table.keep([path is not None for path in paths])
    ids = table.ids("filename")
    columns = {
        "id": ids,
        "path": [path for path in paths if path],
        "label": [[name] for name in table.required("category")],
        "fold": table.whole_numbers("fold"),
        "group": table.required("src_file"),
        "split": ["train"] * len(ids),
    }
    own = table.own(without={"filename", "fold", "target", "category", "src_file"})
    return Dataset(
        layout="esc50",
        root=root,
        clips=make_clips(columns, own),
        classes=table.class_indices("category", "target"),
        task="single",
        official_folds=True,
        notes=notes,
    )
