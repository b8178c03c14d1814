"""Errors of the store. Every message says what is wrong, where, and what to do next."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class StoreError(OSError):
    """The store cannot be opened, read or written as asked.

    >>> try:
    ...     FeatureStore.open("features.zarr")
    ... except StoreError as error:
    ...     print(error)
    """


class LockedError(StoreError):
    """Another process is writing this key."""


class DamagedError(StoreError):
    """Stored data differ from what was written. ``ids`` names the clips that are known to be damaged."""

    def __init__(self, message: str, ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.ids = tuple(ids)


@contextmanager
def write_errors(path: object) -> Iterator[None]:
    """Turn an OSError while ``path`` is written (full disk, no permission) into a StoreError."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"{path} could not be written: {error.strerror or error}. What was stored before is kept; "
            "fix the cause (is the disk full?) and run the same build again."
        ) from error
