"""Unpacking zip and tar archives of unknown origin: all of an archive is checked before anything is written.

Refused are names that leave the folder (absolute, with `..`, as on Windows), links that lead out of it or that other
entries lie behind, devices, two entries of one name, passwords, and bombs: more than `limit` bytes, or more than
`MAX_RATIO` times the archive. A zip in several parts is not read. What is unpacked lies in a hidden folder until it is
whole. After PEP 706, and D. Fifield, "A better zip bomb", WOOT 2019.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from acoustic_kit.datasets.archive_readers import (
    CHUNK,
    DAMAGED,
    Entry,
    RefusedError,
    TarReader,
    ZipReader,
    open_archive,
)
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.folder_lock import locked

LIMIT = 64_000_000_000  # bytes; twice what FSD50K takes, the largest of the usual sets of clips
MAX_RATIO = 200  # sound seldom packs to a tenth; deflate can reach 1032
RATIO_FROM = 100_000_000  # bytes that may be unpacked at any ratio: a table of zeros is no bomb
_ENTRY = 512  # bytes that an entry counts for at least: empty files fill a disk too
_DISTRUST = "Such an archive is not to be trusted"
OnProgress = Callable[[str, int, int], object]  # what, bytes done, bytes in all
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
    archive: Path, folder: Path, *, limit: int = LIMIT, on_progress: OnProgress = lambda what, done, total: None
) -> int:
    """As `extract`, into a folder that is there; where it fails, it leaves a part of the files."""
    try:
        with archive.open("rb") as file:
            reader = open_archive(file, folder)
            packed = archive.stat().st_size
            plan = _checked(
                reader, packed, limit, lambda: on_progress(f"checking {archive.name}", min(file.tell(), packed), packed)
            )
            total = sum(entry.size for _, entry in plan)
            if total > (free := shutil.disk_usage(folder).free):
                raise RefusedError(f"it unpacks to {total:,} bytes, but the disk has only {free:,} left")
            _write(reader, plan, folder, lambda done: on_progress(f"unpacking {archive.name}", done, total))
    except RefusedError as reason:
        raise AkitError(f"{archive} is not unpacked: {reason}.") from None
    except getattr(tarfile, "FilterError", ()) as error:
        raise AkitError(f"{archive} is not unpacked: {error}. {_DISTRUST}.") from error
    except DAMAGED as error:
        raise AkitError(f"{archive} is damaged: {error or type(error).__name__}. Get it once more.") from error
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # bz2's word for damage; and a place before the start of the file
            raise AkitError(f"{archive} is damaged: {error}. Get it once more.") from error
        where = error.filename or archive
        raise AkitError(f"{archive} cannot be unpacked: {error.strerror or error} ({where}).") from error
    return sum(entry.kind == "file" for _, entry in plan)


def _checked(reader: ZipReader | TarReader, packed: int, limit: int, on_entry: Callable[[], object]) -> _Plan:
    """Where each entry goes, relative to the folder; that itself is left out. Raises RefusedError."""
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
        plan.append((parts, entry))
    if not any(entry.kind == "file" for _, entry in plan):
        raise RefusedError("there is no file in it")
    plan = _without_common_folder(plan)
    _check_links(plan)
    return plan


def _parts(name: str) -> _Parts:
    """The parts of an entry's name. Raises RefusedError for one that leaves the folder."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or "\\" in name or "\0" in name or re.match("[A-Za-z]:", name) or ".." in parts:
        raise RefusedError(f"the name {name!r} leads out of the folder. {_DISTRUST}")
    return parts


def _without_common_folder(plan: _Plan) -> _Plan:
    """The same without the first part of all paths, where that is one folder."""
    first = {parts[0] for parts, _ in plan if parts}
    is_folder = all(len(parts) > 1 or entry.kind == "folder" for parts, entry in plan)
    skip = 1 if len(first) == 1 and is_folder else 0
    stripped = []
    for parts, entry in plan:
        if entry.kind == "hard link":
            entry = replace(entry, target="/".join(_parts(entry.target)[skip:]))  # noqa: PLW2901
        if len(parts) > skip:
            stripped.append((parts[skip:], entry))
    return stripped


def _check_links(plan: _Plan) -> None:
    """Raise RefusedError for devices, two entries of one name, links that lead out, and entries behind a link."""
    links = {parts for parts, entry in plan if entry.kind == "symbolic link"}
    names: set[_Parts] = set()
    for parts, entry in plan:
        if entry.kind == "device":
            raise RefusedError(f"{entry.name!r} is a device, a pipe or the like. {_DISTRUST}")
        if any(parts[:end] in links for end in range(1, len(parts))):
            raise RefusedError(f"{entry.name!r} lies behind a link. {_DISTRUST}")
        if entry.kind == "folder":
            continue
        if parts in names:
            raise RefusedError(f"{entry.name!r} is in it twice")
        if entry.kind == "symbolic link" and _leads_out(parts, entry.target):
            raise RefusedError(f"the link {entry.name!r} leads out of the folder, to {entry.target!r}. {_DISTRUST}")
        if entry.kind == "hard link" and tuple(entry.target.split("/")) not in names:
            raise RefusedError(
                f"the link {entry.name!r} leads to {entry.target!r}, which is not in the archive before it"
            )
        names.add(parts)


def _leads_out(link: _Parts, target: str) -> bool:
    """Whether a symbolic link may end outside.

    As nothing lies behind a link, the `..` at the start of a target climb real folders. After them it only goes down,
    through other links perhaps, which do not lead out either. A `..` after that could climb from where a link ended.
    """
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    return target.startswith("/") or "\\" in target or ups >= len(link) or ".." in parts[ups:]


def _write(reader: ZipReader | TarReader, plan: _Plan, folder: Path, on_bytes: Callable[[int], object]) -> None:
    """Write all entries. No file is written through a link, nor over another."""
    done = 0
    for parts, entry in plan:
        path = folder.joinpath(*parts)
        if entry.kind == "folder":
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind == "symbolic link":
            path.symlink_to(entry.target)
        elif entry.kind == "hard link":
            os.link(folder / entry.target, path, follow_symlinks=False)
        else:
            with reader.open(entry) as source, path.open("xb") as file:
                for start in _copied(source, file, entry):
                    on_bytes(done + start)
            done += entry.size


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
