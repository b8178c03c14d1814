"""What happens to a wave before features are computed from it, as a layer: trimming, level, length, quantization."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from acoustic_kit.dsp.trimming import FRAME_LENGTH, HOP_LENGTH

SILENCE = 1e-10  # power below which decibels are cut off, as in `dsp.trimming`
INT16_STEPS = 32767


class PreparedWave(nn.Module):
    """Trim waves, scale them to one peak, give them one length, and quantize them, in this order.

    It equals `features.Wave` of the resampled sound, as it is read from the store, and is exported to ONNX: shapes
    depend on the shape of the input only.

    Parameters
    ----------
    trim_top_db, trim_pad : as for `dsp.trimming.trim`; None does not trim
    peak : the largest absolute sample; None does not scale
    samples : length, to which the middle is cut or zeros are appended; None keeps the length
    int16 : round each wave to multiples of its peak / 32767, as the store does

    """

    def __init__(
        self,
        *,
        trim_top_db: float | None = None,
        trim_pad: Literal["constant", "reflect"] = "constant",
        peak: float | None = None,
        samples: int | None = None,
        int16: bool = False,
    ) -> None:
        super().__init__()
        self.trim_top_db, self.trim_pad = trim_top_db, trim_pad
        self.peak, self.samples, self.int16 = peak, samples, int16

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the prepared waves and their lengths.

        Parameters
        ----------
        waves : float32 (clips, n), full scale ±1, zeros after the end of the shorter ones
        lengths : int64 (clips,), samples of each, 1 to n

        Returns
        -------
        The same for the prepared waves; n is `samples`, if given

        """
        if self.trim_top_db is not None:
            waves, lengths = self._trimmed(waves, lengths, self.trim_top_db)
        if self.peak is not None:
            waves = waves * (self.peak / _peak(waves))
        if self.samples is not None:
            waves, lengths = _middle(waves, lengths, self.samples), torch.full_like(lengths, self.samples)
        if self.int16:
            step = _peak(waves) / INT16_STEPS
            waves = (waves / step).round() * step
        return waves, lengths

    def _trimmed(self, waves: Tensor, lengths: Tensor, top_db: float) -> tuple[Tensor, Tensor]:
        """Return waves without leading and trailing silence, and their lengths."""
        power = self._frame_power(waves, lengths)
        frame = torch.arange(power.shape[1], device=waves.device)
        power = torch.where(frame <= lengths[:, None] // HOP_LENGTH, power, 0.0).clamp(min=SILENCE)
        sound = power > power.amax(dim=1, keepdim=True) * 10 ** (-top_db / 10)
        first = torch.where(sound, frame, len(frame)).amin(dim=1)
        end = torch.where(sound, frame, -1).amax(dim=1) + 1
        lengths = (end * HOP_LENGTH).minimum(lengths) - first * HOP_LENGTH
        waves = _without_first_hops(waves, first)
        inside = torch.arange(waves.shape[1], device=waves.device) < lengths[:, None]
        return torch.where(inside, waves, 0.0), lengths

    def _frame_power(self, waves: Tensor, lengths: Tensor) -> Tensor:
        """Return the mean square of each centered frame: float32 (clips, 1 + n // HOP_LENGTH)."""
        half = FRAME_LENGTH // 2
        padded = reflected(waves, lengths, half) if self.trim_pad == "reflect" else pad(waves, (half, half))
        hops = padded.shape[1] // HOP_LENGTH
        energy = padded[:, : hops * HOP_LENGTH].square().reshape(-1, hops, HOP_LENGTH).sum(dim=2)
        return ((energy[:, :-3] + energy[:, 1:-2]) + (energy[:, 2:-1] + energy[:, 3:])) / FRAME_LENGTH

    def extra_repr(self) -> str:
        """Return the parameters for ``repr``."""
        return (
            f"trim_top_db={self.trim_top_db}, trim_pad={self.trim_pad}, peak={self.peak}, samples={self.samples}, "
            f"int16={self.int16}"
        )


def reflected(waves: Tensor, lengths: Tensor, n: int) -> Tensor:
    """Return waves with ``n`` more samples before the start and after the end of each, mirrored as often as needed.

    Parameters
    ----------
    waves : (clips, samples), zeros after the end of the shorter ones
    lengths : int64 (clips,), samples of each

    Returns
    -------
    (clips, samples + 2 n), zeros after the mirrored end

    """
    step = torch.arange(n, device=waves.device)
    period, end = (2 * lengths - 2).clamp(min=1)[:, None], lengths[:, None]

    def mirrored(place: Tensor) -> Tensor:
        place = place % period
        return waves.gather(1, torch.where(place < end, place, period - place))

    padded = torch.cat((mirrored(n - step), waves, torch.zeros_like(waves[:, :1]).expand(-1, n)), dim=1)
    return padded.scatter(1, n + end + step, mirrored(end + step))


def _peak(waves: Tensor) -> Tensor:
    """Return the largest absolute sample of each wave, or the smallest normal float32 for silence: (clips, 1)."""
    return waves.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny * INT16_STEPS)


def _middle(waves: Tensor, lengths: Tensor, n: int) -> Tensor:
    """Return the middle ``n`` samples of longer waves, and shorter ones with zeros at the end."""
    if waves.shape[1] <= n:
        return pad(waves, (0, n - waves.shape[1]))
    first = (lengths - n).clamp(min=0) // 2
    return waves.gather(1, first[:, None] + torch.arange(n, device=waves.device))


def _without_first_hops(waves: Tensor, hops: Tensor) -> Tensor:
    """Return waves (clips, n) without as many hops at the start of each; the values after them are arbitrary.

    Rows of a hop are gathered rather than samples, which ONNX Runtime copies ten times as fast.
    """
    clips, n = waves.shape
    each = -(-n // HOP_LENGTH)
    rows = pad(waves, (0, each * HOP_LENGTH - n)).reshape(-1, HOP_LENGTH)
    row = (hops[:, None] + torch.arange(each, device=waves.device)).clamp(max=each - 1)
    row = row + each * torch.arange(clips, device=waves.device)[:, None]
    return rows[row.flatten()].reshape(clips, -1)[:, :n]
