"""Inputs of a network, cut from features inside an exported graph as `Batches` cuts them in prediction."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from acoustic_kit.errors import UsageError
from acoustic_kit.training import Batches
from acoustic_kit.training.crops import LONG, MOST, decibel_power, mean_square


class InputCrops(nn.Module):
    """Crops of clips at the length of a network's input. Shapes do not depend on the clips' lengths.

    Parameters
    ----------
    batches : describe the input, see `acoustic_kit.training.Batches`
    n_frames : of the feature of a clip, with its padding

    Raises
    ------
    UsageError
        The input depends on more than the clip, or is cut at a place that torch cannot compute.

    """

    def __init__(self, batches: Batches, n_frames: int) -> None:
        super().__init__()
        length = batches.frames[-1] if isinstance(batches.frames, range) else batches.frames
        if batches.halves:
            raise UsageError("its inputs are of several lengths (halves), and those of a graph have one")
        self.frames = length or n_frames
        self.pad, self.is_fixed = batches.pad, length is not None
        self.at_start = not self.is_fixed or batches.short == "start" or batches.pad == "wrap"
        self.window = batches.window if isinstance(batches.frames, int) else "random"
        if self.window == "loudest" and batches.power not in (mean_square, decibel_power):
            raise UsageError("it cuts clips at their loudest part, by a power of its own")
        self.in_decibels = batches.power is decibel_power
        self.most = batches.crops or (1 if batches.window == "loudest" else MOST)
        is_long = self.is_fixed and n_frames > LONG * self.frames
        self.n = min(self.most, math.ceil(n_frames / self.frames)) if is_long else 1
        self.channel_axis = batches.channel_axis

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the crops of each clip, adjacent, and their weights in its mean.

        Parameters
        ----------
        values : float32 (clips, …, frames), arbitrary after the end of shorter clips
        lengths : int64 (clips,), frames of each clip

        Returns
        -------
        float32 (clips · n, …, self.frames), with the channel axis if there is one, and float32 (clips, n), which sum to
        one in each row

        """
        first, count = self._starts(values, lengths)
        place = first[:, :, None] + torch.arange(self.frames)  # (clips, n, frames)
        x = self._taken(values, place, lengths[:, None, None])
        weights = (torch.arange(self.n) < count[:, None]) / count[:, None]
        x = x.unsqueeze(1) if self.channel_axis else x
        return x, weights.float()

    def _starts(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first frame of each crop, int64 (clips, n), and how many crops each clip has: int64 (clips,)."""
        slack = lengths - self.frames
        first = torch.where(slack < 0, -((1 - slack) // 2), (slack + 1) // 2)
        if self.at_start:
            first = first.clamp(min=0)
        if self.window != "random":
            chosen = self._loudest(values, lengths) if self.window == "loudest" else torch.zeros_like(first)
            first = torch.where(slack > 0, chosen, first)
        count = torch.ones_like(lengths)
        if self.n == 1:
            return first[:, None], count
        is_long = lengths > LONG * self.frames
        count = torch.where(is_long, ((lengths + self.frames - 1) // self.frames).clamp(max=self.most), count)
        steps = slack.double() / (count - 1).clamp(min=1)  # as numpy.linspace computes them
        spread = torch.round(torch.arange(self.n) * steps[:, None]).long()
        spread = torch.where(torch.arange(self.n) < count[:, None], spread, 0)
        return torch.where(is_long[:, None], spread, first[:, None]), count

    def _loudest(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Return the first frame of the crop with the highest mean power: int64 (clips,)."""
        amplitude = 10 ** (values.double() / 20) if self.in_decibels else values.double()
        power = amplitude.square().flatten(1, -2).mean(dim=1) if values.ndim > 2 else amplitude.square()
        total = torch.nn.functional.pad(power.cumsum(dim=1), (1, 0))
        if total.shape[1] <= self.frames:
            return torch.zeros_like(lengths)
        gain = total[:, self.frames :] - total[:, : -self.frames]
        ends_inside = torch.arange(gain.shape[1]) <= (lengths - self.frames)[:, None]
        return torch.where(ends_inside, gain, -torch.inf).argmax(dim=1)

    def _taken(self, values: Tensor, place: Tensor, lengths: Tensor) -> Tensor:
        """Return frames of clips, (clips · n, …, frames), with the padding where `place` is outside of the clip."""
        if self.pad == "wrap":
            source = place % lengths
        elif self.pad == "symmetric":
            folded = place % (2 * lengths)
            source = torch.where(folded < lengths, folded, 2 * lengths - 1 - folded)
        else:
            source = place.clamp(min=0).minimum(lengths - 1)
        x = torch.stack([_at(values, source[:, crop]) for crop in range(self.n)], dim=1)
        if not isinstance(self.pad, str):
            inside = (place >= 0) & (place < lengths)
            axes = (slice(None), slice(None), *[None] * (values.ndim - 2))
            x = torch.where(inside[axes], x, float(self.pad))
        return x.flatten(0, 1)


def _at(values: Tensor, source: Tensor) -> Tensor:
    """Return frames `source`, int64 (clips, n), of values (clips, …, frames): (clips, …, n)."""
    shape = (values.shape[0], *[1] * (values.ndim - 2), source.shape[1])
    return values.gather(-1, source.reshape(shape).expand(*values.shape[:-1], -1))
