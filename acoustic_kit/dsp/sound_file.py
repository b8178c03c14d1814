"""Open audio files: the one place that calls libsndfile, and that says why a file cannot be decoded.

A length that a header states or guesses is not believed: a file is read until it ends, and so is each part of a
chained Ogg or of concatenated MP3 files. libsndfile reads through Python's file objects, so that an error of the disk
is an error here, and is not taken for the end of the file.
"""

from __future__ import annotations

import io
import math
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from acoustic_kit.dsp.audio_headers import find_mp3, guesses_length, names_format, ogg_links, with_length
from acoustic_kit.errors import AkitError

if TYPE_CHECKING:
    import numpy as np

Mono = Literal["mean", "left", "right"]  # what several channels become
MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz; a header with another rate is damaged, and resampling it could fill memory
MAX_SAMPLE = 1e10  # full scale is 1; below this bound no power, sum or moment leaves the range of its type
MISSING = "the file does not exist"
NOT_READ = "it cannot be read: "  # begins the reasons that say nothing about the file: the disk, or too little memory
UNDECODABLE = "it cannot be decoded: "
_BLOCK = 1 << 18  # samples over all channels that are decoded at once
_MP3_BLOCK = 1 << 13  # fewer, as a block is lost where frames are damaged
_HEAD = 1 << 16  # bytes in which headers are looked for
_MUCH = 1 << 40  # bytes, more than any file has


@dataclass(frozen=True)
class SoundFile:
    """An open audio file."""

    sample_rate: int  # Hz
    channels: int
    _first: _Part
    _rest: Iterator[_Part]

    def blocks(self) -> Iterator[np.ndarray]:
        """Decode the file from its beginning, once.

        Yields
        ------
        float32 (n, channels), n ≥ 1, full scale ±1. It is overwritten by the next block, which may have other channels.

        Raises
        ------
        AkitError
            As ``open_sound`` does.

        """
        import numpy as np

        part: _Part | None = self._first
        while part is not None:
            if part.sample_rate != self.sample_rate:
                raise AkitError(f"{UNDECODABLE}parts of it have {self.sample_rate} and {part.sample_rate} Hz")
            samples = _MP3_BLOCK if part.is_mp3 else _BLOCK
            block = np.empty((max(1, samples // part.channels), part.channels), np.float32)
            while len(read := part.read(block)):
                yield read
            part = next(self._rest, None)


def mix(block: np.ndarray, mono: Mono) -> np.ndarray:
    """Return the mean of the channels of float32 (n, channels), or one of them; the second is the right one."""
    channels = block.shape[1]
    if channels == 1 or mono == "left":
        return block[:, 0]
    return block[:, 1] if mono == "right" else block.mean(axis=1)


def check_wave(wave: np.ndarray) -> None:
    """Raise ``AkitError`` if ``wave``, real (n,), is empty, holds NaN or infinity, or lies far outside full scale."""
    if wave.size == 0:
        raise AkitError("it holds no samples")
    peak = max(float(wave.max()), -float(wave.min()))  # NaN if any sample is
    if not math.isfinite(peak):
        raise AkitError("it holds samples that are NaN or infinite")
    if peak > MAX_SAMPLE:
        raise AkitError(f"its samples reach {peak:.0e}, where full scale is 1")


@contextmanager
def open_sound(place: str | Path | io.BytesIO) -> Iterator[SoundFile]:
    """Open an audio file, an object at ``s3://bucket/key``, or what ``fetch`` made of it.

    Raises
    ------
    AkitError
        Where the file cannot be opened, and within the block where it cannot be decoded. The message is the reason
        alone; the caller says which file it is. It begins with ``MISSING`` or ``NOT_READ`` where another try may find
        the file good.
    acoustic_store.StoreError
        The object storage does not answer.

    """
    from acoustic_store import StoreError

    with ExitStack() as stack:
        try:
            source = place if isinstance(place, io.BytesIO) else fetch(place)
            file = source if isinstance(source, io.BytesIO) else stack.enter_context(source.open("rb", buffering=_HEAD))
            parts = stack.enter_context(closing(_parts(file)))
            first = next(parts)
            if not MIN_RATE <= first.sample_rate <= MAX_RATE:
                raise AkitError(f"its header says {first.sample_rate} Hz; {MIN_RATE} to {MAX_RATE} Hz can be read")
            yield SoundFile(first.sample_rate, first.channels, first, parts)
        except StoreError:  # an OSError; object storage that does not answer is not a fault of one clip
            raise
        except OSError as error:
            raise AkitError(f"{NOT_READ}{error.strerror or error}") from error
        except MemoryError as error:
            raise AkitError(f"{NOT_READ}there is not enough memory for its length") from error


def fetch(place: str | Path) -> Path | io.BytesIO:
    """Return what is to be opened: a path, or the bytes of an object. Raises AkitError where there is nothing."""
    from acoustic_kit.dsp.clip_source import audio_source

    try:
        source = audio_source(place)
    except FileNotFoundError as error:
        raise AkitError(MISSING) from error
    if isinstance(source, Path) and not source.is_file():
        raise AkitError(MISSING)
    return source


def _parts(file: BinaryIO) -> Generator[_Part]:
    """Open what follows one another in a file: links of a chained Ogg, MP3 files, or a single part.

    Raises AkitError for a part that cannot be opened.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(_HEAD)
    if not size:
        raise AkitError("the file is empty")
    if head.startswith(b"OggS"):
        for start, end in ogg_links(file, size):
            with _opened(_Bytes(file, start, end), head) as part:
                yield part
        return
    try:
        opened = _opened(_Bytes(file, 0, size, with_length(head, size)), head)
    except AkitError as error:
        if str(error).startswith(NOT_READ) or (found := _mp3_behind(file, 1, size)) is None:
            raise
        opened = _opened(*found)
    while True:
        with opened as part:
            yield part
        if not part.is_mp3 or (found := _mp3_behind(file, part.bytes.place, size)) is None:
            return
        opened = _opened(*found)


def _mp3_behind(file: BinaryIO, place: int, size: int) -> tuple[_Bytes, bytes] | None:
    """The next MP3 frames from a byte on, behind tags and padding, and their beginning; None if there are none."""
    file.seek(place)
    head = file.read(_HEAD)
    begin = find_mp3(head)
    return None if begin is None else (_Bytes(file, place + begin, size), head[begin:])


def _opened(content: _Bytes, head: bytes) -> _Part:
    """Open bytes with libsndfile. Raises AkitError, and OSError if the disk fails."""
    import soundfile

    class Sequential(soundfile.SoundFile):
        """After each block, soundfile seeks to where it already is: slow, inexact in MP3, an error in piped FLAC."""

        def seekable(self) -> bool:
            return False

    content.is_endless = guesses_length(head)
    try:
        return _Part(Sequential(content), content)
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        content.raise_error()
        if (foreign := names_format(head)) is not None:
            raise AkitError(f"{UNDECODABLE}it is {foreign}. Convert it to FLAC or WAV") from error
        if not isinstance(error, soundfile.LibsndfileError):
            raise AkitError(f"{UNDECODABLE}its header is damaged, or of an unknown format") from error
        raise _undecodable(error) from error


@dataclass(frozen=True)
class _Part:
    """What libsndfile opened, and the bytes that it reads."""

    file: Any  # soundfile.SoundFile
    bytes: _Bytes

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    @property
    def sample_rate(self) -> int:
        return int(self.file.samplerate)

    @property
    def channels(self) -> int:
        return int(self.file.channels)

    @property
    def is_mp3(self) -> bool:
        return bool(self.file.format in {"MP3", "MPEG"})

    def read(self, block: np.ndarray) -> np.ndarray:
        """Decode the next samples into float32 (n, channels). Raises AkitError, and OSError if the disk fails."""
        import soundfile

        try:
            read: np.ndarray = self.file.read(out=block)
        except soundfile.LibsndfileError as error:
            self.bytes.raise_error()
            if self.is_mp3 and self.bytes.place:  # behind the last frame are tags, or a damaged part: others may follow
                return block[:0]
            raise _undecodable(error) from error
        self.bytes.raise_error()
        return read


def _undecodable(error: Any) -> AkitError:
    """Say what libsndfile says of a file."""
    reason = error.error_string.strip().removeprefix("Error : ").rstrip(".")
    if "malloc" in reason:
        return AkitError(f"{NOT_READ}there is not enough memory for its length")
    # It says so of an MP3 file without a frame, though the file exists.
    reason = "Format not recognised" if reason.startswith("File does not exist") else reason
    return AkitError(f"{UNDECODABLE}{reason}")


class _Bytes:
    """The bytes of a file from `start` to `end`, behind another header where one is given, as libsndfile reads them."""

    def __init__(self, file: BinaryIO, start: int, end: int, head: bytes = b"") -> None:
        self._file, self._start, self._size, self._head = file, start, end - start, head
        self._at = 0
        self._is_there = False  # whether the file is at that byte
        self._error: OSError | None = None
        self.is_endless = False  # whether to claim more bytes than there are, so that no length is guessed from them

    @property
    def place(self) -> int:
        """The byte of the file that is read next."""
        return self._start + self._at

    def raise_error(self) -> None:
        """Raise what went wrong while libsndfile was reading: a callback from C cannot raise."""
        if self._error is not None:
            raise self._error

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte, as files do."""
        size = _MUCH if self.is_endless else self._size
        self._is_there = False
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: size}[whence])
        return self._at

    def tell(self) -> int:
        """Return the byte that is read next."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read as files do; zeros where the end of an endless file is looked for."""
        n = max(0, min(len(buffer), self._size - self._at))
        if self.is_endless and self._at > self._size:
            buffer[:] = bytes(len(buffer))
            return len(buffer)
        try:
            if not self._is_there:
                self._file.seek(self.place)
                self._is_there = True
            content = self._file.read(n)
        except OSError as error:
            self._error = error
            return 0
        if self._at < len(self._head):
            content = self._head[self._at : self._at + n] + content[max(0, len(self._head) - self._at) :]
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)
