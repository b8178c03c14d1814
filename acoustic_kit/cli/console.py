"""Printing: tables that are rich on a terminal and plain in a pipe, JSON, and progress bars on stderr."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from acoustic_kit.cli.tables import print_fitting
from acoustic_kit.errors import UsageError

Row = Sequence[object]
MAX_SEED = 2**32 - 1  # the largest that NumPy and scikit-learn take

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


class OnProgress(Protocol):
    """Draws how far something is: what, done, of how many, and a remark."""

    def __call__(self, what: str, done: int, total: int, remark: str = "") -> None:
        """Move the bar of `what`, which is made at the first call."""


# File names and labels may hold anything: written out, they neither break a table nor steer the terminal.
_ESCAPED = {code: ascii(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
_IN_JSON = {code: f"\\u{code:04x}" for code in (*range(127, 160), 0x2028, 0x2029, *range(0xD800, 0xE000))}
_BUT_LINES = {code: text for code, text in _ESCAPED.items() if code != ord("\n")}


def escape_controls(text: str) -> str:
    """Text of several lines in which control codes are spelled out."""
    return text.translate(_BUT_LINES)


def say(text: str) -> None:
    """A message for the person, on stderr: stdout is for results."""
    print(escape_controls(text), file=sys.stderr, flush=True)


def print_line(text: str = "") -> None:
    """A line of a result, or several, on stdout."""
    print(escape_controls(text), flush=True)


def print_json(document: Any) -> None:
    """One JSON document on stdout: in ASCII where that is all that stdout takes, and without control codes."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(document, indent=2, ensure_ascii=not utf8)
    print(text.translate(_IN_JSON), flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Row], right: Sequence[str] = (), *, header: bool = True) -> None:
    """Print a table on stdout; columns named in `right` are right-aligned.

    On a terminal it fits the width; in a pipe each row is one line.
    """
    cells = [["" if cell is None else str(cell).translate(_ESCAPED) for cell in row] for row in rows]
    if sys.stdout.isatty():
        print_fitting(columns, cells, right, header=header)
        return
    lines = [list(columns), *cells] if header else cells
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for row in lines:
        padded = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        print("  ".join(padded).rstrip(), flush=True)


def inline_picture(png: bytes) -> bool:
    """Show a PNG in the terminal, by the protocol of kitty or of iTerm2; False where stdout is none that can."""
    if not sys.stdout.isatty():
        return False
    text = base64.standard_b64encode(png).decode()
    if "KITTY_WINDOW_ID" in os.environ or os.environ.get("TERM", "") in {"xterm-kitty", "xterm-ghostty"}:
        parts = [text[start : start + 4096] for start in range(0, len(text), 4096)]
        for number, part in enumerate(parts):
            head = "a=T,f=100," if number == 0 else ""
            sys.stdout.write(f"\x1b_G{head}m={int(number + 1 < len(parts))};{part}\x1b\\")
    elif os.environ.get("TERM_PROGRAM") in {"iTerm.app", "WezTerm"}:
        sys.stdout.write(f"\x1b]1337;File=inline=1;size={len(png)}:{text}\a")
    else:
        return False
    sys.stdout.write("\n")
    return True


@contextmanager
def progress() -> Iterator[OnProgress]:
    """A function `(what, done, total)` that draws one bar for each `what`, with rate and time left, on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    bars: dict[str, TaskID] = {}
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30 if console.width >= 100 else 10),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[remark]}", markup=False),
    )
    bar = Progress(*columns, console=console)

    def update(what: str, done: int, total: int, remark: str = "") -> None:
        if not bars:
            bar.start()  # not before: a bar of nothing is an empty line
        remark = remark.translate(_ESCAPED)
        if what not in bars:
            bars[what] = bar.add_task(what.translate(_ESCAPED), total=total, rate="", remark="")
        task = bar.tasks[bar.task_ids.index(bars[what])]
        speed = task.finished_speed or task.speed
        bar.update(bars[what], completed=done, total=total, rate=_rate(speed), remark=remark)

    try:
        yield update
    finally:
        if bars:
            bar.stop()


def _rate(per_second: float | None) -> str:
    if not per_second:
        return ""
    return f"{per_second:.0f}/s" if per_second >= 1 else f"{1 / per_second:.1f} s each"


def listed(option: str, text: str) -> list[str]:
    """Return the parts of a list option such as `1,2` or `1, 2`. Raises UsageError if one is empty."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UsageError(f"{option} {text[:40]!r}: write names or numbers, separated by commas.")
    return parts


def whole_numbers(option: str, text: str) -> list[int]:
    """Return the numbers of a list option. Raises UsageError if one is not from 0 to `MAX_SEED`."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [-1]
    if not all(0 <= number <= MAX_SEED for number in numbers):
        raise UsageError(f"{option} {text[:40]}: write whole numbers from 0 to {MAX_SEED}, separated by commas.")
    return numbers


def shown(path: Path) -> str:
    """A path as one would type it: relative where it lies below the current folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def duration(seconds: float) -> str:
    """A time span as people say it: `8.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(n_bytes: int) -> str:
    """A size as people say it: `79.2 MB`."""
    value, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
