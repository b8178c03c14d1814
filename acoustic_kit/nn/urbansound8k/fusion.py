"""A network that takes the sound and a known category of the clip."""

import torch
from torch import Tensor, nn

from acoustic_kit.nn.urbansound8k.attentive_pooling import AttentiveHead
from acoustic_kit.nn.urbansound8k.mixed_embedding import MixedEmbedding


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
