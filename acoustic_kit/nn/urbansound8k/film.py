"""A feature map, scaled and shifted by a condition.

E. Perez et al., FiLM: Visual Reasoning with a General Conditioning Layer, AAAI 2018.
"""

import torch
from torch import Tensor, nn


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
