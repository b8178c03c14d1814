"""A store in a local folder."""

import errno
import fcntl
import mmap
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from .errors import LockedError, StoreError, write_errors
from .layout import ABSENT, BLOCK, CHUNK, METADATA, PARTIAL, block_name

_held: set[int] = set()  # the descriptors of this process's locks


def _drop_inherited_locks() -> None:
    # A forked child shares its parent's locks, and one that outlives a killed parent would keep the lock.
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_drop_inherited_locks)


@dataclass(frozen=True)
class LocalFiles:
    """A folder on this machine; the methods are those of ``Files``."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.name

    def __truediv__(self, name: str) -> Self:
        return type(self)(self.path / name)

    def folders(self) -> list[str]:
        """Return the names of the folders in this one."""
        with suppress(*ABSENT):
            return [path.name for path in self.path.iterdir() if path.is_dir()]
        return []

    def size(self, name: str) -> int:
        """Return the bytes of a file."""
        return (self.path / name).stat().st_size

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        try:
            with _open_regular(f"{self.path}/{name}") as file:
                return file.read()
        except ABSENT:
            raise
        except OSError as error:
            raise StoreError(f"{self.path / name} cannot be read: {error.strerror}.") from error

    def write(self, name: str, content: bytes) -> None:
        """Write a file in place: a killed writer leaves an empty or damaged one, which the next one overwrites."""
        with write_errors(self.path / name):
            self.path.mkdir(parents=True, exist_ok=True)
            with (self.path / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self.path)
            sync_folder(self.path.parent)

    def indexes(self) -> dict[int, bytes]:
        """Return the zarr.json of every block."""
        while True:
            try:
                numbers = sorted(int(name) for name in os.listdir(self.path) if BLOCK.fullmatch(name))  # noqa: PTH208
            except OSError as error:
                raise StoreError(f"{self.path} cannot be read: {error.strerror}.") from error
            found = {number: self.index(number) for number in numbers}
            if all(text or os.path.lexists(self.path / block_name(number)) for number, text in found.items()):
                return found

    def index(self, number: int) -> bytes:
        """Return the zarr.json of one block."""
        path = f"{self.path}/{block_name(number)}/{METADATA}"
        try:
            with _open_regular(path) as file:
                return file.read()
        except ABSENT:
            return b""
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}.") from error

    def samples(self, number: int, length: int, dtype: np.dtype) -> np.ndarray:
        """Return the chunk of a block, mapped: read-only, [length]."""
        with _open_regular(f"{self.path}/{block_name(number)}/{CHUNK}") as file:
            size = os.fstat(file.fileno()).st_size
            if size != length * dtype.itemsize:
                raise ValueError(f"it holds {size} bytes, not {length * dtype.itemsize}")
            if size == 0:
                return np.empty(0, dtype)
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype)

    def zarr_array(self, number: int) -> Any:
        """Return the block as zarr reads it."""
        import zarr

        return zarr.open_array(self.path / block_name(number), mode="r")

    def n_bytes(self, numbers: Iterable[int]) -> int:
        """Return the size of all files of these blocks."""
        files = (path for number in numbers for path in (self.path / block_name(number)).rglob("*"))
        return sum(path.stat().st_size for path in files if path.is_file())

    def draft(self, number: int, token: str) -> "_LocalDraft":
        """Begin a block, in a folder of its own."""
        return _LocalDraft(self.path / PARTIAL / token, self.path / block_name(number))

    def remove_block(self, number: int) -> None:
        """Move one block away, then remove it."""
        with write_errors(self.path):
            target = self.path / block_name(number)
            discarded = target.rename(self.path / PARTIAL / f"{target.name}-{secrets.token_hex(4)}")
            _remove(discarded)

    def remove(self) -> None:
        """Remove the folder, its blocks first."""
        with write_errors(self.path):
            for number in self.indexes():
                _remove(self.path / block_name(number))
            shutil.rmtree(self.path)

    def lock(self) -> "_LocalLock":
        """Lock the feature in this folder, which is made if it is missing."""
        with write_errors(self.path):
            self.path.mkdir(exist_ok=True)
            return _LocalLock(self.path)

    def each(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Return ``function`` of every item, one by one, as a disk has little latency."""
        return [function(item) for item in items]


class _LocalLock:
    """A lock on the feature's own zarr.json, which the kernel releases with the process: no extra file, never stale.

    Its holder owns the folder of the drafts, which is removed when the lock is taken and when it is released. Drafts
    are stored in a folder named by the lock's token, so that the paths of a worker that outlived its killed writer are
    invalid from then on.
    """

    def __init__(self, folder: Path) -> None:
        self._partial = folder / PARTIAL
        self.token = secrets.token_hex(8)
        path = folder / METADATA
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        _held.add(self._descriptor)
        try:
            _flock(self._descriptor, folder)
            if not path.exists() or not os.path.samestat(os.fstat(self._descriptor), path.stat()):
                raise LockedError(f"{folder.name} was deleted by another process just now; run the same command again.")
            self._clear()
            (self._partial / self.token).mkdir(parents=True)
        except BlockingIOError:
            self._unlock()
            raise LockedError(
                f"{folder.name} is being written by another process. Wait until it has finished, or stop it, "
                f"then run the same command again ({folder})."
            ) from None
        except BaseException:
            self._unlock()
            raise

    def release(self) -> None:
        """Unlock; do nothing in a forked child, which has no lock."""
        if self._descriptor in _held:
            try:
                with write_errors(self._partial):
                    self._clear()
            finally:
                self._unlock()

    def _clear(self) -> None:
        if self._partial.exists():
            # Renaming is atomic: a worker commits whole blocks, and adds nothing to what is being removed.
            for path in list(self._partial.iterdir()):
                path.rename(self._partial / secrets.token_hex(8))
        while self._partial.exists():
            with suppress(FileNotFoundError):  # a worker removes its own draft
                shutil.rmtree(self._partial)

    def _unlock(self) -> None:
        _held.remove(self._descriptor)
        os.close(self._descriptor)


def _flock(descriptor: int, folder: Path) -> None:
    """Lock an open file. Raises BlockingIOError if it is locked, StoreError if its file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be locked: {error.strerror}. Its file system (a mounted or network drive?) has no locks. "
            "Put the store on a disk of this machine."
        ) from error


class _LocalDraft:
    """A folder in ``.partial`` that becomes a block by being renamed."""

    def __init__(self, drafts: Path, target: Path) -> None:
        self._target = target
        self._folder = drafts / f"{target.name}-{secrets.token_hex(4)}"
        with write_errors(self._folder):
            self._folder.mkdir()  # only the lock makes the parent: a worker that outlived its writer fails here
            self._file = (self._folder / CHUNK).open("wb", buffering=0)

    def write(self, values: np.ndarray) -> None:
        """Append the bytes of a contiguous array to the chunk, whose ``write`` may stop short."""
        rest = values.reshape(-1).view(np.uint8).data
        with write_errors(self._folder):
            while rest:
                rest = rest[self._file.write(rest) :]

    def commit(self, document: bytes, replaces: bool) -> None:
        """Rename the draft into place, once all of it is on the disk."""
        target = self._target
        with write_errors(target):
            os.fsync(self._file.fileno())
            with (self._folder / METADATA).open("wb") as file:
                file.write(document)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self._folder)
            if replaces and os.path.lexists(target):
                discarded = target.rename(self._folder.with_name(self._folder.name + "-replaced"))
                self._folder.rename(target)
                _remove(discarded)
            else:
                self._rename(document)
            sync_folder(target.parent)

    def _rename(self, document: bytes) -> None:
        try:
            self._folder.rename(self._target)
        except OSError:
            if not os.path.lexists(self._target):
                raise
            # A retried task has committed it. An equal index has equal checksums.
            metadata = self._target / METADATA
            if not metadata.is_file() or metadata.read_bytes() != document:
                raise StoreError(
                    f"{self._target} was written by another process in the meantime; run the same build again."
                ) from None

    def discard(self) -> None:
        """Close the chunk and remove the folder, unless it was renamed."""
        self._file.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _open_regular(path: str) -> BinaryIO:
    """Open a file to read its bytes. Raises FileNotFoundError if it is a FIFO or a device."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise FileNotFoundError(errno.ENOENT, "Not a regular file", path)
    return file


def _remove(path: Path) -> None:
    """Remove a block, which may be a file or a link after damage."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make names that were created in or moved into ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
