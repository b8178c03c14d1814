"""Entries of zip and tar archives; invalid content is an error instead of the end of the archive."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Literal, cast

CHUNK = 1 << 20  # bytes read at once
_PADDING = 16 << 20  # bytes that may follow the end of a tar archive
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
DAMAGED = (  # raised by the two libraries for invalid content
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, struct.error,
    EOFError, ValueError, OverflowError, NotImplementedError,
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """An entry of an archive."""

    name: str
    kind: Literal["file", "folder", "other"]  # other: a link or a device
    size: int  # bytes, unpacked
    member: Any  # of zipfile or tarfile


class RefusedError(Exception):
    """Reason why an archive is not unpacked; follows `is not unpacked: `."""


def open_archive(file: IO[bytes]) -> ZipReader | TarReader:
    """Return the reader for a file, detected from its content. Raises RefusedError or DAMAGED."""
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"PK"):
        return ZipReader(file)
    opener = next((opener for start, opener in _OPENERS.items() if magic.startswith(start)), None)
    return TarReader(opener(file) if opener else file)


class ZipReader:
    """Reader of zip archives."""

    def __init__(self, file: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(file)

    def entries(self) -> Iterator[Entry]:
        """Yield all entries, in the archive's order."""
        for info in self._zip.infolist():
            name, mode = _zip_name(info), info.external_attr >> 16  # the mode is 0 if it was not written on Unix
            if info.flag_bits & 1:
                raise RefusedError(f"{name!r} is protected by a password. Unpack it with another program")
            if info.compress_type not in _METHODS:
                raise RefusedError(f"{name!r} is packed by method {info.compress_type}. Unpack it with another program")
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                yield Entry(name, "other", 0, info)
            else:
                yield Entry(name, "folder" if name.endswith(("/", "\\")) else "file", info.file_size, info)

    def open(self, entry: Entry) -> IO[bytes]:
        """Open the content of a file."""
        return self._zip.open(entry.member)


class TarReader:
    """Reader of tar archives."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = _ShortReads(stream)
        try:
            short = cast(IO[bytes], self._stream)
            self._tar = tarfile.open(fileobj=short, mode="r:", errors="surrogateescape")  # noqa: SIM115
        except tarfile.ReadError as error:
            raise RefusedError(f"it is neither a zip nor a tar archive that akit can read ({error})") from None

    def entries(self) -> Iterator[Entry]:
        """Yield all entries, in the archive's order."""
        for member in self._tar:
            name = _tar_name(member.name)
            if member.size < 0:
                raise tarfile.ReadError(f"{name!r} has a size below 0")
            if member.isreg():
                yield Entry(name, "file", member.size, member)
            elif member.isdir():
                yield Entry(name, "folder", 0, member)
            else:
                yield Entry(name, "other", 0, member)
        self._require_end()

    def _require_end(self) -> None:
        """Check that zeros end the archive; tarfile stops at any invalid header. Reading on checks gzip's checksum."""
        self._stream.seek(self._tar.offset)
        if self._stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"it is cut or damaged after {self._tar.offset:,} bytes")
        for _ in range(_PADDING // CHUNK):
            if not self._stream.read(CHUNK):
                return
        raise RefusedError(f"more than {_PADDING:,} bytes follow its end")

    def open(self, entry: Entry) -> IO[bytes]:
        """Open the content of a file."""
        stream = self._tar.extractfile(entry.member)
        assert stream is not None  # None only for folders and links
        return stream


class _ShortReads:
    """A stream that limits reads, as tarfile reads headers of any length into memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.seek, self.tell = stream, stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= CHUNK:
            raise tarfile.ReadError(f"a header says that it is {size:,} bytes long")
        return self._stream.read(size)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return the name of an entry; names without the UTF-8 flag, read as code page 437, are mostly UTF-8 too."""
    if info.flag_bits & 0x800:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.orig_filename


def _tar_name(name: str) -> str:
    """Return a name as text that can be encoded; what is not UTF-8 is read as Latin-1, as any bytes can be."""
    raw = name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
