"""TensorFlow's padding "same", for networks that were published in Keras."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's padding "same": n bands or frames become ⌈n / stride⌉.

    Zeros are added on both sides; if their number is odd, the end has one more. Torch's own ``padding`` is the same on
    both sides, which shifts the image by half the difference. At stride 1 the two are equal.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Float (clips, in_channels, bands, frames) → (clips, out_channels, ⌈bands / stride⌉, ⌈frames / stride⌉)."""
        around: list[int] = []  # of the last axis first, as `pad` takes it
        for axis in (1, 0):
            stride, n = self.stride[axis], x.shape[2 + axis]
            reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
            total = max(0, (math.ceil(n / stride) - 1) * stride + reach - n)
            around += [total // 2, total - total // 2]
        padded = functional.pad(x, around)
        return functional.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def use_same_padding(net: nn.Module) -> None:
    """Replace all strided convolutions of a network by ``SameConv2d`` with the same weights."""
    for parent in list(net.modules()):
        for name, conv in list(parent.named_children()):
            if isinstance(conv, nn.Conv2d) and max(conv.stride) > 1:
                same = SameConv2d(
                    conv.in_channels,
                    conv.out_channels,
                    conv.kernel_size,  # type: ignore[arg-type]
                    conv.stride,  # type: ignore[arg-type]
                    dilation=conv.dilation,  # type: ignore[arg-type]
                    groups=conv.groups,
                    device=torch.device("meta"),  # draws no weights
                )
                same.weight, same.bias = conv.weight, conv.bias
                setattr(parent, name, same)
