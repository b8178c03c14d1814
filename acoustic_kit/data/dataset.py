"""The result of every adapter: the clips of a data set, before the audio files are scanned."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from acoustic_kit.data.schema import clip_schema, manifest_schema
from acoustic_kit.data.windows import ID_FORMAT, Windows
from acoustic_kit.errors import DataError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl


@dataclass(frozen=True)
class CsvOptions:
    """Options for reading a data set, named as those of `akit init`; None is guessed."""

    id_column: str | None = None
    label_column: str | None = None
    audio_column: str | None = None
    group_column: str | None = None
    label_separator: str | None = None  # between several labels in one cell; empty: one label per cell
    train_csv: str | None = None  # the training table: a path, or a file in the data set's folder
    test_dir: str | None = None  # the folder of test clips, below the data set's
    group_pattern: str | None = None  # regular expression on paths; a group is its first group, else its match
    where: tuple[str, ...] = ()  # "column=value": keep only labeled clips with one of a column's values
    where_found: bool = False  # apply `where` to the columns that the data set has, as extra clips may lack some
    skip_missing: bool = False  # leave out clips that are missing on disk
    windows: Windows | None = None  # into which recordings are divided; None: a clip is a file
    id_format: str | None = None  # of ids of the parts of files that a table gives, see `Windows`
    start_column: str | None = None  # seconds at which the part of a file begins that a row is about; empty: no column
    end_column: str | None = None
    weight_column: str | None = None  # weights of clips in losses; empty: no column
    secondary: str | None = None  # what secondary labels become, see `Secondary`; None: they are not used
    secondary_column: str | None = None  # lists of secondary labels
    secondary_found: bool = False  # the column may be missing, as other clips of the workspace may have it
    soft_targets: str | None = None  # table of probabilities by id: a path, or a file in the data set's folder
    min_overlap: float = 0.5  # of an event whose labels a window has, as a share of the shorter of both; in (0, 1]

    def __post_init__(self) -> None:
        """Raise UsageError for invalid values."""
        if not 0 < self.min_overlap <= 1:
            raise UsageError(f"--min-overlap {self.min_overlap}: give a share above 0, at most 1.")
        if self.windows is None and self.min_overlap != CsvOptions.min_overlap:
            raise UsageError("--min-overlap is for recordings that are cut into clips; give --window too.")
        if self.secondary is None and self.secondary_column is not None:
            raise UsageError("--secondary-column: give --secondary positive, soft=0.3 or mask too.")

    def given(self) -> set[str]:
        """Return the names of the fields that differ from their defaults."""
        return {field.name for field in fields(self) if getattr(self, field.name) != field.default}

    @staticmethod
    def asked_windows(window: float | None, hop: float | None, id_format: str | None) -> Windows | None:
        """Return how recordings are divided by these options. Raises UsageError if they are invalid."""
        windows = Windows.checked(1 if window is None else window, hop, ID_FORMAT if id_format is None else id_format)
        if window is None and hop is not None:
            raise UsageError("--hop is for recordings that are divided into clips; give --window too.")
        return None if window is None else windows

    def group_finder(self) -> re.Pattern[str] | None:
        """Return the compiled `group_pattern`. Raises UsageError if it is invalid."""
        try:
            return re.compile(self.group_pattern) if self.group_pattern is not None else None
        except re.error as error:
            raise UsageError(f"--group-pattern {self.group_pattern!r} is not a regular expression: {error}.") from error

    def wanted_values(self, columns: Collection[str] = ()) -> dict[str, set[str]]:
        """Return column → the values of `where`, in lower case; with `where_found`, of the given columns only.

        Raises UsageError for a condition without `=`.
        """
        wanted: dict[str, set[str]] = {}
        for condition in self.where:
            column, equals, value = condition.partition("=")
            if not equals or not column.strip():
                raise UsageError(f"--where {condition!r}: write COLUMN=VALUE.")
            wanted.setdefault(column.strip(), set()).add(value.strip().lower())
        return {name: wanted[name] for name in wanted if name in columns or not self.where_found}

    def missing_note(self, columns: Collection[str]) -> str:
        """Return a note about columns of `where` that the data set lacks; empty if there are none."""
        missing = [repr(name) for name in replace(self, where_found=False).wanted_values() if name not in columns]
        return f"--where: there is no column {', '.join(missing)}, so all of its values are kept" if missing else ""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set as read by an adapter.

    `clips` has one row per clip with the columns of `clip_schema` (`path` relative to `root`, with /; `label` empty if
    unknown; `fold` null if the data set has none), then the data set's own columns. Labels of test clips become the
    truth, also none if `soft` is an empty list, not null. In adapters, before `cut_recordings`, a row may be a
    recording, or an event: `start`, `end` and labels.
    """

    layout: str
    root: Path
    clips: pl.DataFrame
    classes: dict[str, int]  # class name → the data set's own index (else the position), in class order
    task: Literal["single", "multi"]
    official_folds: bool = False  # whether the folds are the data set's own
    template: Path | None = None  # the competition's sample submission
    label_separator: str | None = None  # between several labels of one clip; set exactly for task "multi"
    metric: str = "f1"  # the competition's, if akit knows it
    secondary: str | None = None  # what secondary labels become without `--secondary`
    lacks_secondary: bool = False  # whether `--secondary` was given, but there is no such column
    notes: tuple[str, ...] = ()  # for the user, a line each: how many clips are left out, and why


def make_clips(columns: dict[str, Any], own: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return clips from the given columns (`id`, `path`, `label`, `split`; `fold` and `group` if known).

    The data set's own columns follow; one with the name of a manifest column becomes `own_<name>`.
    """
    import polars as pl

    clips = pl.DataFrame({name: columns.get(name) for name in clip_schema()}, schema=clip_schema())
    if own is None:
        return clips
    taken, names = set(manifest_schema()), list[str]()
    for name in own.columns:
        while name in taken:
            name = f"own_{name}"  # noqa: PLW2901
        taken.add(name)
        names.append(name)
    return pl.concat([clips, own.rename(dict(zip(own.columns, names, strict=True)))], how="horizontal")


def free_separator(names: Iterable[str]) -> str:
    """Return a separator of labels that no label contains."""
    used = "".join(names)
    return next((mark for mark in ",;|" if mark not in used), "\t")


def join_splits(train: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    """Return both in one table. If they share ids, training ids become `train/<id>`.

    Raises DataError if a file is both a training and a test clip.
    """
    import polars as pl

    if both := sorted(set(train["path"]) & set(test["path"])):
        raise DataError(f"{both[0]} is both a training and a test clip ({len(both)} in all).")
    if not set(train["id"]).isdisjoint(test["id"]):
        train = train.with_columns(id="train/" + pl.col("id"))
    return pl.concat([train, test], how="diagonal_relaxed")


def class_order(labels: Iterable[str]) -> dict[str, int]:
    """Return class name → own index: the number itself if all names are integers, else the alphabetical position.

    Numbers of more than 15 digits are names.
    """
    names = sorted(set(labels))
    if all(re.fullmatch(r"0|-?[1-9][0-9]{0,14}", name) for name in names):
        return {str(number): number for number in sorted(map(int, names))}
    return {name: index for index, name in enumerate(names)}
