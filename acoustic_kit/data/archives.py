"""Unpack zip and tar archives of unknown origin; an archive is checked as a whole before anything is written.

Only files and folders are unpacked. Archives are refused for names that leave the folder (absolute, with `..`, with a
drive), links, devices, two entries of one name, passwords, and bombs: more than `limit` bytes, or more than `MAX_RATIO`
times the archive's size. A zip in several parts is not read. Files are written to a hidden folder until all are
unpacked, and each file is opened relative to a handle of its folder, without following links. After PEP 706, and
D. Fifield, "A better zip bomb", WOOT 2019.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from acoustic_kit.data.archive_readers import CHUNK, DAMAGED, Entry, RefusedError, TarReader, ZipReader, open_archive
from acoustic_kit.errors import DataError, UsageError
from acoustic_kit.files import locked

LIMIT = 64_000_000_000  # bytes; twice what FSD50K takes, the largest of the usual sets of clips
MAX_RATIO = 200  # sound seldom packs to a tenth; deflate can reach 1032
RATIO_FROM = 100_000_000  # bytes that may be unpacked at any ratio: a table of zeros is no bomb
_ENTRY = 512  # bytes that an entry counts for at least, as empty files fill a disk too
_DISTRUST = "Do not trust such an archive"
OnProgress = Callable[[str, int, int], object]  # step, bytes done, bytes in all
_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_Parts = tuple[str, ...]  # of a path
_Plan = list[tuple[_Parts, Entry]]


def extract(
    archive: Path, folder: Path, *, limit: int = LIMIT, on_progress: OnProgress = lambda what, done, total: None
) -> int:
    """Unpack a zip, tar, tar.gz, tar.bz2 or tar.xz into a new folder, and return the number of files.

    A single folder that holds everything in the archive becomes `folder` itself.

    Parameters
    ----------
    archive : its format is detected from its content, not from its name
    folder : to be created; may exist if it is empty
    limit : maximum number of bytes to unpack
    on_progress : called with the step (checking, unpacking), bytes done and bytes in all

    Raises
    ------
    DataError : `archive` cannot be read, is refused or damaged; `folder` cannot be written. `folder` is unchanged
    AkitError : another process is filling `folder`
    UsageError : `folder` exists and is not empty

    """
    with new_folder(folder) as draft:
        return unpack(archive, draft, limit=limit, on_progress=on_progress)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `folder` at the end of the `with` block if nothing failed.

    A killed process leaves a hidden folder beside `folder`, which the next call for the same `folder` removes.
    Raises AkitError if another process is filling the same folder, UsageError if `folder` exists and is not empty.
    """
    require_new(folder)
    folder = folder.resolve()
    hidden = folder.with_name(f".{folder.name}.unpacking")
    with locked(hidden, in_use(hidden)):
        draft = hidden / "draft"
        try:
            if draft.exists():  # left by a killed process
                shutil.rmtree(draft)
            draft.mkdir()
            yield draft
            _put_in_place(draft, folder)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def require_new(folder: Path) -> None:
    """Raise UsageError if `folder` is a file, the current folder, or not empty."""
    if folder.resolve() == Path.cwd() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not replaced. Name a new or an empty folder.")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file. Name a new folder.")


def in_use(folder: Path) -> str:
    """Return the message for a folder that another process has locked."""
    return f"Another process is working in {folder}. Wait until it has finished, or stop it."


def unpack(
    archive: Path,
    folder: Path,
    *,
    limit: int = LIMIT,
    on_progress: OnProgress = lambda what, done, total: None,
) -> int:
    """Unpack as `extract` does, into an existing folder; if it fails, some of the files remain."""
    try:
        with archive.open("rb") as file:
            reader = open_archive(file)
            packed = archive.stat().st_size

            def on_entry() -> None:
                on_progress(f"checking {archive.name}", min(file.tell(), packed), packed)

            plan = _checked(reader, packed, limit, on_entry)
            total = sum(entry.size for _, entry in plan)
            if total > (free := shutil.disk_usage(folder).free):
                raise RefusedError(f"it unpacks to {total:,} bytes, but the disk has only {free:,} left")
            _write(reader, plan, folder, lambda done: on_progress(f"unpacking {archive.name}", done, total))
    except RefusedError as reason:
        raise DataError(f"{archive} is not unpacked: {reason}.") from None
    except DAMAGED as error:
        raise DataError(f"{archive} is damaged: {error or type(error).__name__}. Download it again.") from error
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # bz2 reports damage so; also a seek to before the start
            raise DataError(f"{archive} is damaged: {error}. Download it again.") from error
        where = error.filename or archive
        raise DataError(f"{archive} cannot be unpacked: {error.strerror or error} ({where}).") from error
    return sum(entry.kind == "file" for _, entry in plan)


def _checked(
    reader: ZipReader | TarReader,
    packed: int,
    limit: int,
    on_entry: Callable[[], object],
) -> _Plan:
    """Return the path of each entry relative to the folder, without the folder itself. Raises RefusedError."""
    plan: _Plan = []
    total = 0
    for entry in reader.entries():
        on_entry()
        total += max(entry.size, _ENTRY)
        if total > limit:
            raise RefusedError(
                f"it unpacks to more than {limit:,} bytes. Unpack it with another program if it is trusted"
            )
        if total > RATIO_FROM and total > MAX_RATIO * packed:
            raise RefusedError(f"it unpacks to more than {MAX_RATIO} times its {packed:,} bytes, unlike audio")
        parts = _parts(entry.name)
        if not parts and entry.kind != "folder":
            raise RefusedError(f"an entry has no name. {_DISTRUST}")
        if entry.kind == "other":
            again = "Unpack it with another program, or pack it without links (`tar -h --hard-dereference`)"
            raise RefusedError(f"{entry.name!r} is a link or a device; only files and folders are unpacked. {again}")
        plan.append((parts, entry))
    if not any(entry.kind == "file" for _, entry in plan):
        raise RefusedError("it contains no file")
    plan = _without_common_folder(plan)
    _check_names(plan)
    return plan


def _parts(name: str) -> _Parts:
    """Return the parts of an entry's name; backslashes, as some programs on Windows write them, separate too.

    Raises RefusedError for a name that leaves the folder.
    """
    path = name.replace("\\", "/")
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if path.startswith("/") or "\0" in path or re.match("[A-Za-z]:", path) or ".." in parts:
        raise RefusedError(f"the name {name!r} leads out of the folder. {_DISTRUST}")
    return parts


def _without_common_folder(plan: _Plan) -> _Plan:
    """Return the plan without the first part of all paths, if that is a single folder."""
    first = {parts[0] for parts, _ in plan if parts}
    is_folder = all(len(parts) > 1 or entry.kind == "folder" for parts, entry in plan)
    skip = 1 if len(first) == 1 and is_folder else 0
    return [(parts[skip:], entry) for parts, entry in plan if len(parts) > skip]


def _check_names(plan: _Plan) -> None:
    """Raise RefusedError for two files of one name, and for a name that is both a file and a folder."""
    files: set[_Parts] = set()
    folders: set[_Parts] = set()
    for parts, entry in plan:
        folders.update(parts[:end] for end in range(1, len(parts)))
        if entry.kind == "folder":
            folders.add(parts)
        elif parts in files:
            raise RefusedError(f"it contains {entry.name!r} twice")
        else:
            files.add(parts)
    if both := files & folders:
        raise RefusedError(f"it contains {'/'.join(min(both))!r} both as a file and as a folder")


def _write(reader: ZipReader | TarReader, plan: _Plan, folder: Path, on_bytes: Callable[[int], object]) -> None:
    """Write all entries, without following links or overwriting files."""
    done = 0
    for parts, entry in plan:
        below = parts if entry.kind == "folder" else parts[:-1]
        with _opened_folder(folder, below) as handle:
            if entry.kind == "folder":
                continue
            with reader.open(entry) as source, _new_file(handle, parts[-1], folder.joinpath(*parts)) as file:
                for start in _copied(source, file, entry):
                    on_bytes(done + start)
            done += entry.size


@contextmanager
def _opened_folder(root: Path, parts: _Parts) -> Iterator[int]:
    """Yield a descriptor of the folder `parts` below `root`, created if missing. Raises OSError if a part is a link."""
    handle = os.open(root, _FOLDER)
    try:
        for part in parts:
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=handle)
            below = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = below
        yield handle
    finally:
        os.close(handle)


def _new_file(folder: int, name: str, path: Path) -> IO[bytes]:
    """Create a file of this name in an open folder. Raises OSError, with `path`, if the name is taken."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        return os.fdopen(os.open(name, flags, 0o666, dir_fd=folder), "wb")
    except OSError as error:
        error.filename = str(path)
        raise


def _copied(source: IO[bytes], file: IO[bytes], entry: Entry) -> Iterator[int]:
    """Copy, and yield the number of bytes done. Raises BadZipFile if the entry has another size than stated."""
    done = 0
    while chunk := source.read(CHUNK):
        done += len(chunk)
        if done > entry.size:
            break
        file.write(chunk)
        yield done
    if done != entry.size:
        raise zipfile.BadZipFile(f"{entry.name!r} does not have the {entry.size:,} bytes that the archive states")


def _put_in_place(draft: Path, folder: Path) -> None:
    try:
        draft.replace(folder)
    except OSError as error:
        text = f"{folder} cannot be put in place: {error.strerror}. Name a new folder."
        raise DataError(text) from error
