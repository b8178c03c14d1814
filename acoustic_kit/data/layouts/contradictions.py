"""Evidence against one folder per class: folders named like splits or folds, and tables that name the clips.

A data set of unknown layout would otherwise get the classes `fold1` to `fold10`, or `train` and `test`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from acoustic_kit.data.audio_files import walk_files
from acoustic_kit.data.audio_index import first_three, normalized_name
from acoustic_kit.data.layouts.csv_columns import FOLD_NAMES, SPLIT_NAMES
from acoustic_kit.tables import first_rows

_TRAIN_WORDS = frozenset({"train", "training", "trainset", "curated", "noisy"})
# fmt: off
_TEST_WORDS = frozenset((
    "test", "testing", "testset", "valid", "validation", "val", "dev", "development", "eval", "evaluation", "holdout",
    "unlabeled", "unlabelled",
))
# fmt: on
_FOLD = re.compile(r"(k?folds?|splits?|parts?|batch|chunk|subset)[ _-]?\d+")
_TABLES = frozenset({".csv", ".tsv", ".txt"})
_MOST_TABLES, _MOST_BYTES, _MOST_ROWS = 50, 1 << 18, 1000


@dataclass(frozen=True)
class NamingTable:
    """A table of which one column names clips."""

    path: str  # relative to the root
    named: int  # number of clips, among the first rows
    repeats_folders: bool  # whether another column contains the clip's folder
    has_splits: bool  # whether there is a column of folds or splits

    @property
    def contradicts(self) -> bool:
        """Whether the table contains more than the folders show."""
        return self.has_splits or not self.repeats_folders


def folder_contradictions(names: Sequence[str]) -> str:
    """Return a clause that says why these folders are not classes; empty if they may be."""
    folds = [name for name in names if _FOLD.fullmatch(name.lower())]
    if len(folds) > 1 or any("fold" in name.lower() for name in folds):
        return f"{first_three(folds)} are named like folds"
    words = {name: set(re.split(r"[^a-z]+", name.lower())) for name in names}
    train = [name for name in names if words[name] & _TRAIN_WORDS]
    test = [name for name in names if words[name] & _TEST_WORDS]
    alone = [name for name in test if name.lower() in _TEST_WORDS]  # "train" may be a class
    both = sorted({*train, *test})
    called = both if (train and test) or len(both) == len(names) > 1 else alone
    if not called:
        return ""
    return f"{first_three(called)} {'is named like a split' if len(called) == 1 else 'are named like splits'}"


def tables_naming_clips(root: Path, paths: Sequence[str]) -> list[NamingTable]:
    """Return the tables below `root`, the sample submission among them, that name the clips of `paths`.

    At most 50 tables, and 1,000 rows of each, are read; text files between clips count as annotations.
    """
    with_clips = {path.rpartition("/")[0] for path in paths}
    files = list(walk_files(root))
    workspaces = tuple(path.removesuffix("akit.toml") for path in files if path.endswith("/akit.toml"))
    found = [path for path in files if PurePosixPath(path).suffix.lower() in _TABLES]
    found = [path for path in found if not path.startswith(workspaces)]  # their submissions name clips
    found = [path for path in found if not path.endswith(".txt") or path.rpartition("/")[0] not in with_clips]
    found.sort(key=lambda path: (path.count("/"), path))
    if not found:
        return []
    folders: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        above, _, name = path.rpartition("/")
        for key in {normalized_name(name), normalized_name(PurePosixPath(name).stem)}:
            folders[key].update(map(normalized_name, above.split("/")))
    tables = (_naming_table(root, path, folders) for path in found[:_MOST_TABLES])
    return [table for table in tables if table is not None]


def _naming_table(root: Path, path: str, folders: dict[str, set[str]]) -> NamingTable | None:
    rows = first_rows(root / path, ",\t;", n_rows=_MOST_ROWS, n_bytes=_MOST_BYTES)
    header = rows[0] if rows else []
    rows = [row for row in rows if len(row) == len(header)]
    for column in range(len(header)):
        cells = [normalized_name(row[column].strip().replace("\\", "/").rpartition("/")[2]) for row in rows]
        first = 0 if cells and cells[0] in folders else 1  # a list has no header
        hits = [row for row in range(first, len(rows)) if cells[row] in folders]
        if len(hits) < 2 or len(hits) < 0.8 * len(cells[first:]):
            continue
        named = {cells[row] for row in hits}
        if all(map(str.isdecimal, named)) and len(named) < len(hits):
            continue  # a column of numbers, which match clips named 1.wav, 2.wav by chance
        repeats = any(
            all(normalized_name(rows[row][other].strip()) in folders[cells[row]] for row in hits)
            for other in range(len(header))
            if other != column
        )
        names = {name.strip().lower() for name in header}
        return NamingTable(path, len(hits), repeats, bool(names & {*FOLD_NAMES, *SPLIT_NAMES}))
    return None
