"""``modulation``: how fast, how much and how regularly each band of a clip beats; one row of numbers a clip."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from acoustic_kit.dsp.mel_parameters import check_frames, check_mel
from acoustic_kit.dsp.modulation import EDGES, modulation_bands
from acoustic_kit.errors import UsageError
from acoustic_kit.features.feature import Feature
from acoustic_kit.features.wave import Wave

_SLOWEST = 66  # frames per second; with fewer, beats of more than 33 Hz would be missed


@dataclass(frozen=True)
class Modulation(Feature):
    """Modulation spectrum of each mel band's amplitude, and the strength and regularity of its strongest beat.

    >>> Modulation().columns()[:2]
    ['mel_00_0.5hz', 'mel_00_1hz']

    Windows are short: those of ``LogMel`` and ``Stats``, 93 ms, average over the beat of a rotor or an engine, 10 to
    30 Hz, which tells it from rain and waves of the same spectrum.

    Parameters
    ----------
    wave : the source
    n_fft : even, samples in a frame
    hop_length : samples from one frame to the next; at least 66 frames per second
    n_mels : bands
    seconds : of a segment, at least 2, over which modulation is analyzed; spectra are averaged over segments

    """

    name: ClassVar[str] = "modulation"
    version: ClassVar[int] = 1
    no_layer: ClassVar[str] = "numba kernels compute it"

    wave: Wave = field(default_factory=Wave)
    n_fft: int = 512
    hop_length: int = 128
    n_mels: int = 20
    seconds: float = 2.0

    def __post_init__(self) -> None:
        check_frames(self.n_fft, self.hop_length)
        check_mel(self.wave.sample_rate, self.n_mels, 0.0, self.wave.sample_rate / 2, "slaney", "constant")
        if self._frame_rate < _SLOWEST:
            raise UsageError(
                f"hop_length is {self.hop_length}; at {self.wave.sample_rate} Hz it must be at most "
                f"{self.wave.sample_rate // _SLOWEST}, for {_SLOWEST} frames per second"
            )
        if not 2 <= self.seconds <= 60:
            raise UsageError(f"seconds is {self.seconds}; it must be 2 to 60")

    @property
    def _frame_rate(self) -> float:
        return self.wave.sample_rate / self.hop_length

    def columns(self) -> list[str]:
        """Return the names of the numbers, in order: of each band those of ``modulation_rows``."""
        rows = [f"{low:g}hz" for low in EDGES[: modulation_bands(self._frame_rate)]] + ["peak", "regularity"]
        return [f"mel_{band:02d}_{row}" for band in range(self.n_mels) for row in rows]

    def compute(self, source: np.ndarray) -> np.ndarray:
        """Return the modulation of one wave.

        Parameters
        ----------
        source : float32 (n,), n ≥ 1, finite, at the wave's sample rate

        Returns
        -------
        float32 (columns,), finite, in the order of ``columns()``; see ``dsp.modulation.modulation_rows``

        Raises
        ------
        AkitError
            ``source`` is empty or not finite.

        """
        from acoustic_kit.dsp.filterbanks import mel_filters
        from acoustic_kit.dsp.modulation import modulation_rows
        from acoustic_kit.dsp.spectrum import mel_spectrogram

        rate = self.wave.sample_rate
        power = mel_spectrogram(
            source, mel_filters(rate, self.n_fft, self.n_mels, 0.0, rate / 2), self.n_fft, self.hop_length
        )
        return modulation_rows(np.sqrt(power), self._frame_rate, self.seconds).ravel()
