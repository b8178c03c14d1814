"""CSV files from outside: every cell as text, with the line of each row, and messages that point at lines.

The standard library's ``csv`` reads them: it knows where a row begins in the file, and it does not guess types.
"""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from acoustic_kit.errors import AkitError
from acoustic_kit.regular_file import read_regular

SHOWN = 5  # offenders that a message lists


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a file."""

    message: str
    rows: tuple[int, ...] = ()  # line numbers in the file, the header is line 1; the first five
    harmless: bool = False  # only a warning: the file is taken all the same

    def __str__(self) -> str:
        """The message, with the lines where there are any."""
        return f"{self.message} (line {', '.join(map(str, self.rows))})" if self.rows else self.message


@dataclass(frozen=True)
class Table:
    """The cells of a CSV file; all rows are as wide as the header."""

    header: list[str]
    rows: list[list[str]]
    lines: list[int]  # (rows,) the line of the file on which each row begins
    separator: str = ","


def parse_table(path: Path, separators: str = ",") -> Table | Problem:
    """A CSV file in UTF-8 (with or without BOM, any line ends), blank lines left out; the Problem where it is none.

    Of several possible separators it is the first that stands in the first line.
    """
    try:
        text = read_regular(path).decode("utf-8-sig")
    except OSError as error:
        return Problem(f"cannot read the file: {error.strerror}")
    except UnicodeDecodeError as error:
        return Problem("not UTF-8 text; save it as CSV in UTF-8", (error.object.count(b"\n", 0, error.start) + 1,))
    header = text.partition("\n")[0]
    separator = next((candidate for candidate in separators if candidate in header), separators[0])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows, lines, line = [], [], 1
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        return Problem(f"not readable as CSV: {error}", (line,))
    if not rows:
        return Problem("the file is empty")
    width = len(rows[0])
    uneven = [(at, f"with {len(row)}") for row, at in zip(rows, lines, strict=True) if len(row) != width]
    if uneven:
        return problems({f"not {width} cells, as the header has": uneven})[0]
    return Table(rows[0], rows[1:], lines[1:], separator)


def read_table(path: Path, separators: str = ",") -> Table:
    """As ``parse_table``; raises AkitError with the Problem."""
    table = parse_table(path, separators)
    if isinstance(table, Problem):
        raise AkitError(f"{path}: {table}")
    return table


def problems(findings: Mapping[str, Sequence[tuple[int, str]]]) -> list[Problem]:
    """One Problem for each kind that was found at all, from its (line, offender) pairs."""
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
    """Untrusted text for a message: in quotes, on one line, 40 characters at most."""
    return repr(text if len(text) <= 40 else text[:39] + "…")


def listed(names: Sequence[str]) -> str:
    """The first few of untrusted names for a message; ``none`` where there are none."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(quoted, names[:SHOWN])) + more if names else "none"
