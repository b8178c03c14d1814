"""``wave``: the sound of one clip, mono, at one sample rate, without leading and trailing silence."""

import io
import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np

from acoustic_kit.dsp.sound_file import MAX_RATE, MAX_SAMPLE, MIN_RATE, Mono, check_wave, mix, open_sound
from acoustic_kit.errors import UsageError
from acoustic_kit.features.feature import Decoding, Feature

FRAME_LENGTH = 2048  # samples; librosa.effects.trim's defaults
HOP_LENGTH = 512
RESAMPLED = 1 << 18  # samples resampled at once


class Sound(NamedTuple):
    """The samples of an audio file."""

    samples: np.ndarray  # float32 (n,), full scale ±1
    sample_rate: int  # Hz


@dataclass(frozen=True)
class Wave(Feature):
    """The decoded, resampled and trimmed wave.

    Parameters
    ----------
    sample_rate : int, Hz
    trim_top_db : float, dB, or None
        Leading and trailing frames this far below the loudest frame are cut off; None keeps the whole clip.
    trim_pad : padding for the frames at both ends: zeros (``constant``), as in librosa 0.11, or the clip reflected
        (``reflect``), as in librosa 0.6; two clips in a hundred of ESC-10 then keep a hop or more in addition
    peak : the largest absolute sample after normalization; None keeps the loudness. Silence stays silent
    seconds : one length for all clips: longer ones are cut to their middle, shorter ones get zeros at the end.
        None keeps each clip's length
    encoding : how clips are stored: ``int16`` with one scale a clip, or ``float32``
    mono : how several channels are reduced to one: ``mean``, ``left`` (the first) or ``right`` (the
        second); a file of one channel keeps it

    """

    name: ClassVar[str] = "wave"
    version: ClassVar[int] = 1

    sample_rate: int = 22050
    trim_top_db: float | None = 60.0
    trim_pad: Literal["constant", "reflect"] = "constant"
    peak: float | None = None
    seconds: float | None = None
    encoding: Literal["int16", "float32"] = "int16"
    mono: Mono = "mean"

    def __post_init__(self) -> None:
        if not MIN_RATE <= self.sample_rate <= MAX_RATE:
            raise UsageError(f"sample_rate is {self.sample_rate}; it must be {MIN_RATE} to {MAX_RATE} Hz")
        if self.trim_top_db is not None and not 0 < self.trim_top_db < math.inf:
            raise UsageError(f"trim_top_db is {self.trim_top_db}; it must be positive, or None to keep all")
        if self.trim_pad not in {"constant", "reflect"}:
            raise UsageError(f"trim_pad is {self.trim_pad!r}; it must be 'constant' or 'reflect'")
        if self.peak is not None and not 0 < self.peak <= MAX_SAMPLE:
            raise UsageError(f"peak is {self.peak}; it must be positive, or None to leave the loudness as it is")
        if self.seconds is not None and not 1 <= self.seconds * self.sample_rate < math.inf:
            raise UsageError(f"seconds is {self.seconds}; it must be at least one sample, or None to keep all")
        if self.encoding not in {"int16", "float32"}:
            raise UsageError(f"encoding is {self.encoding!r}; it must be 'int16' or 'float32'")
        if self.mono not in get_args(Mono):
            raise UsageError(f"mono is {self.mono!r}; it must be 'mean', 'left' or 'right'")

    @property
    def storage_dtype(self) -> str:
        """The encoding."""
        return self.encoding

    def parameters(self) -> dict[str, Any]:
        """Return the parameters as for every feature, and the version of the resampler, which affects the samples."""
        parameters = super().parameters() | {"soxr": _resampler_version()}
        if self.mono == "mean":  # keys from before this parameter existed
            del parameters["mono"]
        return parameters

    @property
    def decoding(self) -> Decoding:
        """Its sample rate and channel."""
        return Decoding(self.sample_rate, self.mono)

    def with_mono(self, mono: Mono) -> Feature:
        """Return the wave of these channels, unless it already has others than the mean."""
        return replace(self, mono=mono) if self.mono == "mean" else self

    def compute(self, source: str | Path | Sound) -> np.ndarray:
        """Return the wave of one audio file.

        Parameters
        ----------
        source : path of the audio file, any format that libsndfile reads, or the decoded sound

        Returns
        -------
        float32 (n,), full scale ±1 (but for ``peak``), n ≥ 1

        Raises
        ------
        SoundError
            As ``decode`` does.

        """
        sound = source if isinstance(source, Sound) else decode_as(source, [self.decoding])[self.decoding]
        wave = resample(*sound, self.sample_rate)
        if self.trim_top_db is not None:
            wave = trim(wave, self.trim_top_db, self.trim_pad)[0]
        if self.peak is not None:
            wave = normalize_peak(wave, self.peak)
        return wave if self.seconds is None else fit_length(wave, round(self.seconds * self.sample_rate))


def decode(path: str | Path | io.BytesIO, mono: Mono = "mean") -> Sound:
    """Decode an audio file, an object at ``s3://bucket/key``, or the result of ``fetch``, at its own sample rate.

    Raises
    ------
    SoundError
        The file cannot be read or decoded, is empty, or holds invalid values.
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
    """Return a resampler for blocks, equal to that of the whole wave bit by bit; None if the rates are equal."""
    if rate == target_rate:
        return None
    import soxr

    return soxr.ResampleStream(rate, target_rate, 1, dtype="float32", quality="HQ")


def trim(
    wave: np.ndarray, top_db: float, pad_mode: Literal["constant", "reflect"] = "constant"
) -> tuple[np.ndarray, tuple[int, int]]:
    """Cut leading and trailing silence, to the same sample as ``librosa.effects.trim`` (0.11).

    A frame (2048 samples, hop 512, centered) is silent if its power is ``top_db`` or more below the loudest frame's.
    The result extends from the first non-silent frame to one hop past the last. An all-silent wave is kept whole.

    Parameters
    ----------
    wave : float32 (n,), n ≥ 1
    top_db : positive, dB
    pad_mode : padding at both ends: zeros, or, as in librosa 0.6, the wave reflected (``reflect``)

    Returns
    -------
    wave[start:end] (a view), and (start, end) in samples

    """
    # The order of float32 operations is librosa's, so that a frame at the threshold is treated the same.
    rms = np.sqrt(_frame_power(wave, pad_mode))
    decibels = 10.0 * np.log10(np.maximum(1e-10, rms**2)) - 10.0 * np.log10(np.maximum(1e-10, rms.max() ** 2))
    sound = np.flatnonzero(decibels > -top_db)
    start, end = int(sound[0]) * HOP_LENGTH, min(len(wave), (int(sound[-1]) + 1) * HOP_LENGTH)
    return wave[start:end], (start, end)


def _frame_power(wave: np.ndarray, pad_mode: Literal["constant", "reflect"]) -> np.ndarray:
    """Return the mean square of each centered frame: float32 (1 + n // HOP_LENGTH,).

    Frames share the sums of their hops. Four hops are added in pairs, as numpy does inside a frame of librosa's, so the
    rounding is the same.
    """
    from acoustic_kit.dsp.frame_energy import hop_energy

    wave = np.ascontiguousarray(wave, np.float32)
    hops, before = len(wave) // HOP_LENGTH + 4, FRAME_LENGTH // 2
    if pad_mode == "reflect":
        wave, before = np.pad(wave, before, mode="reflect"), 0
    energy = hop_energy(wave, before, hops)
    sums: np.ndarray = (energy[:-3] + energy[1:-2]) + (energy[2:-1] + energy[3:])
    return sums / np.float32(FRAME_LENGTH)


def normalize_peak(wave: np.ndarray, peak: float = 1.0) -> np.ndarray:
    """Scale float32 (n,) so that its largest absolute sample is ``peak``; silence is unchanged."""
    largest = np.abs(wave).max()
    return wave if largest == 0 else wave * np.float32(peak / largest)


def fit_length(wave: np.ndarray, n: int) -> np.ndarray:
    """Cut float32 (m,) to its middle ``n`` samples, from ⌊(m - n) / 2⌋ on, or append zeros up to ``n``."""
    if len(wave) < n:
        return np.pad(wave, (0, n - len(wave)))
    first = (len(wave) - n) // 2
    return wave[first : first + n]


@cache
def _resampler_version() -> str:
    return version("soxr")
