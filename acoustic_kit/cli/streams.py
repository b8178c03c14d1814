"""Standard streams that accept any text: unsupported characters are replaced, a closed stream becomes /dev/null."""

from __future__ import annotations

import codecs
import io
import os
import sys

_SPELLED = str.maketrans(
    {"–": "-", "…": "...", "±": "+/-", "≠": "!=", "×": "x", "→": "->", "⁴": "^4", "²": "^2", "Σ": "sum"}
)


def prepare_streams() -> None:
    """Prepare stdout and stderr for any text, whatever the locale, and even if the caller closed them."""
    for expected in range(3):  # otherwise a file that is opened later would become stdin, stdout or stderr
        try:
            os.fstat(expected)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error("akit", _spelled)
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="akit")


def flush_stdout() -> OSError | None:
    """Write the buffered output; return the error if that fails, after which Python does not try again at exit."""
    try:
        sys.stdout.flush()
    except OSError as error:
        sys.stdout = _nowhere()
        return error
    return None


def _nowhere() -> io.TextIOWrapper:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 (stays open until exit)


def _spelled(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace characters that the encoding lacks by similar ones, else by the code point in hexadecimal."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(_SPELLED)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end
