"""Output: tables that fit the terminal and are plain in a pipe, JSON, and pictures."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from acoustic_kit.api.progress import ESCAPED, escape_controls
from acoustic_kit.cli.tables import print_fitting
from acoustic_kit.errors import UsageError
from acoustic_kit.tables import aligned

Row = Sequence[object]
MAX_SEED = 2**32 - 1  # the largest that NumPy and scikit-learn accept

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


_IN_JSON = {code: f"\\u{code:04x}" for code in (*range(127, 160), 0x2028, 0x2029, *range(0xD800, 0xE000))}


def print_line(text: str = "") -> None:
    """Print one or more lines of a result on stdout."""
    print(escape_controls(text), flush=True)


def print_json(document: Any) -> None:
    """Print a JSON document on stdout: without control codes, and in ASCII if stdout is not UTF-8."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(document, indent=2, ensure_ascii=not utf8)
    print(text.translate(_IN_JSON), flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Row], right: Sequence[str] = (), *, header: bool = True) -> None:
    """Print a table on stdout; columns named in `right` are right-aligned.

    On a terminal it fits the width; in a pipe each row is one line.
    """
    cells = [["" if cell is None else str(cell).translate(ESCAPED) for cell in row] for row in rows]
    if sys.stdout.isatty():
        print_fitting(columns, cells, right, header=header)
        return
    for line in aligned(columns, cells, right, header=header):
        print(line, flush=True)


def inline_picture(png: bytes) -> bool:
    """Show a PNG by the protocol of kitty or iTerm2 and return True; return False if stdout supports neither."""
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


def split_list(option: str, text: str) -> list[str]:
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


def display_path(path: Path) -> str:
    """Return a path as a user would type it: relative if it is below the current folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def size(n_bytes: int) -> str:
    """Return a readable size: `79.2 MB`."""
    value, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
