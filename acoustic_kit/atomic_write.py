"""Writing a file whole or not at all."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.errors import AkitError

if TYPE_CHECKING:
    import polars as pl


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write beside `path`, which takes its place, whole, at the end of the `with` block.

    No reader, and no crash, ever sees half of it. Where the block fails, `path` stays as it was. Its folder is made
    where it is missing; what killed processes left of their attempts is removed.

    Raises AkitError that names `path` where it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise AkitError(f"{path} cannot be written: {error.strerror or error}.") from error


def write_atomically(path: Path, text: str) -> None:
    """Write a UTF-8 file, see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_parquet(path: Path, frame: "pl.DataFrame") -> None:
    """Write a table, see `replacing`."""
    content = io.BytesIO()  # polars itself would report a full disk as a damaged file
    frame.write_parquet(content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def _remove_leftovers(path: Path) -> None:
    before, after = f".{path.name}.", ".tmp"
    for name in os.listdir(path.parent):  # noqa: PTH208 (names are enough; a glob would have to escape the name)
        process = name.removeprefix(before).removesuffix(after)
        if name == f"{before}{process}{after}" and process.isdecimal() and not _is_alive(int(process)):
            path.with_name(name).unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's, or no process number: not ours to remove
        return True
    return True


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
