"""Read files from outside: a FIFO or a device in place of a file neither blocks nor fills the memory."""

import errno
import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read its bytes. Raises OSError unless it is a regular file."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK)  # which waits for no writer of a FIFO

    file = open(path, "rb", opener=opener)  # noqa: SIM115 (Path.open takes no opener)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return file


def read_regular(path: Path) -> bytes:
    """Read a file. Raises OSError unless it is a regular file."""
    with open_regular(path) as file:
        return file.read()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex. Raises OSError unless it is a regular file."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
