"""Moving average of weights over training steps, and batch statistics of the averaged weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]
Inputs = tuple[torch.Tensor, ...]  # of a network: x and, if there is one, the side input


class WeightAverage(AveragedModel):
    """Exponential moving average of a network's weights and buffers.

    In step n the decay is min(decay, n / (9 + n)), as TensorFlow's ExponentialMovingAverage warms up: the average is
    over about the last tenth of the steps until that is 1 / (1 - decay) steps. With a constant decay the average of a
    short training would consist mostly of the initial weights.

    Parameters
    ----------
    net : the network; its copy `module` holds the average
    decay : from 0 to 1

    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        super().__init__(net, multi_avg_fn=self._follow, use_buffers=True)
        self.decay = decay

    def _follow(self, averages: Tensors, values: Tensors, _: torch.Tensor | int) -> None:
        if not averages[0].is_floating_point():
            torch._foreach_copy_(averages, values)
            return
        n = int(self.n_averaged) + 1  # on the CPU: no synchronization with a GPU
        torch._foreach_lerp_(averages, values, 1 - min(self.decay, n / (9 + n)))


@torch.no_grad()
def recompute_statistics(net: nn.Module, batches: Iterable[Inputs]) -> None:
    """Set the running statistics of batch normalization to the means over batches, without changing weights.

    The statistics of averaged weights are not the average of the statistics. Layers that stay in evaluation mode keep
    theirs; without others, no batch is read.
    """
    was_training = net.training
    net.train()
    layers = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.track_running_stats and m.training]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean
    try:
        if not layers:
            return
        for inputs in batches:
            net(*inputs)
    finally:
        net.train(was_training)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
