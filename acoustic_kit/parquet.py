"""Read Parquet files whose content is not trusted."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from acoustic_kit.regular_file import open_regular

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

_stderr_lock = threading.Lock()


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read a Parquet file, all of its columns or those that are named.

    polars itself takes a path with `[`, `*` or `?` for a pattern, and panics on some damaged files.

    Raises
    ------
    OSError : the file is missing, is no regular file, or is damaged; the message does not name it

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
    """Discard what is written to stderr: a panic of polars writes two backtraces before it becomes an exception."""
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
