"""Batch normalization over a batch that is split between processes."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributed.nn import functional as distributed
from torch.nn.modules.batchnorm import _BatchNorm


def share_batch_norm(net: nn.Module, device: torch.device) -> nn.Module:
    """Return the network with batch normalization over the clips of all processes; names of its tensors stay.

    On GPUs the layers are torch's own, which do not accept CPU tensors.
    """
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]
        return converted
    for layer in net.modules():
        if isinstance(layer, _BatchNorm):
            layer.__class__ = SharedBatchNorm
    return net


class SharedBatchNorm(_BatchNorm):
    """`nn.SyncBatchNorm` for CPUs: (clips, channels, …) → same shape; numbers of clips may differ by process."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize by mean and variance over the clips of all processes, which update the running statistics."""
        if not self.training:
            return super().forward(x)
        axes, shape = [0, *range(2, x.ndim)], [1, -1, *[1] * (x.ndim - 2)]
        values = x.float()  # under autocast, as torch's own layer does
        n_own = torch.tensor([x.numel() // x.shape[1]])
        sums = _sum(torch.cat([values.sum(axes, dtype=torch.float64), n_own]))
        mean, n = sums[:-1] / sums[-1], sums[-1].detach()
        if n < 2:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.size()}")
        centered = values - mean.float().reshape(shape)
        variance = _sum(centered.square().sum(axes, dtype=torch.float64)) / n
        if self.track_running_stats:
            self._follow(mean.detach().float(), (variance.detach() * n / (n - 1)).float())
        normalized = centered * (variance + self.eps).rsqrt().float().reshape(shape)
        if self.affine:
            normalized = normalized * self.weight.reshape(shape) + self.bias.reshape(shape)
        return normalized.to(x.dtype)

    def _follow(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked += 1
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)

    def _check_input_dim(self, _: torch.Tensor) -> None:
        """Accept any number of axes."""


def _sum(x: torch.Tensor) -> torch.Tensor:
    """Return the sum over all processes, with its gradient."""
    total: torch.Tensor = distributed.all_reduce(x)  # type: ignore[no-untyped-call]
    return total
