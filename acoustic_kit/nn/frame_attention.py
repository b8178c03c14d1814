"""Head of sound event detection: scores of each class in each frame, and their mean weighted by attention.

Source: ``Cnn14_DecisionLevelAtt`` of Q. Kong et al., PANNs: Large-scale pretrained audio neural networks for audio
pattern recognition, TASLP 2020 (github.com/qiuqiangkong/audioset_tagging_cnn), in the form that winners of BirdCLEF
train: attention behind tanh, and a weighted mean of logits instead of probabilities (V. Sydorskyi's 1st place of 2023,
github.com/VSydorskyy/BirdCLEF_2023_1st_place).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

ClipOutput = Literal["attention", "max"]


class FrameOutput(NamedTuple):
    """Output for each frame of some clips."""

    logits: Tensor  # float (clips, frames, classes)
    attention: Tensor  # float (clips, frames, classes), before the softmax over frames

    def pooled(self, how: ClipOutput) -> Tensor:
        """Return logits of the clips, (clips, classes): means weighted by ``attention``, or the ``max`` over frames."""
        if how == "max":
            return self.logits.amax(dim=1)
        return (self.attention.softmax(dim=1) * self.logits).sum(dim=1)


class FrameNet(nn.Module):
    """Base class of networks with an output for each frame.

    Parameters
    ----------
    clip_output : how the frames of a clip are pooled in prediction; see ``FrameOutput.pooled``

    """

    def __init__(self, clip_output: ClipOutput) -> None:
        super().__init__()
        self.clip_output = clip_output

    def frame_output(self, x: Tensor) -> FrameOutput:
        """Return the outputs for the frames of inputs (clips, …, n)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of the clips, (clips, classes); in training (clips, 2 · classes).

        These are means weighted by attention, and maxima over frames; see ``with_frame_loss``.
        """
        output = self.frame_output(x)
        if self.training:
            return torch.cat([output.pooled("attention"), output.pooled("max")], dim=1)
        return output.pooled(self.clip_output)


class BandPooling(nn.Module):
    """Mean over bands, or their generalized mean (GeM, Radenović et al. 2018) with a trained power.

    Parameters
    ----------
    kind : ``mean``; or ``gem``, of values clamped to 1e-6 and more, with a power that starts at 3

    """

    def __init__(self, kind: Literal["mean", "gem"]) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(3.0)) if kind == "gem" else None

    def forward(self, maps: Tensor) -> Tensor:
        """Float (clips, width, bands, frames) → (clips, width, frames)."""
        if self.power is None:
            return maps.mean(dim=2)
        power = self.power.clamp(min=1.0)
        generalized: Tensor = maps.float().clamp(min=1e-6).pow(power).mean(dim=2).pow(1 / power)
        return generalized


class FrameAttentionHead(nn.Module):
    """Neighboring frames smoothed, a hidden layer, and from it logits and attention of each class in each frame.

    Parameters
    ----------
    width : channels of the pooled map
    hidden : width of the hidden layer
    dropout : fraction dropped before and after the hidden layer

    """

    def __init__(self, width: int, n_classes: int, *, hidden: int = 512, dropout: float = 0.5) -> None:
        super().__init__()
        self.hidden, self.dropout = nn.Linear(width, hidden), nn.Dropout(dropout)
        self.attention, self.output = nn.Linear(hidden, n_classes), nn.Linear(hidden, n_classes)
        for layer in (self.hidden, self.attention, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> FrameOutput:
        """Float (clips, width, frames) → the output of as many frames."""
        smooth = functional.max_pool1d(x, 3, 1, 1) + functional.avg_pool1d(x, 3, 1, 1)
        found = self.dropout(functional.relu(self.hidden(self.dropout(smooth).transpose(1, 2))))
        return FrameOutput(self.output(found), torch.tanh(self.attention(found)))
