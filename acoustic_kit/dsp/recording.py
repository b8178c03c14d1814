"""Decode parts of an audio file, which is opened and decoded once, in memory that does not grow with its length."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import numpy as np

from acoustic_kit.dsp.decoding import Decoding, Sound, resample
from acoustic_kit.dsp.sound_file import (
    Mono,
    SoundError,
    SoundFile,
    Span,
    check_wave,
    fetch,
    mix,
    open_sound,
    sound_errors,
)


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
        self._waves: dict[Mono, _LastSamples] = {}  # of the mixed channels; all have the same samples
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
        self._file = None
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
            rate = self._opened_file(span, {decoding.mono for decoding in decodings}).sample_rate
            start, end = span.samples(rate)
            while self._end < end and self._decode_block(start):
                pass
            if self._end <= start < end:
                raise SoundError(f"it begins at {span.start} s, but the file ends at {self._end / rate:.6g} s")
            found = {}
            for decoding in decodings:
                wave = self._waves[decoding.mono].between(start, end)
                check_wave(wave)
                resampled = resample(wave, rate, decoding.sample_rate or rate)
                is_shared = resampled is wave and wave.base is not None  # with other spans
                found[decoding] = Sound(wave.copy() if is_shared else resampled, decoding.sample_rate or rate)
            return found

    def _opened_file(self, span: Span, monos: Collection[Mono]) -> SoundFile:
        """Return the open file; at its beginning if it was not open, or if samples are asked for that are not held."""
        is_held = self._waves.keys() >= set(monos)
        if self._file is not None and is_held and span.samples(self._file.sample_rate)[0] >= self._begin:
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
        self._waves = {mono: _LastSamples() for mono in {*self._waves, *monos}}
        return self._file

    @property
    def _begin(self) -> int:
        return next(iter(self._waves.values())).begin

    @property
    def _end(self) -> int:
        return next(iter(self._waves.values())).end

    def _decode_block(self, start: int) -> bool:
        """Decode one block, and hold the samples from `start` on; False at the file's end."""
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
        for mono, wave in self._waves.items():
            wave.append(mix(block, mono), start)
        return True


class _LastSamples:
    """The last blocks of a wave."""

    def __init__(self) -> None:
        self._blocks: deque[np.ndarray] = deque()
        self.begin, self.end = 0, 0  # samples of the wave: the first and the end of those that are held

    def append(self, block: np.ndarray, start: int) -> None:
        """Append float32 (n,), and release blocks that end before the sample `start` of the wave."""
        self._blocks.append(block)
        self.end += len(block)
        while len(self._blocks) > 1 and self.begin + len(self._blocks[0]) <= start:
            self.begin += len(self._blocks.popleft())

    def between(self, start: int, end: int) -> np.ndarray:
        """Return the samples from `start` to `end`, as far as they are held: of one block a view, else new."""
        parts, first = [], self.begin
        for block in self._blocks:
            if first < end and first + len(block) > start:
                parts.append(block[max(0, start - first) : end - first])
            first += len(block)
        return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0, np.float32)])
