"""``stats``: statistics over time of spectral and time-domain features; one row of numbers a clip."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from acoustic_kit.dsp.mel_parameters import check_frames
from acoustic_kit.errors import UsageError
from acoustic_kit.features.feature import Feature
from acoustic_kit.features.wave import Wave


@dataclass(frozen=True)
class Stats(Feature):
    """Statistics over time of features measured frame by frame.

    >>> Stats().columns()[:2]
    ['mel_000_mean', 'mel_000_std']

    The preset ``basic`` has mean, std, skew, kurtosis, median, minimum and maximum of mel bands in decibels, MFCC and
    their slope, spectral centroid, bandwidth, roll-off, flatness and contrast, RMS, zero crossings and chroma: 193 rows
    (fewer contrast bands below 12.8 kHz) × 7.

    The preset ``freesound`` is the table of Freesound 2018's eighth place, which takes waves of 44.1 kHz:
    mean, std, skew, maximum and minimum of mel bands, MFCC, chroma, contrast, roll-off, centroid, bandwidth, tonnetz
    and zero crossings, and numbers on the energy envelope, the mean spectrum and parts of the clip: 1,133 at any rate.

    Parameters
    ----------
    wave : the source
    preset : which features
    n_fft : even, samples in a frame; always 2048 for ``freesound``
    hop_length : samples from one frame to the next; always 512 for ``freesound``

    """

    name: ClassVar[str] = "stats"
    version: ClassVar[int] = 1
    no_layer: ClassVar[str] = "numba kernels compute it"

    wave: Wave = field(default_factory=Wave)
    preset: Literal["basic", "freesound"] = "basic"
    n_fft: int = 2048
    hop_length: int = 512

    def __post_init__(self) -> None:
        check_frames(self.n_fft, self.hop_length)
        if self.preset not in {"basic", "freesound"}:
            raise UsageError(f"there is no preset {self.preset!r} of stats; there are 'basic' and 'freesound'")
        if self.preset == "freesound" and (self.n_fft, self.hop_length) != (2048, 512):
            raise UsageError(
                f"n_fft is {self.n_fft}, hop_length {self.hop_length}; the preset 'freesound' has 2048 and 512"
            )

    def columns(self) -> list[str]:
        """Return the names of the numbers, in order, such as ``mfcc_03_std`` and ``centroid_median``."""
        if self.preset == "freesound":
            from acoustic_kit.features.freesound2018 import COLUMNS

            return list(COLUMNS)
        from acoustic_kit.dsp.frame_features import basic_sizes
        from acoustic_kit.dsp.statistics import STATISTICS

        rows = []
        for family, size in basic_sizes(self.wave.sample_rate, self.n_fft).items():
            digits = max(2, len(str(size - 1)))
            rows += [family] if size == 1 else [f"{family}_{row:0{digits}d}" for row in range(size)]
        return [f"{row}_{statistic}" for row in rows for statistic in STATISTICS]

    def compute(self, source: np.ndarray) -> np.ndarray:
        """Return the statistics of one wave.

        Parameters
        ----------
        source : float32 (n,), n ≥ 1, finite, at the wave's sample rate

        Returns
        -------
        float32 (columns,), finite, in the order of ``columns()``; units are those of ``frame_features.basic_rows``
        and ``freesound2018.table.freesound_rows``

        Raises
        ------
        AkitError
            ``source`` is empty or not finite.

        """
        if self.preset == "freesound":
            from acoustic_kit.features.freesound2018 import freesound_table

            return freesound_table(source, self.wave.sample_rate)
        from acoustic_kit.dsp.frame_features import basic_rows
        from acoustic_kit.dsp.statistics import summarize

        rows = basic_rows(source, self.wave.sample_rate, self.n_fft, self.hop_length)
        return np.concatenate([summarize(family) for family in rows.values()]).ravel()
