"""Where the bytes of a clip are stored: in a file, or in an object on S3."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acoustic_store.files import Files

import io
import os
from pathlib import Path


def clip_place(root: Path | str, path: str) -> Path | str:
    """Where a clip of the manifest lies: the file below a folder, or the URL below an `s3://bucket/path`."""
    return root / path if isinstance(root, Path) else f"{root.rstrip('/')}/{path}"


def is_object(place: Path | str) -> bool:
    """Whether it is the URL of an object, and no file."""
    return isinstance(place, str) and place.startswith("s3://")


def is_readable(place: Path | str) -> bool:
    """Whether a clip is there and may be read. Raises acoustic_store.StoreError where the storage does not answer."""
    if not is_object(place):
        return os.access(place, os.R_OK)
    files, name = _object(str(place))
    try:
        return files.size(name) >= 0
    except FileNotFoundError:
        return False


def audio_source(place: Path | str) -> Path | io.BytesIO:
    """What soundfile opens: the path of a file, which need not be there, or the bytes of an object.

    Raises FileNotFoundError for an object that is not there, acoustic_store.StoreError where the storage does not
    answer.
    """
    if not is_object(place):
        return Path(place)
    files, name = _object(str(place))
    return io.BytesIO(files.read(name))


def _object(url: str) -> tuple[Files, str]:
    """The folder and the name of an object."""
    from acoustic_store.files import open_files

    folder, _, name = url.rpartition("/")
    return open_files(folder), name
