"""``logmel``: the mel spectrogram, in decibels, as power or as magnitude."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from acoustic_kit.dsp.filterbanks import MelScale, mel_filters
from acoustic_kit.dsp.mel_parameters import check_decibels, check_frames, check_mel
from acoustic_kit.features.feature import Feature, StoredClip
from acoustic_kit.features.wave import Wave

if TYPE_CHECKING:
    import torch

    from acoustic_kit.nn.feature_layer import FeatureLayer
    from acoustic_kit.nn.logmel import MelSpectrogram


@dataclass(frozen=True)
class LogMel(Feature):
    """Mel spectrogram, as ``librosa.feature.melspectrogram`` and ``librosa.power_to_db`` compute it.

    >>> LogMel(Wave(sample_rate=22050), n_fft=1764, hop_length=220, n_mels=64)

    Parameters
    ----------
    wave : the source
    n_fft : even, samples in a frame
    hop_length : samples from one frame to the next
    n_mels : bands
    mel_scale : ``slaney`` with Slaney's norm, as in librosa; ``htk`` without a norm, as in torchaudio
    fmin, fmax : Hz; ``fmax`` None is half the sample rate
    pad_mode : padding at both ends of the clip, ``constant`` (zeros) or ``reflect``
    scale : ``db``, decibels; ``power``; or ``magnitude``, the sum of |X| instead of |X|²
    top_db : decibels are cut off this far below the clip's maximum; None cuts nothing off

    """

    name: ClassVar[str] = "logmel"
    version: ClassVar[int] = 1
    has_device_form: ClassVar[bool] = True

    wave: Wave = field(default_factory=Wave)
    n_fft: int = 2048
    hop_length: int = 512
    n_mels: int = 128
    mel_scale: MelScale = "slaney"
    fmin: float = 0.0
    fmax: float | None = None
    pad_mode: Literal["constant", "reflect"] = "constant"
    scale: Literal["db", "power", "magnitude"] = "db"
    top_db: float | None = 80.0

    def __post_init__(self) -> None:
        check_frames(self.n_fft, self.hop_length)
        check_mel(self.wave.sample_rate, self.n_mels, self.fmin, self._fmax, self.mel_scale, self.pad_mode)
        check_decibels(self.scale, self.top_db)

    @property
    def _fmax(self) -> float:
        return self.wave.sample_rate / 2 if self.fmax is None else self.fmax

    def compute(self, source: np.ndarray) -> np.ndarray:
        """Return the mel spectrogram of one wave.

        Parameters
        ----------
        source : float32 (n,), n ≥ 1, finite, at the wave's sample rate

        Returns
        -------
        float32 (n_mels, 1 + n // hop_length); decibels are re 1, at least -100 but for rounding

        Raises
        ------
        AkitError
            ``source`` is empty or not finite.

        """
        from acoustic_kit.dsp import spectrum

        bank = mel_filters(self.wave.sample_rate, self.n_fft, self.n_mels, self.fmin, self._fmax, self.mel_scale)
        magnitude = self.scale == "magnitude"
        mel = spectrum.mel_spectrogram(source, bank, self.n_fft, self.hop_length, self.pad_mode, magnitude)
        return spectrum.power_to_db(mel, self.top_db) if self.scale == "db" else mel

    def compute_on(self, device: torch.device, sources: Sequence[StoredClip]) -> list[np.ndarray]:
        """Return what `compute` returns, to 0.01 dB, or, if not in decibels, to 1e-6 of the clip's loudest band.

        Without ``top_db`` it is to 0.1 dB from 80 dB below the loudest band on, where a float32 FFT has no digits left.
        """
        from acoustic_kit.features.on_device import from_waves

        return from_waves(
            self,
            device,
            sources,
            _on(self, device),
            cells=lambda n: (1 + n // self.hop_length) * self.n_fft,
            frames=lambda n: 1 + n // self.hop_length,
        )

    def torch_layer(self) -> FeatureLayer:
        """Return the layer of the wave, then a `MelSpectrogram`."""
        from acoustic_kit.nn.feature_layer import FeatureLayer

        return FeatureLayer(self.wave.torch_layer(), self._mel(), self.hop_length)

    def _mel(self) -> MelSpectrogram:
        from acoustic_kit.nn.logmel import MelSpectrogram

        return MelSpectrogram(
            self.wave.sample_rate, self.n_fft, self.hop_length, self.n_mels, mel_scale=self.mel_scale, fmin=self.fmin,
            fmax=self.fmax, pad_mode=self.pad_mode, scale=self.scale, top_db=self.top_db,
        )  # fmt: skip


@lru_cache(maxsize=8)
def _on(feature: LogMel, device: torch.device) -> MelSpectrogram:
    return feature._mel().to(device)
