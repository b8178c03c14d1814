"""Front end from waves to an image network: mel spectrograms, trainable PCEN, masks, batch normalization."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from acoustic_kit.nn.logmel import MelSpectrogram
from acoustic_kit.nn.pcen import TrainablePcen
from acoustic_kit.nn.urbansound8k.batch_masks import BatchMasks

TIME_CONSTANT = 0.06  # seconds, of PCEN's smoother


class WaveFrontEnd(nn.Module):
    """Magnitude mel spectrograms (HTK scale, from 20 Hz), one channel for each window length, normalized by PCEN.

    Source: the front end of UrbanSound8K's winner (Jaasssoooonnnnn/Urbansound8K_Competition). The mel spectrogram is
    computed without gradient; each channel has its own PCEN; the masks are the same in all channels.

    Parameters
    ----------
    sample_rate : Hz
    n_fft : samples; one window length, or several for as many channels; waves must be longer than half of it
    hop_length : samples
    n_mels : bands
    max_mask_bands, max_mask_frames : as for ``BatchMasks``
    extra_eps : as for ``TrainablePcen``

    """

    def __init__(
        self,
        sample_rate: int = 32000,
        n_fft: int | Sequence[int] = 2048,
        hop_length: int = 320,
        n_mels: int = 128,
        *,
        max_mask_bands: int = 20,
        max_mask_frames: int = 40,
        extra_eps: float = 0.0,
    ) -> None:
        super().__init__()
        windows = [n_fft] if isinstance(n_fft, int) else n_fft
        self.mels = nn.ModuleList(
            MelSpectrogram(
                sample_rate, n, hop_length, n_mels, mel_scale="htk", fmin=20.0, pad_mode="reflect", scale="magnitude"
            )
            for n in windows
        )
        b = hop_length / (sample_rate * TIME_CONSTANT)
        self.pcens = nn.ModuleList(TrainablePcen(b, extra_eps=extra_eps) for _ in windows)
        self.masks = BatchMasks(max_mask_bands, max_mask_frames)
        self.norm = nn.BatchNorm2d(len(windows))

    def forward(self, waves: Tensor) -> Tensor:
        """float32 (clips, 1, n), full scale ±1 → float32 (clips, windows, n_mels, 1 + n // hop_length)."""
        with torch.no_grad():
            mels = [mel(waves) for mel in self.mels]
        channels = [pcen(mel) for pcen, mel in zip(self.pcens, mels, strict=True)]
        spectrograms: Tensor = self.norm(self.masks(torch.cat(channels, dim=1)))
        return spectrograms
