"""Atomic writes, folder locks, and reads that a pipe or a device cannot block."""

import errno
import fcntl
import glob
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import BufferedReader
from pathlib import Path

from acoustic_kit.errors import AkitError

_TEMPORARY = re.compile(r"\.akit-([0-9a-f]{8})-[0-9a-f]{16}\.tmp")  # hash of the machine, then random
_LOCKED_AFTER = 60  # seconds after which a temporary folder is locked by its process
_FOREIGN_AGE = 24 * 3600  # seconds; locks of other machines may be invisible here


@contextmanager
def replacing(path: Path, *, follow: bool = False) -> Iterator[Path]:
    """Yield a temporary file beside `path`, which replaces `path` atomically at the end of the `with` block.

    If the block fails, `path` is unchanged. Its folder is created if missing; temporary files of killed processes are
    removed. Any number of processes, containers and machines may write `path` at once: the last one wins. A link, a
    device or a pipe is replaced, so that an untrusted workspace cannot redirect writes. With `follow`, for paths that
    the user names, links are followed, and devices and pipes are written into.

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
    """Write a UTF-8 file atomically, see `replacing`."""
    with replacing(path, follow=follow) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


@contextmanager
def _temporary_file(folder: Path) -> Iterator[Path]:
    """Yield an empty file, locked while this process lives, as process ids differ between containers."""
    while True:
        path = folder / f".akit-{_machine()}-{secrets.token_hex(8)}.tmp"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if path.exists():  # else removed before it was locked
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
    except OSError:  # removed, or of another user
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return is_ours or time.time() - os.fstat(descriptor).st_mtime > _FOREIGN_AGE
    except OSError:  # locked by its writer, or a file system without locks
        return False
    finally:
        os.close(descriptor)


@cache
def _machine() -> str:
    """Return 8 hex digits common to all containers of one running kernel, which share its locks."""
    try:
        identity = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        identity = socket.gethostname().encode()
    return hashlib.sha256(identity).hexdigest()[:8]


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def followed(path: Path) -> tuple[bool, Path]:
    """Return whether `path` must be written into instead of replaced, and the target of its links.

    /dev/stdout and /proc refer to open files, which are written into, as the shell would not see a replacement.
    """
    try:
        mode = path.stat().st_mode
        special = not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    except FileNotFoundError:  # or a link to a missing file
        special = False
    while not (special or _is_in_dev(path)) and path.is_symlink():
        path = path.parent / path.readlink()
    return special or _is_in_dev(path), path


def _is_in_dev(path: Path) -> bool:
    folder = path.parent.resolve()
    return str(folder) in {"/dev", "/dev/fd"} or folder.is_relative_to("/proc")


@contextmanager
def written_into(path: Path) -> Iterator[Path]:
    """Yield a temporary file, whose content is appended to `path` at the end of the `with` block."""
    with tempfile.TemporaryDirectory(prefix="akit-") as folder:
        temporary = Path(folder) / "out"
        yield temporary
        with temporary.open("rb") as content, path.open("ab") as file:
            shutil.copyfileobj(content, file)


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read its bytes. Raises OSError unless it is a regular file."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK)  # does not wait for the writer of a FIFO

    file = open(path, "rb", opener=opener)  # noqa: SIM115 (Path.open takes no opener)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return file


def read_regular(path: Path) -> bytes:
    """Read a file. Raises OSError unless it is a regular file."""
    with open_regular(path) as file:
        return file.read()


@contextmanager
def locked(folder: Path, busy: str | None = None) -> Iterator[None]:
    """Lock a folder, created if missing, for this process.

    If another process has locked it, raises AkitError with the message `busy`; if `busy` is None, waits. Raises
    AkitError also if the folder cannot be created, or if its file system has no locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise AkitError(f"{folder} cannot be created: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if busy is None else fcntl.LOCK_NB))
        except BlockingIOError:
            raise AkitError(busy) from None
        except OSError as error:
            raise AkitError(
                f"{folder} cannot be locked: {error.strerror}. Its file system (a mounted or network drive?) has no "
                "locks.\nUse a folder on a local disk; `store` and `runs` in akit.toml may name one."
            ) from error
        yield
    finally:
        os.close(descriptor)


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Yield a temporary folder, deleted at the end of the `with` block. Those of killed processes are deleted, too.

    - `prefix`: begins the names of the folders of one purpose
    """
    for leftover in Path(tempfile.gettempdir()).glob(f"{glob.escape(prefix)}*"):
        _remove_abandoned(leftover)
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        descriptor = os.open(name, os.O_RDONLY)
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield Path(name)
        finally:
            os.close(descriptor)


def _remove_abandoned(folder: Path) -> None:
    """Delete a folder that no process has locked, unless it may have been made just now."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # deleted, or of another user
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if time.time() - os.fstat(descriptor).st_mtime > _LOCKED_AFTER:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # locked by its process, or a file system without locks
        return
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex. Raises OSError unless it is a regular file."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
