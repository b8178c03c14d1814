"""Channel attention, then spatial attention, of a feature map.

S. Woo, J. Park, J.-Y. Lee, I. S. Kweon, CBAM: Convolutional Block Attention Module, ECCV 2018.
"""

import torch
from torch import Tensor, nn


class Cbam(nn.Module):
    """Scale each channel, then each position, by a number between 0 and 1 that is computed from the map itself.

    Channels: two 1×1 convolutions in series take each channel's mean, and then its maximum; a sigmoid is applied to
    the sum of both outputs. Positions: a 7×7 convolution takes the mean and the maximum over channels.

    Parameters
    ----------
    width : channels of the map
    reduction : the hidden layer has ``width // reduction`` channels, but at least 4

    """

    def __init__(self, width: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(width // reduction, 4)
        self.channels = nn.Sequential(
            nn.Conv2d(width, hidden, 1, bias=False), nn.ReLU(), nn.Conv2d(hidden, width, 1, bias=False)
        )
        self.places = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Float (clips, width, bands, frames) → the same shape."""
        mean, largest = maps.mean(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
        maps = maps * torch.sigmoid(self.channels(mean) + self.channels(largest))
        both = torch.cat([maps.mean(dim=1, keepdim=True), maps.amax(dim=1, keepdim=True)], dim=1)
        return maps * torch.sigmoid(self.places(both))
