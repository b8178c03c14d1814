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
    """Average of a network's weights and buffers: exponential over steps, or stochastic weight averaging over epochs.

    SWA (Izmailov et al. 2018) is the mean of the weights at the end of an epoch and of all later ones; before, it is
    the network. The exponential moving average has a warm-up: in step n the decay is min(decay, n / (9 + n)), as in
    TensorFlow's ExponentialMovingAverage: the average is over about the last tenth of the steps until that is
    1 / (1 - decay) steps. With a constant decay the average of a short training would consist mostly of the initial
    weights.

    Parameters
    ----------
    net : the network; its copy `module` holds the average
    decay : of the exponential moving average, from 0 to 1
    swa : first epoch of stochastic weight averaging, from 1, instead of `decay`

    """

    def __init__(self, net: nn.Module, decay: float | None = None, *, swa: int | None = None) -> None:
        if (decay is None) == (swa is None):
            raise ValueError("weights are averaged by a decay or from an epoch on")
        super().__init__(net, multi_avg_fn=self._follow, use_buffers=True)
        self.decay, self.swa = decay, swa

    def after_step(self, net: nn.Module) -> None:
        """Update the moving average."""
        if self.swa is None:
            self.update_parameters(net)

    def after_epoch(self, net: nn.Module, epoch: int) -> None:
        """Update the mean of stochastic weight averaging at the end of an epoch, from 1."""
        if self.swa is not None:
            if epoch <= self.swa:
                self.n_averaged.zero_()  # the next update copies the network
            self.update_parameters(net)

    def _follow(self, averages: Tensors, values: Tensors, _: torch.Tensor | int) -> None:
        if not averages[0].is_floating_point():
            torch._foreach_copy_(averages, values)
            return
        n = int(self.n_averaged) + 1  # on the CPU: no synchronization with a GPU
        share = 1 / n if self.decay is None else 1 - min(self.decay, n / (9 + n))
        torch._foreach_lerp_(averages, values, share)


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
