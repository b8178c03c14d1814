"""Layers and a network that take a known category of the clip beside the sound.

FiLM: E. Perez et al., FiLM: Visual Reasoning with a General Conditioning Layer, AAAI 2018.
"""

import torch
from torch import Tensor, nn

from acoustic_kit.nn.urbansound8k.attentive_pooling import AttentiveHead


class Film(nn.Module):
    """Scale and shift each channel by numbers that a linear layer computes from a vector; initially by 1 and 0.

    Parameters
    ----------
    condition_width : of the vector
    width : channels of the map

    """

    def __init__(self, condition_width: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(condition_width, 2 * width)
        nn.init.zeros_(self.linear.weight)
        with torch.no_grad():
            self.linear.bias.copy_(torch.cat([torch.ones(width), torch.zeros(width)]))

    def forward(self, maps: Tensor, condition: Tensor) -> Tensor:
        """Float (clips, width, bands, frames) and (clips, condition_width) → the map's shape."""
        scale, shift = self.linear(condition)[:, :, None, None].chunk(2, dim=1)
        scaled: Tensor = maps * scale + shift
        return scaled


class MixedEmbedding(nn.Module):
    """A table with one vector a category, weighted by shares: mixing the shares mixes the vectors, and trains both.

    Parameters
    ----------
    n : categories
    width : of the vectors, which start from a standard normal distribution

    """

    def __init__(self, n: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(n, width))

    def forward(self, shares: Tensor) -> Tensor:
        """Float (clips, n), one-hot or mixed → (clips, width)."""
        return shares @ self.table


class EmbeddingFusion(nn.Module):
    """Front end, backbone and an attentive head that takes the embedding of a category beside the pooled map.

    Parameters
    ----------
    front_end, backbone : waves → spectrograms → maps (clips, width, bands, frames)
    width : channels of the maps
    n_categories, embedding_width : of the embedding
    dropout : as for ``AttentiveHead``

    """

    def __init__(
        self,
        front_end: nn.Module,
        backbone: nn.Module,
        width: int,
        n_classes: int,
        *,
        n_categories: int,
        embedding_width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.front_end, self.backbone = front_end, backbone
        self.embedding = MixedEmbedding(n_categories, embedding_width)
        self.head = AttentiveHead(width, n_classes, condition_width=embedding_width, dropout=dropout)

    def forward(self, waves: Tensor, shares: Tensor | None = None) -> Tensor:
        """Return logits (clips, classes) of waves (clips, 1, n) and shares of the categories (clips, n_categories).

        Without shares, the embedding is zeros.
        """
        maps = self.backbone(self.front_end(waves))
        zeros = torch.zeros(len(waves), self.embedding.table.shape[1], device=waves.device)
        logits: Tensor = self.head(maps, zeros if shares is None else self.embedding(shares))
        return logits
