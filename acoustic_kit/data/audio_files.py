"""Find the audio files of a folder, and check paths that tables name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from acoustic_kit.errors import DataError

# fmt: off
# Formats that libsndfile, and so soundfile, reads.
AUDIO_EXTENSIONS = frozenset((
    ".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64",
    ".rf64", ".voc", ".sph", ".nist",
))
# Audio formats that libsndfile does not read: listed as unreadable clips instead of being ignored.
_OTHER_AUDIO = frozenset((".m4a", ".aac", ".wma", ".mp4", ".amr", ".webm", ".3gp", ".ape", ".wv", ".mka", ".ac3"))
# Files between clips that are certainly no clips. Any other file there is listed as an unreadable clip.
_NOT_CLIPS = frozenset((
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".md", ".rst", ".html", ".xml", ".yaml", ".yml", ".toml", ".ini", ".log",
    ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".zip", ".gz", ".tar", ".7z",
    ".npy", ".npz", ".pkl", ".parquet", ".h5", ".mat", ".py", ".ipynb", ".sh", ".m", ".lab", ".textgrid", ".jams",
    ".mid", ".midi", ".md5", ".sha1", ".sha256", ".db", ".lnk", ".url", ".cue", ".m3u", ".m3u8", ".bmp", ".webp",
    ".tif", ".tiff", ".bib", ".rtf", ".asd", ".sfk", ".pkf", ".reapeaks", ".rar", ".tgz", ".bz2", ".xz", ".torrent",
))
# Folders made by file systems, network drives, archive programs and Python.
_JUNK = frozenset((
    "__macosx", "lost+found", "system volume information", "$recycle.bin", "recycler", "found.000", "@eadir",
    "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "__pycache__",
))
# fmt: on
_SPLIT_WORD = re.compile(r"(?<![a-z])(train|test)")


def audio_files(folder: Path) -> list[str]:
    """Return the clips below `folder`, at any depth: relative paths with /, in order of name.

    Hidden files, folders of the system (`lost+found`), files without an extension and files that are certainly no clips
    (text, tables, pictures, …) are ignored. Links are followed, also out of the folder; a circle of links is walked
    once. Raises DataError for a file name that is not UTF-8.
    """
    return list(filter(may_be_clip, walk_files(folder)))


def is_junk(name: str) -> bool:
    """Return whether a file or folder is hidden (`._clip.wav`, `.git`), or made by a file system or a program."""
    return name.startswith(".") or name.casefold() in _JUNK


def is_audio(path: str) -> bool:
    """Return whether a file is audio by its extension."""
    return extension(path).lower() in AUDIO_EXTENSIONS | _OTHER_AUDIO


def extension(path: str) -> str:
    """Return the extension of a path's name, with its dot, or "" (as pathlib's suffix, ten times as fast)."""
    stem, dot, last = path.rpartition("/")[2].rpartition(".")
    return dot + last if stem and last else ""


def safe_path(text: str, where: str) -> str:
    """Return the path in a table's cell, with /, relative to the data set.

    Raises DataError, which names `where`, for a path that leaves the data set: absolute, with a drive, or with `..`.
    """
    path = text.replace("\\", "/")
    if path.startswith("/") or re.match(r"[A-Za-z]:/", path) or ".." in path.split("/") or "\0" in path:
        raise DataError(f"{where}: the path {text!r} leaves the data set; only paths inside its folder are read.")
    return PurePosixPath(path).as_posix()


def walk_files(folder: Path) -> Iterator[str]:
    """Yield every file below `folder` that is not hidden, as its path relative to it; broken links too."""
    above = [_identity(folder.stat())]  # folders being walked, to detect circles of links
    levels = [_entries(folder, "")]
    while levels:
        if (found := next(levels[-1], None)) is None:
            levels.pop()
            above.pop()
            continue
        entry, path = found
        if not _is(entry, os.DirEntry.is_dir):
            if _is(entry, os.DirEntry.is_file) or entry.is_symlink():
                yield path
        elif (identity := _identity(entry.stat())) not in above:
            above.append(identity)
            levels.append(_entries(Path(entry.path), f"{path}/"))


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is(entry: os.DirEntry[str], kind: Callable[[os.DirEntry[str]], bool]) -> bool:
    try:
        return kind(entry)
    except OSError:  # a link to itself
        return False


def _entries(folder: Path, prefix: str) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Yield the entries of a folder in order of name, each with its path: `prefix` and the name."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}.") from error
    for entry in entries:
        if is_junk(entry.name):
            continue
        if not _is_utf8(entry.name):
            raise DataError(f"{folder} contains a file whose name is not UTF-8: {entry.name!r}. Rename it.")
        yield entry, prefix + entry.name


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def may_be_clip(path: str) -> bool:
    """Return whether a file between clips may be a clip: audio, or an unknown kind of file."""
    suffix = extension(path).lower()
    return suffix != "" and suffix not in _NOT_CLIPS


def split_words(path: str) -> set[str]:
    """Return which of the words train and test the folder names of a path contain."""
    return set(_SPLIT_WORD.findall(path.rpartition("/")[0].lower()))
