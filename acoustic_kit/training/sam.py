"""Sharpness-aware minimization: an optimizer step with the gradient at a point uphill (Foret et al. 2021)."""

from __future__ import annotations

import torch
from torch import nn


class Sam:
    """Two-pass step around any optimizer, without a closure.

        loss(net(x)).backward();  sam.ascend()     # weights + rho · g / (‖g‖ + 1e-12)
        loss(net(x)).backward();  sam.descend()    # weights as before, then the optimizer's own step

    Gradients may be clipped before either call. The norm is that of all parameters' gradients together.

    Parameters
    ----------
    optimizer : makes the step, on its parameters
    rho : radius of the neighborhood, positive

    """

    def __init__(self, optimizer: torch.optim.Optimizer, rho: float = 0.05) -> None:
        if rho <= 0:
            raise ValueError(f"rho is {rho}; it must be positive")
        self.optimizer, self.rho = optimizer, rho
        self._moved: list[tuple[nn.Parameter, torch.Tensor]] = []

    @torch.no_grad()
    def ascend(self, *, enabled: bool = True) -> None:
        """Move the weights uphill by `rho`, if enabled, and clear the gradients.

        Disable it for gradients that are not finite: the step is then one with the gradient at the weights themselves.
        """
        if enabled:
            self._move_uphill()
        self.optimizer.zero_grad()

    def _move_uphill(self) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in parameters]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        scale = self.rho / (norm + 1e-12)  # a tensor on the device: no synchronization
        self._moved = [(p, p.clone()) for p in parameters]
        torch._foreach_add_(parameters, torch._foreach_mul(gradients, scale))

    @torch.no_grad()
    def descend(self) -> None:
        """Restore the weights, step with the gradients of the point uphill, and clear them."""
        for parameter, weights in self._moved:
            parameter.copy_(weights)
        self._moved = []
        self.optimizer.step()
        self.optimizer.zero_grad()
