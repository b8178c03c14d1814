"""``ast_input``: Kaldi's filter bank, framed and normalized for the Audio Spectrogram Transformer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from acoustic_kit.dsp.kaldi import AUDIOSET_MEAN, AUDIOSET_STD, FRAME_LENGTH, N_FFT, SAMPLE_RATE
from acoustic_kit.dsp.sound_file import check_wave
from acoustic_kit.errors import UsageError
from acoustic_kit.features.feature import Feature, StoredClip
from acoustic_kit.features.wave import Wave

if TYPE_CHECKING:
    import torch

    from acoustic_kit.nn.feature_layer import FeatureLayer
    from acoustic_kit.nn.kaldi import KaldiFilterBank


def _wave() -> Wave:
    return Wave(SAMPLE_RATE)


@dataclass(frozen=True)
class AstInput(Feature):
    """Log-mel frames of one length, as ``transformers.ASTFeatureExtractor`` computes them with torchaudio.

    >>> AstInput(Wave(sample_rate=16000), max_length=512)

    Short clips are followed by rows of zeros, long ones lose their end; then x becomes (x - mean) / (2 std). The
    original fails on clips of less than a frame; here they are padded with zeros to one.

    Parameters
    ----------
    wave : the source, at 16 kHz
    n_mels : bands, 20 Hz to 8 kHz
    max_length : frames of 10 ms; 1024 are 10.255 s
    mean, std : of AudioSet, natural logarithm of power; a checkpoint's own are in its ``preprocessor_config.json``

    """

    name: ClassVar[str] = "ast_input"
    version: ClassVar[int] = 1
    has_device_form: ClassVar[bool] = True

    wave: Wave = field(default_factory=_wave)
    n_mels: int = 128
    max_length: int = 1024
    mean: float = AUDIOSET_MEAN
    std: float = AUDIOSET_STD

    def __post_init__(self) -> None:
        if self.wave.sample_rate != SAMPLE_RATE:
            raise UsageError(f"sample_rate is {self.wave.sample_rate}; ast_input takes waves at {SAMPLE_RATE} Hz")
        if self.n_mels < 1:
            raise UsageError(f"n_mels is {self.n_mels}; it must be at least 1")
        if self.max_length < 1:
            raise UsageError(f"max_length is {self.max_length}; it must be at least 1 frame")
        if not (math.isfinite(self.mean) and 0 < self.std < math.inf):
            raise UsageError(f"mean is {self.mean}, std {self.std}; they must be finite, and std positive")

    def compute(self, source: np.ndarray) -> np.ndarray:
        """Return the filter bank of one wave.

        Parameters
        ----------
        source : float32 (n,), n ≥ 1, finite, at 16 kHz, full scale ±1

        Returns
        -------
        float32 (max_length, n_mels), time first, without unit; about 0 ± 0.5 on AudioSet

        Raises
        ------
        AkitError
            ``source`` is empty or not finite.

        """
        from acoustic_kit.dsp import kaldi_kernels

        check_wave(source)
        wave = np.ascontiguousarray(source, np.float32)
        if len(wave) < FRAME_LENGTH:
            wave = np.pad(wave, (0, FRAME_LENGTH - len(wave)))
        log_mel = kaldi_kernels.log_mel(wave, self.n_mels, self.max_length)
        log_mel -= np.float32(self.mean)
        log_mel *= np.float32(0.5 / self.std)
        padded = np.full((self.max_length, self.n_mels), -0.5 * self.mean / self.std, np.float32)
        padded[: log_mel.shape[1]] = log_mel.T
        return padded

    def compute_on(self, device: torch.device, sources: Sequence[StoredClip]) -> list[np.ndarray]:
        """Return what `compute` returns, to 1e-3."""
        from acoustic_kit.features.on_device import from_waves

        return from_waves(
            self,
            device,
            sources,
            _on(self, device),
            cells=lambda n: self.max_length * N_FFT,
            frames=lambda n: self.n_mels,  # the last axis, which is the same for all
        )

    def torch_layer(self) -> FeatureLayer:
        """Return the layer of the wave, then a `KaldiFilterBank`."""
        from acoustic_kit.nn.feature_layer import FeatureLayer

        return FeatureLayer(self.wave.torch_layer(), self._filter_bank())

    def _filter_bank(self) -> KaldiFilterBank:
        from acoustic_kit.nn.kaldi import KaldiFilterBank

        return KaldiFilterBank(self.n_mels, self.max_length, self.mean, self.std)


@lru_cache(maxsize=4)
def _on(feature: AstInput, device: torch.device) -> KaldiFilterBank:
    return feature._filter_bank().to(device)
