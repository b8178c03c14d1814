"""The mel spectrogram as a layer, for models that start from the wave."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from acoustic_kit.dsp.filterbanks import MelScale, mel_filters
from acoustic_kit.dsp.mel_parameters import AMIN, check_decibels, check_frames, check_mel
from acoustic_kit.nn.matmul_precision import full_float32_matmul
from acoustic_kit.nn.prepared_wave import reflected
from acoustic_kit.nn.real_dft import filtered_spectrum, frames_of


class MelSpectrogram(nn.Module):
    """Mel spectrogram of a batch of waves, as in librosa, on any device and differentiable.

    The window and the filters follow from the parameters, so they are not in the state dict.

    Parameters
    ----------
    sample_rate : Hz
    n_fft : even, samples in a frame
    hop_length : samples from one frame to the next
    n_mels : bands
    mel_scale : ``slaney`` with Slaney's norm, as in librosa; ``htk`` without a norm, as in torchaudio
    fmin, fmax : Hz; ``fmax`` None is half the sample rate
    pad_mode : padding at both ends, ``constant`` (zeros) or ``reflect``, which needs more than n_fft / 2 samples
    scale : ``power``; ``db``, decibels; or ``magnitude``, the sum of |X| instead of |X|²
    top_db : decibels are cut off this far below the maximum of each wave; None cuts nothing off
    precision : of the FFT; the values are float32

    Raises
    ------
    UsageError
        A parameter is out of range.

    """

    window: Tensor
    filters: Tensor

    def __init__(
        self,
        sample_rate: int,
        n_fft: int = 2048,
        hop_length: int = 512,
        n_mels: int = 128,
        *,
        mel_scale: MelScale = "slaney",
        fmin: float = 0.0,
        fmax: float | None = None,
        pad_mode: Literal["constant", "reflect"] = "constant",
        scale: Literal["db", "power", "magnitude"] = "power",
        top_db: float | None = 80.0,
        precision: Literal["float32", "float64"] = "float32",
    ) -> None:
        super().__init__()
        fmax = sample_rate / 2 if fmax is None else fmax
        check_frames(n_fft, hop_length)
        check_mel(sample_rate, n_mels, fmin, fmax, mel_scale, pad_mode)
        check_decibels(scale, top_db)
        self.sample_rate, self.n_fft, self.hop_length, self.n_mels = sample_rate, n_fft, hop_length, n_mels
        self.pad_mode, self.scale, self.top_db = pad_mode, scale, top_db
        self.bank = mel_filters(sample_rate, n_fft, n_mels, fmin, fmax, mel_scale)
        window = torch.hann_window(n_fft, dtype=torch.float64).to(getattr(torch, precision))
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", torch.from_numpy(self.bank.weights.copy()), persistent=False)

    def forward(self, wave: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the mel spectrogram of each wave.

        Parameters
        ----------
        wave : float32 (..., n), full scale ±1; with ``lengths`` (clips, n), zeros after the end of the shorter ones
        lengths : int (clips,), samples of each, on the same device; None if none is padded. With it, waves of any
            length can be reflected

        Returns
        -------
        float32 (..., n_mels, 1 + n // hop_length); decibels are cut off ``top_db`` below the maximum of each wave. Of a
        wave with a length, the first 1 + length // hop_length frames are its own

        """
        with full_float32_matmul(wave.device):
            waves = wave.to(self.window.dtype).reshape(-1, wave.shape[-1])
            mel = self._mel(self._padded(waves, lengths)).view(*wave.shape[:-1], self.n_mels, -1)
            if self.scale != "db":
                return mel
            if lengths is not None:  # padding must not decide a wave's maximum
                inside = torch.arange(mel.shape[-1], device=mel.device) <= (lengths // self.hop_length)[:, None]
                mel = torch.where(inside[:, None], mel, 0.0)
            return _decibels(mel, self.top_db)

    def _padded(self, waves: Tensor, lengths: Tensor | None) -> Tensor:
        """Return waves with half a frame more at both ends."""
        half = self.n_fft // 2
        if lengths is not None and self.pad_mode == "reflect":
            return reflected(waves, lengths, half)
        return pad(waves, (half, half), mode=self.pad_mode)

    def _mel(self, waves: Tensor) -> Tensor:
        """Return the bands of the power or the magnitude: float32 (clips, n_mels, frames)."""
        magnitude = self.scale == "magnitude"
        if torch.compiler.is_exporting():
            frames = frames_of(waves, self.n_fft, self.hop_length) * self.window
            return filtered_spectrum(frames, self.bank.weights, magnitude=magnitude)
        spectrum = torch.stft(waves, self.n_fft, self.hop_length, window=self.window, center=False, return_complex=True)
        bins = spectrum.abs() if magnitude else torch.view_as_real(spectrum).square().sum(dim=-1)
        return self.filters @ bins.float()

    def extra_repr(self) -> str:
        """Return the parameters for ``repr``."""
        return f"sample_rate={self.sample_rate}, n_fft={self.n_fft}, hop_length={self.hop_length}, n_mels={self.n_mels}"


def _decibels(power: Tensor, top_db: float | None) -> Tensor:
    decibels = 10.0 * power.clamp(min=AMIN).log10()
    return decibels if top_db is None else decibels.maximum(decibels.amax(dim=(-2, -1), keepdim=True) - top_db)
