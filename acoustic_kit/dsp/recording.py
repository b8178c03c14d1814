"""Decode parts of an audio file, which is opened and decoded once, in memory that does not grow with its length."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from acoustic_kit.dsp.decoding import Decoding, Sound, SoundBuilder
from acoustic_kit.dsp.sound_file import (
    EMPTY,
    SoundError,
    SoundFile,
    Span,
    check_wave,
    fetch,
    mix,
    open_sound,
    sound_errors,
)

if TYPE_CHECKING:
    import numpy as np


class Recording:
    """An audio file that is decoded span by span.

    >>> with Recording("night.flac") as recording:
    ...     sound = recording.read(Span(5, 10), [Decoding(16000)])[Decoding(16000)]

    Spans in the order of their starts, overlapping or not, decode the file once; one that begins before samples that
    are still held decodes it again from its beginning. There is no seeking, which is inexact in Ogg and MP3, and passes
    over damaged parts. Samples from the start of the last span on are held, so memory is that of one span and one
    block. An error of the file is raised for each span that it affects, without a further attempt.

    Parameters
    ----------
    place : path of the file, URL of an object at ``s3://bucket/key``, or the result of ``fetch``

    """

    def __init__(self, place: str | Path | io.BytesIO) -> None:
        self._place = place
        self._opened = ExitStack()
        self._file: SoundFile | None = None
        self._blocks: Iterator[np.ndarray] = iter(())
        self._held: deque[np.ndarray] = deque()  # consecutive blocks: float32 (n, channels)
        self._begin, self._end = 0, 0  # samples: the first of the held blocks, and the end of the last
        self._error: SoundError | None = None  # which ended the decoding

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def channels(self) -> int:
        """Number of channels, once a span was read."""
        return self._file.channels if self._file is not None else 0

    def close(self) -> None:
        """Close the file."""
        self._held.clear()
        self._opened.close()

    def read(self, span: Span, decodings: Collection[Decoding]) -> dict[Decoding, Sound]:
        """Decode a span in each of these forms, as ``decode_as`` decodes a file that holds nothing else.

        A span that reaches beyond the file's end is what there is of it.

        Raises
        ------
        SoundError
            The file cannot be opened, or decoded up to the end of the span; the span begins at or after the end of the
            file, holds no samples, or holds some that ``check_wave`` rejects.
        acoustic_store.StoreError
            The object storage does not answer.

        """
        with sound_errors():
            rate = self._opened_file(span).sample_rate
            start, end = span.samples(rate)
            self._drop_before(start)
            while self._end < end and self._decode_block(start):
                pass
            if self._end <= start < end:
                raise SoundError(f"it begins at {span.start} s, but the file ends at {self._end / rate:.6g} s")
            found = {d: SoundBuilder(rate, d.sample_rate or rate) for d in decodings}
            is_empty = True
            for block in self._slices(start, end):
                is_empty = False
                for decoding, builder in found.items():
                    mono = mix(block, decoding.mono)
                    check_wave(mono)
                    builder.add(mono)
            if is_empty:
                raise SoundError(EMPTY)
            return {decoding: builder.sound() for decoding, builder in found.items()}

    def _opened_file(self, span: Span) -> SoundFile:
        """Return the open file: at its beginning if it was not open, or if the span begins before the held samples."""
        if self._file is not None and span.samples(self._file.sample_rate)[0] >= self._begin:
            return self._file
        if self._file is None and self._error is not None:
            raise self._error
        self.close()
        try:
            if not isinstance(self._place, io.BytesIO):
                self._place = fetch(self._place)
            self._file = self._opened.enter_context(open_sound(self._place))
        except SoundError as error:
            self._error = error
            raise
        self._blocks, self._error = self._file.blocks(), None
        self._begin = self._end = 0
        return self._file

    def _decode_block(self, start: int) -> bool:
        """Decode one block, and hold it unless it ends at or before the sample `start`; False at the file's end."""
        if self._error is not None:
            raise self._error
        try:
            with sound_errors():
                block = next(self._blocks, None)
        except SoundError as error:
            self._error = error
            raise
        if block is None:
            return False
        self._end += len(block)
        if self._end > start:
            self._held.append(block.copy())
        else:
            self._begin = self._end
        return True

    def _drop_before(self, start: int) -> None:
        """Drop the held blocks that end at or before the sample `start`."""
        while self._held and self._begin + len(self._held[0]) <= start:
            self._begin += len(self._held.popleft())

    def _slices(self, start: int, end: int) -> Iterator[np.ndarray]:
        """Yield the held samples from `start` to `end`."""
        at = self._begin
        for block in self._held:
            if at < end and at + len(block) > start:
                yield block[max(0, start - at) : min(len(block), end - at)]
            at += len(block)
