"""The short-time Fourier transform in real matrix products, for graphs without complex numbers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


def power_spectrum(waves: Tensor, window: Tensor, hop_length: int) -> Tensor:
    """Return |X|² of the frames of waves.

    Parameters
    ----------
    waves : (clips, n), already padded; frames begin at 0
    window : (n_fft,), even, of the same dtype

    Returns
    -------
    (clips, 1 + n_fft // 2, 1 + (n - n_fft) // hop_length)

    """
    n = len(window)
    frames = _frames(waves, n, hop_length) * window
    angle = torch.arange(n, dtype=torch.float64) * torch.arange(n // 2 + 1)[:, None] % n * (2 * torch.pi / n)
    cosine, sine = angle.cos().to(frames.dtype), angle.sin().to(frames.dtype)
    power = (frames @ cosine.T).square() + (frames @ sine.T).square()
    return power.transpose(1, 2)


def _frames(waves: Tensor, n: int, hop_length: int) -> Tensor:
    """Return the frames of waves: (clips, frames, n).

    They are joined from hops, which are slices of a view: ONNX's own form of `unfold` gathers each sample.
    """
    frames, each = 1 + (waves.shape[1] - n) // hop_length, -(-n // hop_length)
    needed = (frames - 1 + each) * hop_length
    padded = pad(waves, (0, max(0, needed - waves.shape[1])))[:, :needed]
    hops = padded.reshape(len(waves), -1, hop_length)
    return torch.cat([hops[:, i : i + frames] for i in range(each)], dim=2)[:, :, :n]
