"""Decode audio files to mono waves at any sample rate."""

import io
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from acoustic_kit.dsp.sound_file import Mono, check_wave, mix, open_sound

RESAMPLED = 1 << 18  # samples resampled at once


class Decoding(NamedTuple):
    """How an audio file is decoded for a feature."""

    sample_rate: int | None = None  # Hz; None: as in the file
    mono: Mono = "mean"


class Sound(NamedTuple):
    """The samples of an audio file."""

    samples: np.ndarray  # float32 (n,), full scale ±1
    sample_rate: int  # Hz


def decode(path: str | Path | io.BytesIO, mono: Mono = "mean") -> Sound:
    """Decode an audio file, an object at ``s3://bucket/key``, or the result of ``fetch``, at its own sample rate.

    Raises
    ------
    SoundError
        The file cannot be read or decoded, is empty, or holds samples that ``check_wave`` rejects.
        The message is the reason alone; the caller adds the clip.
    acoustic_store.StoreError
        The object storage does not answer.

    """
    decoding = Decoding(mono=mono)
    return decode_as(path, [decoding])[decoding]


def decode_as(path: str | Path | io.BytesIO, decodings: Collection[Decoding]) -> dict[Decoding, Sound]:
    """Decode a file once, in each of these forms. It is resampled while it is read, so memory is that of the results.

    Raises the errors of ``decode``.
    """
    with open_sound(path) as file:
        samples = {d: _Samples(file.sample_rate, d.sample_rate or file.sample_rate) for d in decodings}
        for block in file.blocks():
            for decoding, of_one in samples.items():
                mono = mix(block, decoding.mono)
                check_wave(mono)
                of_one.add(mono)
        return {decoding: of_one.sound() for decoding, of_one in samples.items()}


class _Samples:
    """Samples that are added in blocks and resampled, in an array that grows in place."""

    def __init__(self, rate: int, target_rate: int) -> None:
        self._rate, self._target_rate = rate, target_rate
        self._resampler = _resampler(rate, target_rate)
        self._array = np.empty(0, np.float32)
        self._n, self._n_read = 0, 0

    def add(self, block: np.ndarray) -> None:
        """Append float32 (n,)."""
        self._n_read += len(block)
        self._append(block if self._resampler is None else self._resampler.resample_chunk(block))

    def sound(self) -> Sound:
        """Return all samples."""
        if self._resampler is not None:
            self._append(self._resampler.resample_chunk(np.empty(0, np.float32), last=True))
        self._array.resize(resampled_length(self._n_read, self._rate, self._target_rate), refcheck=False)
        self._array[self._n :] = 0
        return Sound(self._array, self._target_rate)

    def _append(self, block: np.ndarray) -> None:
        end = self._n + len(block)
        if end > len(self._array):
            self._array.resize(max(end, self._n * 3 // 2), refcheck=False)  # copies no pages of a large array
        self._array[self._n : end] = block
        self._n = end


def resample(wave: np.ndarray, rate: int, target_rate: int) -> np.ndarray:
    """Resample float32 (n,) to ``resampled_length`` samples with soxr's HQ setting, as ``librosa.resample``."""
    if rate == target_rate:
        return wave
    samples = _Samples(rate, target_rate)
    for start in range(0, len(wave), RESAMPLED):
        samples.add(wave[start : start + RESAMPLED])
    return samples.sound().samples


def resampled_length(n: int, rate: int, target_rate: int) -> int:
    """Return ⌈n · target_rate / rate⌉."""
    return n if rate == target_rate else math.ceil(n * (float(target_rate) / rate))


def _resampler(rate: int, target_rate: int) -> Any:
    """Return a resampler by blocks, bit-identical to resampling the whole wave; None if the rates are equal."""
    if rate == target_rate:
        return None
    import soxr

    return soxr.ResampleStream(rate, target_rate, 1, dtype="float32", quality="HQ")
