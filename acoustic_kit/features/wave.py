"""``wave``: the sound of one clip, mono, at one sample rate, without leading and trailing silence."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from acoustic_kit.dsp.decoding import Decoding, Sound, decode_as, resample
from acoustic_kit.dsp.sound_file import MAX_RATE, MAX_SAMPLE, MIN_RATE, Mono
from acoustic_kit.dsp.trimming import fit_length, normalize_peak, trim
from acoustic_kit.errors import UsageError
from acoustic_kit.features.feature import Feature

if TYPE_CHECKING:
    from acoustic_kit.nn.prepared_wave import PreparedWave


@dataclass(frozen=True)
class Wave(Feature):
    """The decoded, resampled and trimmed wave.

    >>> Wave(sample_rate=44100, trim_top_db=None)

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
        return wave if (samples := self._samples) is None else fit_length(wave, samples)

    @property
    def _samples(self) -> int | None:
        return None if self.seconds is None else round(self.seconds * self.sample_rate)

    def torch_layer(self) -> PreparedWave:
        """Return the layer of the decoded and resampled wave; it includes the rounding of stored waves."""
        from acoustic_kit.nn.prepared_wave import PreparedWave

        return PreparedWave(
            trim_top_db=self.trim_top_db,
            trim_pad=self.trim_pad,
            peak=self.peak,
            samples=self._samples,
            int16=self.encoding == "int16",
        )


@cache
def _resampler_version() -> str:
    return version("soxr")
