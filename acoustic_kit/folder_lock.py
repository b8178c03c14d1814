"""A folder for one process alone, by the kernel's lock, which goes with the process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from acoustic_kit.errors import AkitError


@contextmanager
def locked(folder: Path, busy: str | None = None) -> Iterator[None]:
    """Hold a folder, made where it is missing, for this process alone.

    Where another process holds it, raises AkitError that says `busy`; without `busy` it waits. Raises AkitError, too,
    where the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise AkitError(f"{folder} cannot be made: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if busy is None else fcntl.LOCK_NB))
        except BlockingIOError:
            raise AkitError(busy) from None
        yield
    finally:
        os.close(descriptor)
