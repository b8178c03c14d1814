"""Mel spectrograms of one or several resolutions as the channels of an image network, and masks of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from acoustic_kit.nn.logmel import MelSpectrogram
from acoustic_kit.nn.pcen import TrainablePcen

TIME_CONSTANT = 0.06  # seconds, of PCEN's smoother, as in UrbanSound8K's winner


class MelChannels(nn.Module):
    """Mel spectrograms of waves, a channel for each window length, in which each band is normalized over the batch.

    The normalization is batch normalization over all bands of all channels, as before the first convolution of PANNs
    (Kong et al. 2020). The mel spectrogram is computed without gradient.

    Parameters
    ----------
    sample_rate : Hz
    n_fft : samples in a window, for each channel
    hop_length : samples from one frame to the next, in all channels
    n_mels : bands
    scale : ``logmel``, decibels, 80 below the maximum of each wave or more; ``pcen``, a trainable PCEN of the magnitude
        for each channel
    fmin, fmax : Hz; ``fmax`` None is half the sample rate

    Raises
    ------
    UsageError
        A parameter is out of range.

    """

    def __init__(
        self,
        sample_rate: int,
        n_fft: Sequence[int],
        hop_length: int,
        n_mels: int,
        *,
        scale: Literal["logmel", "pcen"] = "logmel",
        fmin: float = 0.0,
        fmax: float | None = None,
    ) -> None:
        super().__init__()
        unit: Literal["db", "magnitude"] = "db" if scale == "logmel" else "magnitude"
        self.mels = nn.ModuleList(
            MelSpectrogram(sample_rate, n, hop_length, n_mels, fmin=fmin, fmax=fmax, scale=unit) for n in n_fft
        )
        b = min(1.0, hop_length / (sample_rate * TIME_CONSTANT))
        self.scales = nn.ModuleList(nn.Identity() if scale == "logmel" else TrainablePcen(b) for _ in n_fft)
        self.norm = nn.BatchNorm1d(len(n_fft) * n_mels)

    def forward(self, waves: Tensor) -> Tensor:
        """float32 (clips, n), full scale ±1 → float32 (clips, windows, n_mels, 1 + n // hop_length)."""
        with torch.no_grad():
            mels = [mel(waves) for mel in self.mels]
        channels = torch.stack([scale(mel) for scale, mel in zip(self.scales, mels, strict=True)], dim=1)
        bands: Tensor = self.norm(channels.flatten(1, 2))
        return bands.view_as(channels)


class ClipMasks(nn.Module):
    """SpecAugment (Park et al. 2019) with several masks per clip: while training, stripes of bands and frames are 0.

    The masks of a clip are the same in all channels. They are drawn from torch's generator, as dropout is.

    Parameters
    ----------
    max_bands, max_frames : widths are drawn from 0 to this, exclusive
    n : masks of bands, and as many of frames

    """

    def __init__(self, max_bands: int, max_frames: int, n: int = 1) -> None:
        super().__init__()
        self.max_bands, self.max_frames, self.n = max_bands, max_frames, n

    def forward(self, x: Tensor) -> Tensor:
        """Float (clips, channels, bands, frames) → the same shape."""
        if not self.training:
            return x
        bands = self._stripes(x, x.shape[-2], self.max_bands)[:, None, :, None]
        return x.masked_fill(bands | self._stripes(x, x.shape[-1], self.max_frames)[:, None, None, :], 0.0)

    def _stripes(self, x: Tensor, size: int, max_width: int) -> Tensor:
        """Return the union of the masks of each clip along one axis: bool (clips, size)."""
        fraction, place = torch.rand(2, len(x), self.n, 1, device=x.device)
        width = (fraction * min(max_width, size)).floor()
        first = (place * (size - width + 1)).floor()
        index = torch.arange(size, device=x.device)
        stripes: Tensor = (index >= first) & (index < first + width)
        return stripes.any(dim=1)

    def extra_repr(self) -> str:
        """Return the parameters for ``repr``."""
        return f"max_bands={self.max_bands}, max_frames={self.max_frames}, n={self.n}"
