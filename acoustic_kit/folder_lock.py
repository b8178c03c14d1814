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
    where the folder cannot be made, or its file system has no locks.
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
        except OSError as error:
            raise AkitError(
                f"{folder} cannot be locked: {error.strerror}. Its file system (a mounted or network drive?) has no "
                "locks.\nUse a folder on a disk of this machine; `store` and `runs` in akit.toml may name one."
            ) from error
        yield
    finally:
        os.close(descriptor)
