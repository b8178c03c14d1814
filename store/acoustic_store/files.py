"""The operations that a store needs of a folder or of object storage.

``LocalFiles`` and ``ObjectFiles`` implement them; the rest of this package uses nothing else. Both are picklable and
hold only the place, so that worker processes open it themselves.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from .errors import StoreError


class Lock(Protocol):
    """The right to write one feature."""

    token: str  # unique; drafts carry it

    def release(self) -> None:
        """Release the lock. Raises LockedError if another process has taken it in the meantime."""


class Draft(Protocol):
    """A block that is being written. No reader sees it before it is committed."""

    def write(self, values: np.ndarray) -> None:
        """Append the bytes of a contiguous array to the chunk."""

    def commit(self, document: bytes, replaces: bool) -> None:
        """Turn the draft into a block, whole, with ``document`` as its zarr.json; it may replace a damaged one.

        Harmless if the same block exists. Raises StoreError if another one does.
        """

    def discard(self) -> None:
        """Remove what is left of the draft; nothing once it is committed."""


class Files(Protocol):
    """One folder: a store, or a feature in it. Messages show its ``str``.

    Methods raise FileNotFoundError (or another of ``layout.ABSENT``) if something is missing, unless said otherwise;
    StoreError if the system or the network refuses, or OSError while samples are read.
    """

    @property
    def name(self) -> str:
        """The last part of its path."""

    def __truediv__(self, name: str) -> Self:
        """Return the folder of that name in this one."""

    def folders(self) -> list[str]:
        """Return the names of the folders in this one; none if it is missing."""

    def size(self, name: str) -> int:
        """Return the bytes of a file."""

    def read(self, name: str) -> bytes:
        """Return the content of a file."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file in place; make the folder if it is missing."""

    def indexes(self) -> dict[int, bytes]:
        """Return the zarr.json of every block by number, ascending; empty if the file is missing.

        The answer is consistent: a block that is removed while it is read was superseded by one in the answer.
        """

    def index(self, number: int) -> bytes:
        """Return the zarr.json of one block as it is now; empty if there is none."""

    def samples(self, number: int, length: int, dtype: np.dtype) -> Any:
        """Return the chunk of a block, ``[length]``, to be sliced. Local: mapped; ValueError if its size differs."""

    def zarr_array(self, number: int) -> Any:
        """Return the block as zarr reads it."""

    def n_bytes(self, numbers: Iterable[int]) -> int:
        """Return the size of all files of these blocks."""

    def draft(self, number: int, token: str) -> Draft:
        """Begin a block. Raises StoreError if the lock of that token is no longer held."""

    def remove_block(self, number: int) -> None:
        """Remove one block. At any instant it exists whole or not at all."""

    def remove(self) -> None:
        """Remove the folder: first its blocks, last its zarr.json, so that a stopped call can be repeated."""

    def lock(self) -> Lock:
        """Lock out other writers of a feature, which need not exist. Raises LockedError if there is one."""

    def each(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Return ``function`` of every item, in order; many at a time if that saves waiting."""


def open_files(path: Path | str) -> Files:
    """Return the folder at a local path or at ``s3://bucket/path``. Raises StoreError for another kind of place."""
    match = re.fullmatch(r"([a-z][a-z0-9]+):/{1,2}([^/]*)/*(.*?)/*", str(path))  # a Path turns // into /
    if match is None:
        from .local_files import LocalFiles

        return LocalFiles(Path(path))
    scheme, bucket, rest = match.groups()
    if scheme != "s3" or not bucket:
        raise StoreError(f"{path} cannot be opened: a store is a local folder or s3://bucket/path.")
    try:
        from .object_files import ObjectFiles
    except ModuleNotFoundError as error:
        raise StoreError(
            f"{path} needs obstore, which is not installed. Install it with: pip install 'acoustic-kit[s3]'"
        ) from error
    return ObjectFiles(bucket, rest)
