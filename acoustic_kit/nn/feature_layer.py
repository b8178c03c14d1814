"""A feature as a layer: the layer of its source, then its own, each with the lengths of the clips."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FeatureLayer(nn.Module):
    """Compute a feature from decoded waves of several lengths.

    Parameters
    ----------
    source : layer of the feature's source, which takes and returns values and lengths
    layer : takes the values and the lengths that `source` returns, and returns values (clips, …, frames)
    hop_length : of frames that are centered in the wave; None if the last axis of the result is the same for all clips

    """

    def __init__(self, source: nn.Module, layer: nn.Module, hop_length: int | None = None) -> None:
        super().__init__()
        self.source, self.layer, self.hop_length = source, layer, hop_length

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the feature of each clip.

        Parameters
        ----------
        waves : float32 (clips, n), full scale ±1, zeros after the end of the shorter ones
        lengths : int64 (clips,), samples of each, 1 to n

        Returns
        -------
        float32 (clips, …, frames), and int64 (clips,): how many of the frames are the clip's own; the others are
        arbitrary

        """
        waves, lengths = self.source(waves, lengths)
        values = self.layer(waves, lengths)
        if self.hop_length is None:
            return values, torch.full_like(lengths, values.shape[-1])
        return values, 1 + lengths // self.hop_length
