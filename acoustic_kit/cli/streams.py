"""Standard streams that take any text: what an encoding lacks is spelled out, and a closed stream is /dev/null."""

from __future__ import annotations

import codecs
import io
import os
import sys

_SPELLED = str.maketrans(
    {"–": "-", "…": "...", "±": "+/-", "≠": "!=", "×": "x", "→": "->", "⁴": "^4", "²": "^2", "Σ": "sum"}
)


def prepare_streams() -> None:
    """Make stdout and stderr ready for what commands print, whatever the locale and the caller left of them."""
    for expected in range(3):  # a file that is opened later must not become stdin, stdout or stderr
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
    """Write out what is buffered; why that failed, if it did. Nothing is tried again when Python ends."""
    try:
        sys.stdout.flush()
    except OSError as error:
        sys.stdout = _nowhere()
        return error
    return None


def _nowhere() -> io.TextIOWrapper:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 (it is open as long as Python runs)


def _spelled(error: UnicodeError) -> tuple[str | bytes, int]:
    """What stands for characters that the encoding lacks: something similar, else the code point in hexadecimal."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(_SPELLED)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end
