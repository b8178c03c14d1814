"""A trained embedding of categories, for clips that may be mixtures of two."""

import torch
from torch import Tensor, nn


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
