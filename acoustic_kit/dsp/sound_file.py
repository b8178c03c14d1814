"""Open and decode audio files with libsndfile; the only place that does, and that turns its errors into reasons.

The length that a header states or that libsndfile estimates is not used: a file is read to its end, and so is each part
of a chained Ogg or of concatenated MP3 files. libsndfile reads through Python's file objects, so that a disk error is
raised here instead of being taken for the end of the file.
"""

from __future__ import annotations

import io
import math
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from acoustic_kit.dsp.audio_headers import find_mp3, guesses_length, names_format, ogg_links, with_length
from acoustic_kit.errors import DataError

if TYPE_CHECKING:
    import numpy as np

Mono = Literal["mean", "left", "right"]  # how channels are mixed
MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz; other rates come from damaged headers, and resampling could fill memory
MAX_SAMPLE = 1e10  # full scale is 1; up to this bound powers, sums and moments stay finite
MISSING = "the file does not exist"
NOT_READ = "it cannot be read: "  # begins reasons that say nothing about the file: a disk error, too little memory
UNDECODABLE = "it cannot be decoded: "
EMPTY = "it holds no samples"
_BLOCK = 1 << 18  # samples decoded at once, over all channels
_MP3_BLOCK = 1 << 13  # smaller, as a damaged frame loses a block
_HEAD = 1 << 16  # bytes searched for headers
_MUCH = 1 << 40  # bytes, larger than any file


class Span(NamedTuple):
    """A part of an audio file: the samples ``[round(start * rate), round(end * rate))`` at the file's own rate."""

    start: float  # seconds
    end: float

    def samples(self, rate: int) -> tuple[int, int]:
        """Return the first sample and the end at a rate in Hz."""
        return round(self.start * rate), round(self.end * rate)


class SoundError(DataError):
    """Reason why an audio file cannot be decoded; the caller names the file."""

    @property
    def is_unread(self) -> bool:
        """Whether the bytes could not be read (disk, memory), so that nothing is known about the file."""
        return str(self).startswith(NOT_READ)

    @property
    def detail(self) -> str:
        """The reason without its beginning, `NOT_READ` or `UNDECODABLE`."""
        return str(self).removeprefix(NOT_READ).removeprefix(UNDECODABLE)


def is_temporary(reason: str) -> bool:
    """Return whether a recorded reason is temporary: the file was missing, the disk failed, or memory was short."""
    before_2_0 = "it cannot be decoded: there is not enough memory"
    return reason.startswith((MISSING, NOT_READ, before_2_0))


@contextmanager
def sound_errors() -> Iterator[None]:
    """Turn errors of the disk and the memory into SoundError, except acoustic_store.StoreError."""
    from acoustic_store import StoreError

    try:
        yield
    except StoreError:  # an OSError; object storage that does not answer is no fault of one clip
        raise
    except FileNotFoundError as error:
        raise SoundError(MISSING) from error
    except OSError as error:
        raise SoundError(f"{NOT_READ}{error.strerror or error}") from error
    except MemoryError as error:
        raise SoundError(f"{NOT_READ}there is not enough memory for its length") from error


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
        float32 (n, channels), n ≥ 1, full scale ±1; at least one. The number of channels of the next may differ.

        Raises
        ------
        SoundError
            As ``open_sound`` does, and if the file holds no samples.

        """
        import numpy as np

        is_empty = True
        part: _Part | None = self._first
        while part is not None:
            if part.sample_rate != self.sample_rate:
                raise SoundError(f"{UNDECODABLE}parts of it have {self.sample_rate} and {part.sample_rate} Hz")
            samples = _MP3_BLOCK if part.is_mp3 else _BLOCK
            shape = max(1, samples // part.channels), part.channels
            while len(read := part.read(np.empty(shape, np.float32))):
                is_empty = False
                yield read
            part = next(self._rest, None)
        if is_empty:
            raise SoundError(EMPTY)

    def seconds(self) -> float:
        """Return the length: as stated by the header if it is reliable, else by decoding the file. Call it once.

        A damaged file may be shorter. Raises SoundError as `blocks` does.
        """
        stated = self._first.stated_samples
        if stated is None:
            return sum(map(len, self.blocks())) / self.sample_rate
        return sum((part.stated_samples or 0 for part in self._rest), stated) / self.sample_rate


def mix(block: np.ndarray, mono: Mono) -> np.ndarray:
    """Return the mean of the channels of float32 (n, channels), or one of them; the second is the right one."""
    channels = block.shape[1]
    if channels == 1 or mono == "left":
        return block[:, 0]
    return block[:, 1] if mono == "right" else block.mean(axis=1)


def check_wave(wave: np.ndarray) -> None:
    """Raise SoundError if ``wave``, real (n,), is empty, holds NaN or infinity, or is far outside full scale."""
    if wave.size == 0:
        raise SoundError(EMPTY)
    peak = max(float(wave.max()), -float(wave.min()))  # NaN if any sample is
    if not math.isfinite(peak):
        raise SoundError("it holds samples that are NaN or infinite")
    if peak > MAX_SAMPLE:
        raise SoundError(f"its samples reach {peak:.0e}, where full scale is 1")


@contextmanager
def open_sound(place: str | Path | io.BytesIO) -> Iterator[SoundFile]:
    """Open an audio file, an object at ``s3://bucket/key``, or the result of ``fetch``.

    Raises
    ------
    SoundError
        If the file cannot be opened, and within the block if it cannot be decoded. The message is only the reason; the
        caller names the file. It begins with ``MISSING`` or ``NOT_READ`` if another attempt may succeed.
    acoustic_store.StoreError
        If the object storage does not answer.

    """
    with ExitStack() as stack, sound_errors():
        source = place if isinstance(place, io.BytesIO) else fetch(place)
        file: io.BufferedIOBase
        if isinstance(source, io.BytesIO):
            file = source
        else:
            file = stack.enter_context(io.BufferedReader(io.FileIO(source), _HEAD))
        parts = stack.enter_context(closing(_parts(file)))
        first = next(parts)
        if not MIN_RATE <= first.sample_rate <= MAX_RATE:
            raise SoundError(f"its header says {first.sample_rate} Hz; {MIN_RATE} to {MAX_RATE} Hz can be read")
        yield SoundFile(first.sample_rate, first.channels, first, parts)


def fetch(place: str | Path) -> Path | io.BytesIO:
    """Return what to open: a path, or the bytes of an object. Raises SoundError if it is missing or unreadable."""
    from acoustic_kit.dsp.clip_source import audio_source

    with sound_errors():
        source = audio_source(place)
    if isinstance(source, Path) and not source.is_file():
        raise SoundError(MISSING)
    return source


def _parts(file: io.BufferedIOBase) -> Generator[_Part]:
    """Yield the consecutive parts of a file, opened: links of a chained Ogg, MP3 files, or a single part.

    Raises SoundError for a part that cannot be opened.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(_HEAD)
    if not size:
        raise SoundError("the file is empty")
    if head.startswith(b"OggS"):
        for start, end in ogg_links(file, size):
            with _opened(_Bytes(file, start, end), head) as part:
                yield part
        return
    try:
        opened = _opened(_Bytes(file, 0, size, with_length(head, size)), head)
    except SoundError as error:
        if error.is_unread or (found := _mp3_behind(file, 1, size)) is None:
            raise
        opened = _opened(*found)
    while True:
        with opened as part:
            yield part
        if not part.is_mp3 or (found := _mp3_behind(file, part.bytes.place, size)) is None:
            return
        opened = _opened(*found)


def _mp3_behind(file: io.BufferedIOBase, place: int, size: int) -> tuple[_Bytes, bytes] | None:
    """Return the next MP3 frames from a byte on, after tags and padding, and their beginning; None if none follow."""
    file.seek(place)
    head = file.read(_HEAD)
    begin = find_mp3(head)
    return None if begin is None else (_Bytes(file, place + begin, size), head[begin:])


def _opened(content: _Bytes, head: bytes) -> _Part:
    """Open bytes with libsndfile. Raises SoundError, and OSError if the disk fails."""
    import soundfile

    class Sequential(soundfile.SoundFile):
        """A file without soundfile's seek after each block: slow, inexact in MP3, and an error in piped FLAC."""

        def seekable(self) -> bool:
            return False

    content.is_endless = guesses_length(head)
    try:
        return _Part(Sequential(content), content)
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        content.raise_error()
        if (foreign := names_format(head)) is not None:
            raise SoundError(f"{UNDECODABLE}it is {foreign}. Convert it to FLAC or WAV") from error
        if not isinstance(error, soundfile.LibsndfileError):
            raise SoundError(f"{UNDECODABLE}its header is damaged, or of an unknown format") from error
        raise _undecodable(error) from error


@dataclass(frozen=True)
class _Part:
    """A file opened by libsndfile, and the bytes that it reads."""

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

    @property
    def stated_samples(self) -> int | None:
        """Samples per channel by the header; None if it does not say, as that of MP3, which others may follow."""
        frames = int(self.file.frames)
        return frames if 0 < frames < _MUCH and not self.is_mp3 else None

    def read(self, block: np.ndarray) -> np.ndarray:
        """Decode the next samples into float32 (n, channels). Raises SoundError, and OSError if the disk fails."""
        import soundfile

        try:
            read: np.ndarray = self.file.read(out=block)
        except soundfile.LibsndfileError as error:
            self.bytes.raise_error()
            if self.is_mp3 and self.bytes.place:  # tags or a damaged part follow the last frame; more frames may follow
                return block[:0]
            raise _undecodable(error) from error
        self.bytes.raise_error()
        return read


def _undecodable(error: Any) -> SoundError:
    """Return libsndfile's error as SoundError."""
    reason = error.error_string.strip().removeprefix("Error : ").rstrip(".")
    if "malloc" in reason:
        return SoundError(f"{NOT_READ}there is not enough memory for its length")
    # libsndfile reports an MP3 file without frames as missing
    reason = "Format not recognised" if reason.startswith("File does not exist") else reason
    return SoundError(f"{UNDECODABLE}{reason}")


class _Bytes:
    """The bytes of a file from `start` to `end`, with its beginning replaced by `head`, as libsndfile reads them."""

    def __init__(self, file: io.BufferedIOBase, start: int, end: int, head: bytes = b"") -> None:
        self._file, self._start, self._size, self._head = file, start, end - start, head
        self._at = 0
        self._is_there = False  # whether the file is at that position
        self._error: OSError | None = None
        self.is_endless = False  # whether to report a huge size, so that libsndfile estimates no length from it

    @property
    def place(self) -> int:
        """Offset in the file of the byte that is read next."""
        return self._start + self._at

    def raise_error(self) -> None:
        """Raise the error that occurred while libsndfile was reading, as a callback from C cannot raise."""
        if self._error is not None:
            raise self._error

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position, as files do."""
        size = _MUCH if self.is_endless else self._size
        self._is_there = False
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: size}[whence])
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read as files do; zeros after the end of an endless file."""
        if self.is_endless and self._at > self._size:
            buffer[:] = bytes(len(buffer))
            return len(buffer)
        rest = self._size - self._at
        content = buffer if len(buffer) <= rest else memoryview(buffer)[: max(0, rest)]
        try:
            if not self._is_there:
                self._file.seek(self.place)
                self._is_there = True
            n = self._file.readinto(content)
        except OSError as error:
            self._error = error
            return 0
        if self._at < len(self._head):
            head = self._head[self._at : self._at + n]
            content[: len(head)] = head
        self._at += n
        return n
