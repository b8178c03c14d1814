"""Pooling over time by attention, and a classifier on top of it.

K. Okabe, T. Koshinaka, K. Shinoda, Attentive statistics pooling for deep speaker embedding, Interspeech 2018; here with
a separate attention for each channel, as in ECAPA-TDNN (Desplanques et al. 2020).
"""

import torch
from torch import Tensor, nn


class AttentiveStatisticsPooling(nn.Module):
    """Mean and standard deviation over time, weighted by an attention per channel.

    Parameters
    ----------
    width : channels of the map
    hidden : width of the attention's hidden layer

    """

    def __init__(self, width: int, hidden: int = 128) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.Conv1d(width, hidden, 1), nn.Tanh(), nn.Conv1d(hidden, width, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """Float (clips, width, bands, frames), of which bands are averaged → (clips, 2 · width): means, deviations."""
        x = maps.mean(dim=2)
        weights = self.attention(x).softmax(dim=2)
        mean = (weights * x).sum(dim=2)
        variance = (weights * (x - mean[:, :, None]).square()).sum(dim=2)
        return torch.cat([mean, (variance + 1e-6).sqrt()], dim=1)


class AttentiveHead(nn.Module):
    """Attentive statistics pooling, batch normalization, dropout, one linear layer.

    Parameters
    ----------
    width : channels of the map
    condition_width : of a vector that the linear layer takes beside the pooled map; 0 for none
    dropout : fraction of the pooled map that is dropped; not of the vector

    """

    def __init__(self, width: int, n_classes: int, *, condition_width: int = 0, dropout: float = 0.3) -> None:
        super().__init__()
        self.pooling = AttentiveStatisticsPooling(width)
        self.norm = nn.BatchNorm1d(2 * width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * width + condition_width, n_classes)

    def forward(self, maps: Tensor, condition: Tensor | None = None) -> Tensor:
        """Float (clips, width, bands, frames), and (clips, condition_width) → logits (clips, classes)."""
        pooled = self.dropout(self.norm(self.pooling(maps)))
        logits: Tensor = self.output(pooled if condition is None else torch.cat([pooled, condition], dim=1))
        return logits
