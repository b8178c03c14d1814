"""Where the bytes of a clip are stored: in a file, or in an object on S3."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acoustic_store.files import Files

import io
import os
from pathlib import Path


def clip_place(root: Path | str, path: str) -> Path | str:
    """Return the place of a clip of the manifest: the file below a folder, or the URL below an `s3://bucket/path`."""
    return root / path if isinstance(root, Path) else f"{root.rstrip('/')}/{path}"


def is_object(place: Path | str) -> bool:
    """Return whether a place is the URL of an object, not a file."""
    return isinstance(place, str) and place.startswith("s3://")


def is_readable(place: Path | str) -> bool:
    """Return whether a clip exists and may be read. Raises acoustic_store.StoreError if the storage does not answer."""
    if not is_object(place):
        return os.access(place, os.R_OK)
    files, name = _object(str(place))
    try:
        return files.size(name) >= 0
    except FileNotFoundError:
        return False


def audio_source(place: Path | str) -> Path | io.BytesIO:
    """Return what soundfile opens: the path of a file, which may be missing, or the bytes of an object.

    Raises FileNotFoundError if an object is missing, acoustic_store.StoreError if the storage does not answer.
    """
    if not is_object(place):
        return Path(place)
    files, name = _object(str(place))
    return io.BytesIO(files.read(name))


def _object(url: str) -> tuple[Files, str]:
    """Return the folder and the name of an object."""
    from acoustic_store.files import open_files

    folder, _, name = url.rpartition("/")
    return open_files(folder), name
