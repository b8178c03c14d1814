"""Loss scaling: in float16, gradients are those of a larger loss, so that small ones are not rounded to 0."""

from __future__ import annotations

import math

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from torch import nn
from torch.amp.grad_scaler import GradScaler

from acoustic_kit.errors import AkitError


class LossScale:
    """Loss scale of one training; without effect unless its precision is float16.

    Fabric's backward pass multiplies the loss by it. The gradients of a whole batch are divided by it before they are
    clipped, and the optimizer's step is left out if they are not finite. The scale is then halved, and it is doubled
    after 2,000 finite passes.

    Parameters
    ----------
    fabric : of the training; it is given a new scale, so that each training starts alike

    """

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._scaler: GradScaler | None = None
        precision = fabric.strategy.precision
        if isinstance(precision, MixedPrecision) and precision.scaler is not None:
            self._scaler = precision.scaler = GradScaler(fabric.device.type)

    def unscale_and_clip(self, net: nn.Module, optimizer: torch.optim.Optimizer, max_norm: float | None) -> None:
        """Divide the gradients of a whole batch by the scale, and clip their norm if there is a largest one.

        `net` and `optimizer` are Fabric's. To be called once per pass.
        """
        if max_norm is not None:  # a check of the norm would synchronize; the loss of the epoch is checked
            self._fabric.clip_gradients(net, optimizer, max_norm=max_norm, error_if_nonfinite=False)
        elif self._scaler is not None:
            self._scaler.unscale_(optimizer.optimizer)  # type: ignore[attr-defined]  # of Fabric's

    def end_pass(self) -> bool:
        """Adapt the scale after a pass without a step, SAM's first; return whether its gradients are finite."""
        if self._scaler is None:
            return True
        before = self._scaler.get_scale()
        self._scaler.update()
        return bool(self._scaler.get_scale() >= before)

    def require_finite(self, loss: float, stage: str) -> None:
        """Raise AkitError if a loss is not finite, or gradients overflowed until the scale was below 1."""
        if not math.isfinite(loss) or (self._scaler is not None and self._scaler.get_scale() < 1):
            also = "" if self._scaler is None else ", or use --precision 32, as float16 may overflow"
            raise AkitError(
                f"The training loss of stage {stage!r}, or its gradient, is not finite. Lower the learning rate{also}."
            )

    def state_dict(self) -> dict[str, float]:
        """Return the scale and its counter; empty without a scale."""
        return {} if self._scaler is None else self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore what `state_dict` returned, also of a training of another precision, which has none."""
        if self._scaler is not None and state:
            self._scaler.load_state_dict(state)
