"""PCEN of mel spectrograms of several resolutions, with fixed parameters, as a layer of waves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from acoustic_kit.nn.logmel import MelSpectrogram
from acoustic_kit.nn.pcen import pcen


class PcenChannels(nn.Module):
    """Mel spectrograms E of waves after PCEN, a channel for each; see `features.Pcen`.

        M[t] = (1 - b) M[t-1] + b E[t]
        pcen = factor · ((E / (eps + M)^gain + bias)^power - bias^power)

    Parameters
    ----------
    mels : of equal hops and bands
    gain, bias, power, b, eps, factor : as above
    start : M before the first frame; None is the first frame

    """

    gain: Tensor
    bias: Tensor
    power: Tensor
    b: Tensor

    def __init__(
        self,
        mels: Sequence[MelSpectrogram],
        *,
        gain: float,
        bias: float,
        power: float,
        b: float,
        eps: float,
        start: float | None,
        factor: float,
    ) -> None:
        super().__init__()
        self.mels = nn.ModuleList(mels)
        for name, number in {"gain": gain, "bias": bias, "power": power, "b": b}.items():
            self.register_buffer(name, torch.tensor(number), persistent=False)
        self.eps, self.start, self.factor = eps, start, factor

    def forward(self, waves: Tensor, lengths: Tensor) -> Tensor:
        """Return the PCEN of waves (clips, n) of these lengths: float32 (clips, channels, n_mels, 1 + n // hop)."""
        return torch.stack([self._pcen(mel(waves, lengths)) for mel in self.mels], dim=1) * self.factor

    def _pcen(self, mel: Tensor) -> Tensor:
        # `pcen` starts its smoother at the first frame, so a frame of the start energy is put before it.
        before = mel[..., :1] if self.start is None else torch.full_like(mel[..., :1], self.start)
        energy = torch.cat((before, mel), dim=-1)
        return pcen(energy, self.gain, self.bias, self.power, self.b, self.eps)[..., 1:]
