"""Tables of labels: CSV and TSV files with any usual separator, and errors that name the line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from acoustic_kit.errors import DataError
from acoustic_kit.tables import first_rows, listed, quoted, read_table, repeated

if TYPE_CHECKING:
    import numpy as np
    import polars as pl


UNKNOWN = -1.0  # in a column of a class, as in SONYC; an empty cell too
_WHOLE = re.compile(r"([+-]?[0-9]+)(\.0*)?")


@dataclass(frozen=True, eq=False)
class LabelTable:
    """A table of text cells; its errors name the file and the line."""

    path: Path
    cells: pl.DataFrame  # every column String, outer blanks removed, null for empty cells
    lines: list[int]  # line of the file on which each row begins, counted from 1

    @property
    def columns(self) -> list[str]:
        """The column names."""
        return self.cells.columns

    def at(self, row: int) -> str:
        """Return file and line of a row, counted from 0."""
        return f"{self.path}, line {self.lines[row]}"

    def fail(self, row: int, problem: str) -> NoReturn:
        """Raise a DataError about one row, counted from 0."""
        raise DataError(f"{self.at(row)}: {problem}")

    def required_column(self, name: str) -> list[str | None]:
        """Return a column, None for empty cells. Raises DataError if it is missing."""
        if name not in self.columns:
            raise DataError(f"{self.path} has no column {name!r}; it has {column_list(self.columns)}.")
        return self.cells[name].to_list()

    def required(self, name: str) -> list[str]:
        """Return a column without empty cells. Raises DataError if it is missing or has empty cells."""
        cells = self.required_column(name)
        if None in cells:
            gaps = f" (and in {n} more rows)" if (n := cells.count(None) - 1) else ""
            self.fail(cells.index(None), f"the column {name!r} is empty{gaps}.")
        return [cell for cell in cells if cell is not None]

    def ids(self, name: str) -> list[str]:
        """Return a column of unique cells. Raises DataError for empty and repeated ones."""
        seen: dict[str, int] = {}
        for row, cell in enumerate(self.required(name)):
            if (first := seen.setdefault(cell, row)) != row:
                self.fail(row, f"a second row with the {name} {cell!r}; the first is on line {self.lines[first]}.")
        return list(seen)

    def whole_numbers(self, name: str) -> list[int]:
        """Return a column of integers of at most 15 digits, `2.0` included. Raises DataError for other cells."""
        numbers = []
        for row, cell in enumerate(self.required(name)):
            if not (match := _WHOLE.fullmatch(cell)):
                self.fail(row, f"{name} {quoted(cell)} is not an integer.")
            if len(match[1]) > 15:
                self.fail(row, f"{name} {quoted(cell)} has more than 15 digits.")
            numbers.append(int(match[1]))
        return numbers

    def probabilities(
        self,
        names: Sequence[str],
        read: Callable[[pl.Series], pl.Series] | None = None,
        *,
        unknown: float | None = None,
        problem: str = "{column} {cell} is not a probability from 0 to 1; leave the cell empty if it is unknown.",
    ) -> np.ndarray:
        """Return columns as float64 (rows, names) in [0, 1], NaN for empty cells.

        - `read`: returns the numbers of a column, null for other text; None reads plain numbers
        - `unknown`: a number that means the same as an empty cell
        - `problem`: the message for any other cell

        Raises DataError, which names the line, for a missing column, and for any other cell.
        """
        import numpy as np
        import polars as pl

        for name in names:
            self.required_column(name)
        cells = self.cells.select(names)
        numbers = [(read or (lambda column: column.cast(pl.Float64, strict=False)))(column) for column in cells]
        values = pl.DataFrame(numbers).cast(pl.Float64).to_numpy()
        is_unknown = cells.select(pl.all().is_null()).to_numpy() | (values == unknown)
        wrong = np.argwhere(~is_unknown & ~((values >= 0) & (values <= 1)))
        if len(wrong):
            row, column = wrong[0].tolist()
            self.fail(row, problem.format(column=names[column], cell=quoted(cells[row, column])))
        return np.where(is_unknown, np.nan, values)

    def class_indices(self, name: str, index: str) -> dict[str, int]:
        """Return class name → own index from two columns, in order of the index. Raises DataError if they disagree."""
        index_of: dict[str, int] = {}
        name_of: dict[int, str] = {}
        pairs = zip(self.required(name), self.whole_numbers(index), strict=True)
        for row, (label, number) in enumerate(pairs):
            if index_of.setdefault(label, number) != number or name_of.setdefault(number, label) != label:
                self.fail(row, f"{name} {label!r} has {index} {number}, but other rows pair them differently.")
        return dict(sorted(index_of.items(), key=lambda pair: pair[1]))

    def keep(self, rows: list[bool]) -> LabelTable:
        """Return the table with only the rows that are True."""
        return LabelTable(
            self.path, self.cells.filter(rows), [line for line, kept in zip(self.lines, rows, strict=True) if kept]
        )

    def where(self, wanted: dict[str, set[str]]) -> LabelTable:
        """Return the table with only the rows that have one of the values (in lower case) of each column.

        Raises DataError for a missing column, and if no row is left.
        """
        kept = [True] * len(self.lines)
        for name, values in wanted.items():
            cells = self.required_column(name)
            kept = [keep and (cell or "").lower() in values for keep, cell in zip(kept, cells, strict=True)]
            if not any(kept):
                has = listed(sorted({cell for cell in cells if cell}))
                raise DataError(f"{self.path}: no row has {name}={' or '.join(sorted(values))}; {name} contains {has}.")
        return self.keep(kept)

    def own(self, without: set[str]) -> pl.DataFrame:
        """Return the other columns, with integers, numbers and truth values converted."""
        import polars as pl

        return pl.DataFrame([_typed(column) for column in self.cells if column.name not in without])


def column_list(names: Sequence[str]) -> str:
    """Return a table's column names for a message: 20 of them at most, each cut at 40 characters."""
    shown = ", ".join(name if len(name) <= 40 else f"{name[:39]}…" for name in names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown


def find_template(root: Path) -> Path | None:
    """Return the competition's sample submission in `root`, if there is one: Kaggle's, Zindi's or DrivenData's."""
    return first_file(root, ("sample_submission.csv", "SampleSubmission.csv", "submission_format.csv"))


def first_file(root: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first of these files that `root` contains, in any case of letters, as Zindi's `Train.csv`."""
    there = {path.name.lower(): path for path in sorted(root.iterdir(), reverse=True)}
    paths = (root / name if (root / name).is_file() else there.get(name.lower()) for name in names)
    return next((path for path in paths if path is not None and path.is_file()), None)


def header_names(path: Path) -> set[str]:
    """Return the column names of a comma-separated file, to tell layouts apart; none if there is no such file."""
    return {name.strip() for row in first_rows(path, n_bytes=10_000)[:1] for name in row}


def read_label_table(path: Path, *, columns: Sequence[str] | None = None, comment: str | None = None) -> LabelTable:
    """Read a table; the separator (comma, tab or semicolon) is the first one that the first line contains.

    `columns` and `comment` are those of `tables.read_table`; with `columns`, the separator is a comma and a table may
    have no rows.

    Raises DataError for text that is not UTF-8, a row longer or shorter than the header, and a table without rows.
    """
    import polars as pl

    table = read_table(path, ",\t;" if columns is None else ",", columns=columns, comment=comment)
    if columns is None and not any(any(map(str.strip, row)) for row in table.rows):
        raise DataError(f"{path} has no rows below its header.")
    header = [name.strip() or f"column_{position}" for position, name in enumerate(table.header)]
    if twice := repeated(header):
        raise DataError(f"{path}: two columns have the name {quoted(twice[0])}.")
    filled = [i for i, row in enumerate(table.rows) if any(cell.strip() for cell in row)]
    cells = [[cell.strip() or None for cell in table.rows[i]] for i in filled]
    frame = pl.DataFrame(cells, schema=dict.fromkeys(header, pl.String()), orient="row")
    return LabelTable(path, frame, [table.lines[i] for i in filled])


def _typed(column: pl.Series) -> pl.Series:
    """Convert integers (if all print as written, unlike 007) to int64, numbers to float64, truth values to bool."""
    import polars as pl

    known = column.drop_nulls()
    if known.is_empty():
        return column
    if known.str.contains(r"^[+-]?\d{16,}(\.0*)?$").any():
        return column  # numbers of so many digits are names, which float64 would change
    whole = known.cast(pl.Int64, strict=False)
    if whole.null_count() == 0 and (whole.cast(pl.String) == known).all():
        return column.cast(pl.Int64)
    if known.str.contains(r"^-?(0|[1-9]\d*)?(\.\d*)?([eE][-+]?\d+)?$").all():
        numbers = column.cast(pl.Float64, strict=False)
        return numbers if numbers.null_count() == column.null_count() else column
    lower = known.str.to_lowercase()
    return column.str.to_lowercase() == "true" if lower.is_in(["true", "false"]).all() else column
