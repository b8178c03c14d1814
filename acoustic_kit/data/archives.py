"""Unpacking zip and tar archives of unknown origin: all of an archive is checked before anything is written.

Refused are names that leave the folder (absolute, with `..`, with a drive), links, devices, two entries of one name,
passwords, and bombs: more than `limit` bytes, or more than `MAX_RATIO` times the archive. A zip in several parts is not
read. What is unpacked lies in a hidden folder until it is whole, and each file is opened below a handle of its folder,
through no link. After PEP 706, and D. Fifield, "A better zip bomb", WOOT 2019.
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
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.files import locked

LIMIT = 64_000_000_000  # bytes; twice what FSD50K takes, the largest of the usual sets of clips
MAX_RATIO = 200  # sound seldom packs to a tenth; deflate can reach 1032
RATIO_FROM = 100_000_000  # bytes that may be unpacked at any ratio: a table of zeros is no bomb
_ENTRY = 512  # bytes that an entry counts for at least: empty files fill a disk too
_DISTRUST = "Such an archive is not to be trusted"
OnProgress = Callable[[str, int, int], object]  # what, bytes done, bytes in all
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
    archive : told by its content, not by its name
    folder : to be made; it may be there if it is empty
    limit : the most bytes to unpack
    on_progress : called with what is done (checking, unpacking), and with bytes

    Raises
    ------
    AkitError : `archive` cannot be read, is refused or damaged; `folder` cannot be written. `folder` is as it was
    UsageError : `folder` is there and not empty

    """
    with new_folder(folder) as draft:
        return unpack(archive, draft, limit=limit, on_progress=on_progress)


def bare_name(archive: Path) -> str:
    """The name of an archive without what says that it is one: `clips` of `clips.tar.gz`."""
    name = archive.name
    for suffix in (".gz", ".bz2", ".xz", ".tar", ".tgz", ".tbz2", ".txz", ".zip"):
        name = name.removesuffix(suffix)
    return name if name != archive.name else f"{name}-unpacked"


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `folder` at the end; when that fails, or the process is killed, there is none.

    A killed process leaves a hidden folder beside it, which the next call for the same `folder` clears away.
    Raises AkitError where another process is filling the same, UsageError where `folder` is there and not empty.
    """
    require_new(folder)
    folder = folder.resolve()
    hidden = folder.with_name(f".{folder.name}.unpacking")
    with locked(hidden, in_use(hidden)):
        draft = hidden / "draft"
        try:
            if draft.exists():  # of a process that was killed
                shutil.rmtree(draft)
            draft.mkdir()
            yield draft
            _put_in_place(draft, folder)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def require_new(folder: Path) -> None:
    """Raise UsageError where something is in the way of a new folder."""
    if folder.resolve() == Path.cwd() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"{folder} is there and not to be replaced. Name a new folder, or an empty one.")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file. Name a new folder.")


def in_use(folder: Path) -> str:
    """What to say where another process holds a folder."""
    return f"Another process is working in {folder}. Wait until it has finished, or stop it."


def unpack(
    archive: Path,
    folder: Path,
    *,
    limit: int = LIMIT,
    on_progress: OnProgress = lambda what, done, total: None,
    on_left_out: Callable[[str], object] | None = None,
) -> int:
    """Unpack as `extract` does, into an existing folder; if it fails, a part of the files remains.

    With `on_left_out`, links and devices are left out instead of refused, and it is called with the name of each.
    """
    try:
        with archive.open("rb") as file:
            reader = open_archive(file)
            packed = archive.stat().st_size

            def on_entry() -> None:
                on_progress(f"checking {archive.name}", min(file.tell(), packed), packed)

            plan = _checked(reader, packed, limit, on_entry, on_left_out)
            total = sum(entry.size for _, entry in plan)
            if total > (free := shutil.disk_usage(folder).free):
                raise RefusedError(f"it unpacks to {total:,} bytes, but the disk has only {free:,} left")
            _write(reader, plan, folder, lambda done: on_progress(f"unpacking {archive.name}", done, total))
    except RefusedError as reason:
        raise AkitError(f"{archive} is not unpacked: {reason}.") from None
    except DAMAGED as error:
        raise AkitError(f"{archive} is damaged: {error or type(error).__name__}. Get it once more.") from error
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # bz2's word for damage; and a place before the start of the file
            raise AkitError(f"{archive} is damaged: {error}. Get it once more.") from error
        where = error.filename or archive
        raise AkitError(f"{archive} cannot be unpacked: {error.strerror or error} ({where}).") from error
    return sum(entry.kind == "file" for _, entry in plan)


def _checked(
    reader: ZipReader | TarReader,
    packed: int,
    limit: int,
    on_entry: Callable[[], object],
    on_left_out: Callable[[str], object] | None,
) -> _Plan:
    """Return where each entry goes, relative to the folder; that itself is left out. Raises RefusedError."""
    plan: _Plan = []
    total = 0
    for entry in reader.entries():
        on_entry()
        total += max(entry.size, _ENTRY)
        if total > limit:
            raise RefusedError(f"it unpacks to more than {limit:,} bytes. If it is to be trusted, raise --limit")
        if total > RATIO_FROM and total > MAX_RATIO * packed:
            raise RefusedError(f"it unpacks to more than {MAX_RATIO} times its {packed:,} bytes, which is no sound")
        parts = _parts(entry.name)
        if not parts and entry.kind != "folder":
            raise RefusedError(f"an entry has no name. {_DISTRUST}")
        if entry.kind in ("file", "folder"):
            plan.append((parts, entry))
        elif on_left_out is not None:
            on_left_out(entry.name)
        elif entry.kind == "link":
            again = "Unpack it with another program, or have it packed without links (`tar -h --hard-dereference`)"
            raise RefusedError(f"{entry.name!r} is a link, which an archive of clips does not need. {again}")
        else:
            raise RefusedError(f"{entry.name!r} is a device, a pipe or the like. {_DISTRUST}")
    if not any(entry.kind == "file" for _, entry in plan):
        raise RefusedError("there is no file in it")
    plan = _without_common_folder(plan)
    _check_names(plan)
    return plan


def _parts(name: str) -> _Parts:
    """Return the parts of an entry's name, also of one with backslashes, as some programs of Windows write them.

    Raises RefusedError for a name that leaves the folder.
    """
    path = name.replace("\\", "/")
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if path.startswith("/") or "\0" in path or re.match("[A-Za-z]:", path) or ".." in parts:
        raise RefusedError(f"the name {name!r} leads out of the folder. {_DISTRUST}")
    return parts


def _without_common_folder(plan: _Plan) -> _Plan:
    """The same without the first part of all paths, where that is one folder."""
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
            raise RefusedError(f"{entry.name!r} is in it twice")
        else:
            files.add(parts)
    if both := files & folders:
        raise RefusedError(f"{'/'.join(min(both))!r} is both a file and a folder in it")


def _write(reader: ZipReader | TarReader, plan: _Plan, folder: Path, on_bytes: Callable[[int], object]) -> None:
    """Write all entries. No file is written through a link, nor over another."""
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
    """Open the folder `parts` below `root`, made if it is missing. Raises OSError if a link is in the way."""
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
    """Make a file of this name in an open folder. Raises OSError, with `path`, if the name is taken."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        return os.fdopen(os.open(name, flags, 0o666, dir_fd=folder), "wb")
    except OSError as error:
        error.filename = str(path)
        raise


def _copied(source: IO[bytes], file: IO[bytes], entry: Entry) -> Iterator[int]:
    """Copy, and yield how many bytes are done. Raises BadZipFile where an entry's size was a lie."""
    done = 0
    while chunk := source.read(CHUNK):
        done += len(chunk)
        if done > entry.size:
            break
        file.write(chunk)
        yield done
    if done != entry.size:
        raise zipfile.BadZipFile(f"{entry.name!r} is not of the {entry.size:,} bytes that it should be")


def _put_in_place(draft: Path, folder: Path) -> None:
    try:
        draft.replace(folder)
    except OSError as error:
        text = f"{folder} cannot be put in place: {error.strerror}. Name a folder that is not there yet."
        raise AkitError(text) from error
