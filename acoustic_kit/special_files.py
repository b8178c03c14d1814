"""Files that are none of the usual: links, devices and pipes."""

import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def followed(path: Path) -> tuple[bool, Path]:
    """Whether `path` is to be written into instead of replaced, and where its links lead.

    An open file that /dev/stdout or /proc stands for is written into: a file in its place would not be the one that the
    shell appends to.
    """
    try:
        mode = path.stat().st_mode
        special = not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    except FileNotFoundError:  # also a link to a file that is yet to be made
        special = False
    while not (special or _is_in_dev(path)) and path.is_symlink():
        path = path.parent / path.readlink()
    return special or _is_in_dev(path), path


def _is_in_dev(path: Path) -> bool:
    folder = path.parent.resolve()
    return str(folder) in {"/dev", "/dev/fd"} or folder.is_relative_to("/proc")


@contextmanager
def written_into(path: Path) -> Iterator[Path]:
    """A file elsewhere, whose content is appended to `path` at the end of the `with` block."""
    with tempfile.TemporaryDirectory(prefix="akit-") as folder:
        temporary = Path(folder) / "out"
        yield temporary
        with temporary.open("rb") as content, path.open("ab") as file:
            shutil.copyfileobj(content, file)
