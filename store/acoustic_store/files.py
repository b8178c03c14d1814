"""Where a store lies: what it needs of a folder or of object storage, which is the same for both.

``LocalFiles`` and ``ObjectFiles`` do what is below; everything else in this package is written once, in these terms.
Both are picklable and hold nothing but the place, so that worker processes open it for themselves.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from .errors import StoreError


class Lock(Protocol):
    """The right to write one feature."""

    token: str  # which no other lock has; drafts show it

    def release(self) -> None:
        """Give it back. Raises LockedError where another process has taken it in the meantime."""


class Draft(Protocol):
    """A block that is being written. No reader sees it before it is committed."""

    def write(self, values: np.ndarray) -> None:
        """Append the bytes of a contiguous array to the chunk."""

    def commit(self, document: bytes, replaces: bool) -> None:
        """Make it a block, whole, with ``document`` as its zarr.json; it may replace a damaged one.

        Harmless where the same block is there already; StoreError where another one is.
        """

    def discard(self) -> None:
        """Remove what is left of it; nothing once it is committed."""


class Files(Protocol):
    """One folder: a store, or a feature in it. ``str`` of it is what a message shows.

    What is missing raises FileNotFoundError (or another of ``layout.NOT_THERE``) unless said otherwise; what the system
    or the network refuses is a StoreError, or an OSError while samples are read.
    """

    @property
    def name(self) -> str:
        """The last part of its path."""

    def __truediv__(self, name: str) -> Self:
        """The folder of that name in this one."""

    def folders(self) -> list[str]:
        """The names of the folders in this one; none where it is missing."""

    def size(self, name: str) -> int:
        """Bytes of a file."""

    def read(self, name: str) -> bytes:
        """A file."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place, and the folder where it is missing."""

    def indexes(self) -> dict[int, bytes]:
        """The zarr.json of every block by number, ascending; empty where it is damaged by being missing.

        All blocks of one instant: one that is removed while they are read was superseded by one that is in the answer.
        """

    def index(self, number: int) -> bytes:
        """The zarr.json of one block as it is now; empty where there is none."""

    def samples(self, number: int, length: int, dtype: np.dtype) -> Any:
        """The chunk of a block, ``[length]``, to be sliced. Local: mapped; ValueError where its size is another."""

    def zarr_array(self, number: int) -> Any:
        """The block as zarr reads it."""

    def n_bytes(self, numbers: Iterable[int]) -> int:
        """The size of all files of these blocks."""

    def draft(self, number: int, token: str) -> Draft:
        """Begin a block; StoreError where nobody holds the lock of that token any more."""

    def remove_block(self, number: int) -> None:
        """Remove one block. At any instant it is there whole or not at all."""

    def remove(self) -> None:
        """Remove the folder: first its blocks, last its zarr.json, so that it can be stopped and run again."""

    def lock(self) -> Lock:
        """Keep other writers out, of a feature that need not exist. Raises LockedError where one is at work."""

    def each(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """``function`` of every item, in order; many at a time where that saves waiting."""


def open_files(path: Path | str) -> Files:
    """The folder at a local path or at ``s3://bucket/path``. Raises StoreError for another kind of place."""
    match = re.fullmatch(r"([a-z][a-z0-9]+):/{1,2}([^/]*)/*(.*?)/*", str(path))  # a Path has made // one /
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
