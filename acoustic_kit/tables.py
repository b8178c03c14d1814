"""Read untrusted tables: CSV files as text, with the line of each row, and Parquet files.

CSV files are parsed by the standard library's ``csv``, which knows the line of a row and infers no types.
"""

from __future__ import annotations

import csv
import io
import os
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acoustic_kit.errors import DataError
from acoustic_kit.files import open_regular, read_regular, replacing

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

SHOWN = 5  # offenders listed in a message


@dataclass(frozen=True)
class Problem:
    """A problem of a file."""

    message: str
    rows: tuple[int, ...] = ()  # line numbers in the file, the first five; the header is line 1
    harmless: bool = False  # only a warning

    def __str__(self) -> str:
        """Return the message, with the lines if known."""
        return f"{self.message} (line {', '.join(map(str, self.rows))})" if self.rows else self.message


@dataclass(frozen=True)
class Table:
    """Cells of a CSV file; all rows are as long as the header."""

    header: list[str]
    rows: list[list[str]]
    lines: list[int]  # (rows,) the line of the file on which each row begins
    separator: str = ","


def parse_table(
    path: Path, separators: str = ",", *, columns: Sequence[str] | None = None, comment: str | None = None
) -> Table | Problem:
    """Read a CSV file in UTF-8 (with or without BOM, any line ends), or return the Problem that prevents it.

    Blank lines are skipped.

    Parameters
    ----------
    separators : possible separators; the first one that the first line contains is used
    columns : the header of a file that has none
    comment : the beginning of rows to skip; with it, blanks after a separator are skipped too

    """
    try:
        text = read_regular(path).decode("utf-8-sig")
    except OSError as error:
        return Problem(f"cannot read the file: {error.strerror}")
    except UnicodeDecodeError as error:
        return Problem("not UTF-8 text; save it as CSV in UTF-8", (error.object.count(b"\n", 0, error.start) + 1,))
    separator = _separator(text, separators)
    rows, lines = ([] if columns is None else [list(columns)]), ([] if columns is None else [0])
    line = 1
    try:
        for row, end in _rows(text, separator, skip_blanks=comment is not None):
            if row and not (comment and row[0].startswith(comment)):
                rows.append(row)
                lines.append(line)
            line = end + 1
    except csv.Error as error:
        return Problem(f"not readable as CSV: {error}", (line,))
    if not rows:
        return Problem("the file is empty")
    width = len(rows[0])
    uneven = [(at, f"with {len(row)}") for row, at in zip(rows, lines, strict=True) if len(row) != width]
    if uneven:
        expected = "as the header has" if columns is None else ", ".join(columns)
        return problems({f"not {width} cells, {expected}": uneven})[0]
    return Table(rows[0], rows[1:], lines[1:], separator)


def read_table(
    path: Path, separators: str = ",", *, columns: Sequence[str] | None = None, comment: str | None = None
) -> Table:
    """Read a CSV file as `parse_table` does. Raises DataError with the Problem."""
    table = parse_table(path, separators, columns=columns, comment=comment)
    if isinstance(table, Problem):
        raise DataError(f"{path}: {table}")
    return table


def first_rows(path: Path, separators: str = ",", *, n_rows: int = 1000, n_bytes: int = 1 << 20) -> list[list[str]]:
    """Return the first rows, header included, of a file that may be no CSV and need not be UTF-8.

    Returns no rows for a file that cannot be read or parsed; a last line cut by `n_bytes` is left out.
    """
    try:
        with open_regular(path) as file:
            content = file.read(n_bytes)
    except OSError:
        return []
    lines = content.decode("utf-8-sig", errors="replace").splitlines(keepends=True)[: n_rows + 1]
    if len(content) == n_bytes and len(lines) > 1:
        del lines[-1]
    text = "".join(lines)
    try:
        return [row for row, _ in _rows(text, _separator(text, separators), strict=False)]
    except csv.Error:
        return []


def _separator(text: str, separators: str) -> str:
    """Return the first of the possible separators that the first line contains; the first of all if none."""
    header = text.partition("\n")[0]
    return next((candidate for candidate in separators if candidate in header), separators[0])


def _rows(
    text: str, separator: str, *, skip_blanks: bool = False, strict: bool = True
) -> Iterator[tuple[list[str], int]]:
    """Yield each row with the line on which it ends, counted from 1. Raises csv.Error."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=skip_blanks, strict=strict)
    for row in reader:
        yield row, reader.line_num


def problems(findings: Mapping[str, Sequence[tuple[int, str]]]) -> list[Problem]:
    """Return a Problem for each kind that has (line, offender) pairs."""
    return [
        Problem(
            f"{what}: {len(found)} row{'s' if len(found) > 1 else ''}, the first {found[0][1]}",
            tuple(line for line, _ in found[:SHOWN]),
        )
        for what, found in findings.items()
        if found
    ]


def repeated(names: Sequence[str]) -> list[str]:
    """Return the names that occur more than once, each once, in order."""
    return [name for name, n in Counter(names).items() if n > 1]


def quoted(text: str) -> str:
    """Return untrusted text for a message: in quotes, on one line, at most 40 characters."""
    return repr(text if len(text) <= 40 else text[:39] + "…")


def listed(names: Sequence[str]) -> str:
    """Return the first untrusted names for a message; ``none`` if there are none."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(quoted, names[:SHOWN])) + more if names else "none"


_stderr_lock = threading.Lock()


def duration(seconds: float) -> str:
    """Return a time span in words: `8.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def aligned(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = (), *, header: bool = True
) -> list[str]:
    """Return the lines of a table in plain text, the header first; columns named in `right` are right-aligned."""
    lines = [columns, *rows] if header else rows
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in lines
    ]


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read a Parquet file, all of its columns or those that are named.

    polars itself treats a path with `[`, `*` or `?` as a pattern, and panics on some damaged files.

    Raises
    ------
    OSError : the file is missing, not a regular file, or damaged; the message does not name it

    """
    import polars as pl

    try:
        with open_regular(path) as file, _silent_panics():
            return pl.read_parquet(file, columns=None if columns is None else list(columns))
    except OSError as error:
        raise OSError(error.strerror or str(error)) from error
    except pl.exceptions.PanicException as error:
        raise OSError("damaged: its content is not valid Parquet") from error
    except pl.exceptions.PolarsError as error:
        raise OSError(str(error).partition("\n")[0]) from error


@contextmanager
def _silent_panics() -> Iterator[None]:
    """Discard output to stderr, as a panic of polars writes two backtraces before it becomes an exception."""
    with _stderr_lock:
        try:
            stderr = os.dup(2)
        except OSError:  # closed
            yield
            return
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, 2)
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            os.close(null)


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    """Write a table, see `replacing`."""
    content = io.BytesIO()  # polars itself would report a full disk as a damaged file
    frame.write_parquet(content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())
