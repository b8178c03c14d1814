"""The input of the Audio Spectrogram Transformer, computed from waves on the device."""

import torch
from torch import Tensor, nn

from acoustic_kit.dsp import kaldi
from acoustic_kit.nn.matmul_precision import full_float32_matmul
from acoustic_kit.nn.real_dft import filtered_spectrum, frames_of


class KaldiFilterBank(nn.Module):
    """Log-mel frames of one length, normalized, for a batch of waves, on any device, in float32; see ``dsp.kaldi``.

    Parameters
    ----------
    n_mels : bands, 20 Hz to 8 kHz
    max_length : frames of 10 ms; shorter waves are followed by zeros, longer ones are cut
    mean, std : of the natural logarithm of power; the output is (x - mean) / (2 std)

    """

    window: Tensor
    filters: Tensor

    def __init__(
        self,
        n_mels: int = 128,
        max_length: int = 1024,
        mean: float = kaldi.AUDIOSET_MEAN,
        std: float = kaldi.AUDIOSET_STD,
    ) -> None:
        super().__init__()
        self.max_length, self.mean, self.std = max_length, mean, std
        self.bank = kaldi.filters(n_mels)
        # The window's first value is 0, which drops the sample without a predecessor for the emphasis.
        self.register_buffer("window", torch.tensor(kaldi.window()[1:]), persistent=False)
        self.register_buffer("filters", torch.tensor(self.bank.weights.T), persistent=False)

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the filter bank of each wave.

        Parameters
        ----------
        waves : (batch, samples), at 16 kHz, full scale ±1, zeros after the end of the shorter ones
        lengths : (batch,), samples of each; None if none is padded

        Returns
        -------
        float32 (batch, max_length, n_mels), time first, without unit; frames after a wave's end are -mean / (2 std)

        """
        longest = kaldi.FRAME_LENGTH + (self.max_length - 1) * kaldi.HOP_LENGTH
        with full_float32_matmul(waves.device):
            waves = waves[:, :longest].float()
            waves = nn.functional.pad(waves, (0, max(0, kaldi.FRAME_LENGTH - waves.shape[1])))
            log_mel = self._log_mel(waves)
            frames = log_mel.shape[1]
            if lengths is not None:
                last = (lengths.clamp(kaldi.FRAME_LENGTH, waves.shape[1]) - kaldi.FRAME_LENGTH) // kaldi.HOP_LENGTH
                inside = torch.arange(frames, device=waves.device) <= last.to(waves.device)[:, None]
                log_mel = torch.where(inside[:, :, None], log_mel, 0.0)
            log_mel = nn.functional.pad(log_mel, (0, 0, 0, self.max_length - frames))
            return (log_mel - self.mean) * (0.5 / self.std)

    def _log_mel(self, waves: Tensor) -> Tensor:
        """Return the natural logarithm of the power in mel bands: float32 (batch, frames, n_mels)."""
        exporting = torch.compiler.is_exporting()  # ONNX has no complex numbers
        n, hop = kaldi.FRAME_LENGTH, kaldi.HOP_LENGTH
        frames = frames_of(waves, n, hop) if exporting else waves.unfold(1, n, hop)
        frames = frames - frames.mean(dim=2, keepdim=True)
        windowed = (frames[:, :, 1:] - kaldi.PREEMPHASIS * frames[:, :, :-1]) * self.window
        if exporting:
            windowed = nn.functional.pad(windowed, (0, kaldi.N_FFT - windowed.shape[2]))
            bands = filtered_spectrum(windowed, self.bank.weights).transpose(1, 2)
        else:
            bands = torch.view_as_real(torch.fft.rfft(windowed, n=kaldi.N_FFT)).square().sum(dim=3) @ self.filters
        return bands.clamp(min=kaldi.FLOOR).log()
