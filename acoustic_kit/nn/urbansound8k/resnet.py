"""Torchvision's residual networks as backbones for spectrograms.

K. He et al., Deep residual learning for image recognition, CVPR 2016. The deep stem is that of T. He et al., Bag of
tricks for image classification with convolutional neural networks, CVPR 2019, with its stride in the third convolution.
CBAM: S. Woo, J. Park, J.-Y. Lee, I. S. Kweon, CBAM: Convolutional Block Attention Module, ECCV 2018.
"""

from typing import Any

import torch
import torchvision
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


def resnet34(n_channels: int = 1, n_classes: int = 1000) -> Any:
    """Return torchvision's ResNet-34 for images of ``n_channels``, with random weights.

    The first convolution is initialized as torch does by default, the others as in torchvision's ResNet.
    """
    net = torchvision.models.resnet34(num_classes=n_classes)
    net.conv1 = nn.Conv2d(n_channels, 64, 7, stride=2, padding=3, bias=False)
    return net


class CbamResnet34(nn.Module):
    """ResNet-34 without its classifier, with a CBAM after each of the four stages.

    Parameters
    ----------
    n_channels : of the spectrogram
    max_pool : halve the map after the first convolution, as in torchvision's ResNet

    """

    width = 512  # channels of the output

    def __init__(self, n_channels: int = 1, *, max_pool: bool = True) -> None:
        super().__init__()
        net = resnet34(n_channels)
        self.conv1, self.bn1, self.relu = net.conv1, net.bn1, net.relu
        self.maxpool = net.maxpool if max_pool else nn.Identity()
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        self.cbam1, self.cbam2, self.cbam3, self.cbam4 = (Cbam(width) for width in (64, 128, 256, 512))

    def forward(self, x: Tensor) -> Tensor:
        """Float (clips, n_channels, bands, frames) → (clips, 512, bands / 32, frames / 32), / 16 without max-pool."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.cbam1(self.layer1(x))
        x = self.cbam2(self.layer2(x))
        x = self.cbam3(self.layer3(x))
        x = self.cbam4(self.layer4(x))
        return x


class DeepStemResnet(nn.Module):
    """The four stages of a ResNet after a stem of three 3×3 convolutions, and one CBAM after them.

    Parameters
    ----------
    net : one of torchvision's ResNets, whose stages are used

    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.width = net.fc.in_features  # channels of the output
        self.stem = nn.Sequential(*_stem_layer(1, 32), *_stem_layer(32, 64), *_stem_layer(64, 64, stride=2))
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        self.cbam = Cbam(self.width)

    def forward(self, x: Tensor) -> Tensor:
        """Float (clips, 1, bands, frames) → (clips, width, bands / 16, frames / 16)."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        x = self.cbam(x)
        return x


def _stem_layer(n_in: int, n_out: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)
