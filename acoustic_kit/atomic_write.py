"""Writing a file whole or not at all."""

import fcntl
import hashlib
import io
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.errors import AkitError
from acoustic_kit.special_files import followed, written_into

if TYPE_CHECKING:
    import polars as pl

_TEMPORARY = re.compile(r"\.akit-([0-9a-f]{8})-[0-9a-f]{16}\.tmp")  # the machine, then what no other file has
_FOREIGN_AGE = 24 * 3600  # seconds; another machine's locks may be invisible here


@contextmanager
def replacing(path: Path, *, follow: bool = False) -> Iterator[Path]:
    """Yield a file to write beside `path`, which takes its place, whole, at the end of the `with` block.

    No reader, and no crash, ever sees half of it. If the block fails, `path` stays as it was. Its folder is made
    if it is missing; what killed processes left of their attempts is removed. Any number of processes, containers and
    machines may write `path` at once: the last one wins. A link, a device or a pipe is replaced, so that a workspace
    from elsewhere leads nowhere. With `follow`, for paths that the user names, a link is kept and its file replaced; a
    device or a pipe is written into.

    Raises AkitError that names `path` if it cannot be written.
    """
    try:
        special, path = followed(path) if follow else (False, path)
        if special:
            with written_into(path) as temporary:
                yield temporary
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        with _temporary_file(path.parent) as temporary:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
    except OSError as error:
        raise AkitError(f"{path} cannot be written: {error.strerror or error}.") from error


def write_atomically(path: Path, text: str, *, follow: bool = False) -> None:
    """Write a UTF-8 file, see `replacing`."""
    with replacing(path, follow=follow) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_parquet(path: Path, frame: "pl.DataFrame") -> None:
    """Write a table, see `replacing`."""
    content = io.BytesIO()  # polars itself would report a full disk as a damaged file
    frame.write_parquet(content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


@contextmanager
def _temporary_file(folder: Path) -> Iterator[Path]:
    """Yield an empty file, locked while this process lives: process ids mean nothing in another container."""
    while True:
        path = folder / f".akit-{_machine()}-{secrets.token_hex(8)}.tmp"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if path.exists():  # not removed before it was locked
            break
        os.close(descriptor)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _remove_leftovers(folder: Path) -> None:
    for name in os.listdir(folder):  # noqa: PTH208 (names are enough)
        if (found := _TEMPORARY.fullmatch(name)) and _is_abandoned(folder / name, is_ours=found[1] == _machine()):
            (folder / name).unlink(missing_ok=True)


def _is_abandoned(path: Path, *, is_ours: bool) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # gone, or another user's
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return is_ours or time.time() - os.fstat(descriptor).st_mtime > _FOREIGN_AGE
    except OSError:  # its writer lives, or a file system without locks
        return False
    finally:
        os.close(descriptor)


@cache
def _machine() -> str:
    """Return 8 hex digits that all containers of one running kernel share, since they share its locks."""
    try:
        identity = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        identity = socket.gethostname().encode()
    return hashlib.sha256(identity).hexdigest()[:8]


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
