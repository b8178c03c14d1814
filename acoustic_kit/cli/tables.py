"""Tables that fit the terminal: names and numbers stay whole, prose is wrapped between words."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

GAP = 2  # spaces between columns
PROSE = 16  # characters per line that prose needs to be readable


def print_fitting(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = (), *, header: bool = True
) -> None:
    """Print a table on stdout; columns named in `right` are right-aligned.

    If the terminal is too narrow for whole names and numbers side by side, each row becomes a block: its first cells on
    one line, the others below, each after the name of its column. Columns without any value are left out.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    kept = [i for i in range(len(columns)) if not rows or any(row[i] for row in rows)]  # empty columns only take room
    columns, rows = [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]
    console = Console(file=sys.stdout)
    widths = column_widths(columns if header else [""] * len(columns), rows, right, console.width)
    if widths is None:
        _print_blocks(console, columns, rows)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=header)
    for column, width in zip(columns, widths, strict=True):
        table.add_column(Text(column), justify="right" if column in right else "left", width=width, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def column_widths(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str], width: int
) -> list[int] | None:
    """Return the width of each column in a table of at most `width` characters; None if words or numbers would break.

    The widest columns of prose are narrowed first.
    """
    from rich.cells import cell_len

    lines = [list(columns), *map(list, rows)]
    widths = [max(cell_len(line[i]) for line in lines) for i in range(len(columns))]
    least = [
        widths[i] if column in right else min(widths[i], max(_narrowest(line[i]) for line in lines))
        for i, column in enumerate(columns)
    ]
    room = width - GAP * (len(columns) - 1)
    while sum(widths) > room:
        loose = [i for i in range(len(columns)) if widths[i] > least[i]]
        if not loose:
            return None
        widths[max(loose, key=widths.__getitem__)] -= 1
    return widths


def _narrowest(cell: str) -> int:
    """Return the minimum width of a cell: its longest word; all of it if it is a number or a range of numbers."""
    from rich.cells import cell_len

    if not re.search(r"[^\W\d_]", cell):
        return cell_len(cell)
    words = [cell_len(word) for word in cell.split()]
    return max(*words, min(PROSE, cell_len(cell)))


def _print_blocks(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print each row as a block: its name, then `column: value` pairs, as many as fit in a line."""
    from rich.cells import cell_len
    from rich.text import Text

    head = 1 if columns[0] or len(columns) < 3 else 2  # a first column without a header is a rank or a mark
    for row in rows:
        console.print(Text("  ".join(cell for cell in row[:head] if cell), style="bold"), soft_wrap=True)
        line = ""
        for column, cell in zip(columns[head:], row[head:], strict=True):
            if not cell:
                continue
            pair = f"{column}: {cell}" if column else cell
            if line and cell_len(line) + GAP + cell_len(pair) + 2 > console.width:
                _print_below(console, line)
                line = ""
            line = f"{line}{' ' * GAP}{pair}" if line else pair
        if line:
            _print_below(console, line)


def _print_below(console: Console, line: str) -> None:
    """Print an indented line; if it is too long, wrap it between words, never inside one."""
    from rich.text import Text

    width = max(console.width - 2, PROSE)
    for part in textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False):
        console.print(Text(f"  {part}"), soft_wrap=True)
