"""What every adapter returns: the clips of one data set as it lies on disk, before its audio is looked at."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from acoustic_kit.data.schema import clip_schema, manifest_schema
from acoustic_kit.errors import DataError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl


@dataclass(frozen=True)
class CsvOptions:
    """How a data set is read if guesses are not enough; None is guessed. Fields are the options of `akit init`."""

    id_column: str | None = None
    label_column: str | None = None
    audio_column: str | None = None
    group_column: str | None = None
    label_separator: str | None = None  # between several labels in one cell; empty: one label a cell
    train_csv: str | None = None  # the training table, in the data set's folder or anywhere
    test_dir: str | None = None  # the folder of test clips, below the data set's
    group_pattern: str | None = None  # regular expression on paths: its first group, else all that it matches
    where: tuple[str, ...] = ()  # "column=value": of labelled clips only those with one of a column's values
    skip_missing: bool = False  # leave out clips that are not on disk

    def given(self) -> set[str]:
        """Return the names of the fields that are not as by default."""
        return {field.name for field in fields(self) if getattr(self, field.name) != field.default}

    def group_finder(self) -> re.Pattern[str] | None:
        """Return the compiled `group_pattern`. Raises UsageError if it is no regular expression."""
        try:
            return re.compile(self.group_pattern) if self.group_pattern is not None else None
        except re.error as error:
            raise UsageError(f"--group-pattern {self.group_pattern!r} is no regular expression: {error}.") from error

    def wanted_values(self) -> dict[str, set[str]]:
        """Return column → the values of `where`, in lower case. Raises UsageError for one without `=`."""
        wanted: dict[str, set[str]] = {}
        for condition in self.where:
            column, equals, value = condition.partition("=")
            if not equals or not column.strip():
                raise UsageError(f"--where {condition!r}: write COLUMN=VALUE.")
            wanted.setdefault(column.strip(), set()).add(value.strip().lower())
        return wanted


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set as an adapter found it.

    `clips` has one row a clip: `id`, `path` (relative to `root`, with /), `label` (list of str, empty where there is
    none), `fold` (int64, null where the data set has none), `group` (str or null: clips of one recording or speaker),
    `split` ("train" or "test"), then the data set's own columns. Test clips may have labels: they become the truth.
    """

    layout: str
    root: Path
    clips: pl.DataFrame
    classes: dict[str, int]  # class name → the data set's own index (the position where it has none), in class order
    task: Literal["single", "multi"]
    official_folds: bool = False  # the folds are the data set's own
    template: Path | None = None  # the competition's sample submission
    label_separator: str | None = None  # between several labels of one clip; set exactly for task "multi"
    notes: tuple[str, ...] = ()  # what its reader should know, a line each: how many clips are left out, and why


def make_clips(columns: dict[str, Any], own: pl.DataFrame | None = None) -> pl.DataFrame:
    """Clips from the given columns (`id`, `path`, `label`, `split`; `fold` and `group` where there are any).

    Own columns follow; one that bears the name of a column of the manifest becomes `own_<name>`.
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


def join_splits(train: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    """One table of both. Where the two number their clips alike, training ids become `train/<id>`.

    Raises DataError where one file is both a training and a test clip.
    """
    import polars as pl

    if both := sorted(set(train["path"]) & set(test["path"])):
        raise DataError(f"{both[0]} is a training and a test clip at once ({len(both)} in all).")
    if not set(train["id"]).isdisjoint(test["id"]):
        train = train.with_columns(id="train/" + pl.col("id"))
    return pl.concat([train, test], how="diagonal_relaxed")


def class_order(labels: Iterable[str]) -> dict[str, int]:
    """Class name → own index: the number itself if every name is a whole number, else the alphabetical position.

    Numbers of more than 15 digits are names.
    """
    names = sorted(set(labels))
    if all(re.fullmatch(r"0|-?[1-9][0-9]{0,14}", name) for name in names):
        return {str(number): number for number in sorted(map(int, names))}
    return {name: index for index, name in enumerate(names)}
