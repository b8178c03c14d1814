"""Per-channel energy normalization with trained gain, bias and power, without a Python loop over time.

Y. Wang et al., Trainable frontend for robust and far-field keyword spotting, ICASSP 2017. The three trained numbers,
their bounds and start values are those of UrbanSound8K's winner (Jaasssoooonnnnn/Urbansound8K_Competition).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


class TrainablePcen(nn.Module):
    r"""PCEN whose gain, bias and power are three parameters, shared by all bands.

        M[0] = E[0],  M[t] = (1 - b) M[t-1] + b E[t]
        out  = (E / ((eps + M)^gain + extra_eps) + bias)^power - bias^power

    The gain is clamped to 0.01 … 0.99, the power to 0.01 … 1 (beyond these bounds their gradient is zero), and the bias
    is \|bias\| + 1e-6.

    Parameters
    ----------
    b : weight of the newest frame in the smoother M, above 0 and at most 1; for a time constant of T seconds
        UrbanSound8K's winner took hop_length / (sample_rate · T)
    gain, bias, power : initial values
    eps : positive
    extra_eps : added to the divisor; relevant in silence

    """

    gain: nn.Parameter  # float32 scalar
    bias: nn.Parameter  # float32 scalar
    power: nn.Parameter  # float32 scalar
    b: Tensor  # float32 scalar, not trained

    def __init__(
        self,
        b: float,
        *,
        gain: float = 0.98,
        bias: float = 2.0,
        power: float = 0.5,
        eps: float = 1e-6,
        extra_eps: float = 0.0,
    ) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.bias = nn.Parameter(torch.tensor(bias))
        self.power = nn.Parameter(torch.tensor(power))
        self.register_buffer("b", torch.tensor(b))
        self.eps = eps
        self.extra_eps = extra_eps

    def forward(self, energy: Tensor) -> Tensor:
        """Normalize a mel spectrogram.

        Parameters
        ----------
        energy : float (..., bands, frames), at least 0, not in decibels; half precision is computed in float32

        Returns
        -------
        The same shape; float32, or float64 if ``energy`` is

        """
        if energy.dtype in {torch.float16, torch.bfloat16}:
            energy = energy.float()
        gain, power = self.gain.clamp(0.01, 0.99), self.power.clamp(0.01, 1.0)
        return pcen(energy, gain, self.bias.abs() + 1e-6, power, self.b, self.eps, self.extra_eps)

    def extra_repr(self) -> str:
        """Return the parameters for ``repr``."""
        return f"b={self.b.item():.4g}, eps={self.eps}, extra_eps={self.extra_eps}"


def pcen(
    energy: Tensor, gain: Tensor, bias: Tensor, power: Tensor, b: Tensor, eps: float = 1e-6, extra_eps: float = 0.0
) -> Tensor:
    """Compute PCEN by the formula of ``TrainablePcen``, differentiable in all but ``b``.

    Kernels compute float32: numba's on the CPU, Triton's on a GPU. Torch computes the rest: float64, compiled and
    exported code, second derivatives, and GPUs for which Triton cannot make kernels (with a warning).

    Parameters
    ----------
    energy : float (..., frames), at least 0
    gain, bias, power, b : scalars, on the same device; bias positive

    Returns
    -------
    The shape and dtype of ``energy``

    """
    if (kernels := _kernels_for(energy)) is None:
        return _torch_pcen(energy, gain, bias, power, b, eps, extra_eps)
    apply: Callable[..., Tensor] = _KernelPcen.apply
    rows = energy.reshape(-1, energy.shape[-1]).contiguous()
    return apply(kernels, rows, gain, bias, power, b, eps, extra_eps, torch.is_grad_enabled()).view(energy.shape)


def _kernels_for(energy: Tensor) -> ModuleType | None:
    """Return the module whose `forward` and `backward` compute it; None if torch does."""
    if energy.dtype != torch.float32 or energy.numel() == 0 or torch.compiler.is_compiling():
        return None
    if energy.device.type == "cpu":
        from acoustic_kit.nn import pcen_cpu

        return pcen_cpu
    if energy.device.type == "cuda" and _triton_works(energy.device):
        from acoustic_kit.nn import pcen_triton

        return pcen_triton
    return None


@cache
def _triton_works(device: torch.device) -> bool:
    """Return whether Triton is installed and can make kernels for the device; warn if not."""
    try:
        from acoustic_kit.nn import pcen_triton

        one = torch.ones((), device=device)
        pcen_triton.forward(torch.ones(1, 1, device=device), (one, one, one, one), 1e-6, 0.0, keep=False)
    except Exception as error:  # many kinds: no Triton, no C compiler, an old GPU
        reason = (str(error) or repr(error)).splitlines()[0]
        warnings.warn(f"PCEN is computed without its Triton kernel, which is slower: {reason}", stacklevel=2)
        return False
    return True


def _torch_pcen(
    energy: Tensor, gain: Tensor, bias: Tensor, power: Tensor, b: Tensor, eps: float, extra_eps: float
) -> Tensor:
    divisor = (eps + _smooth(energy, b)) ** gain + extra_eps
    return (energy / divisor + bias) ** power - bias**power


def _smooth(energy: Tensor, b: Tensor) -> Tensor:
    """Return M[t] = (1 - b) M[t-1] + b E[t], M[0] = E[0], of (..., frames), in about log2(frames) steps.

    After each step a frame holds the decayed sum of twice as many frames. It uses no matrix product, which autocast or
    TF32 would round.
    """
    keep = 1 - b.to(energy.dtype)
    sums = torch.cat([energy[..., :1], b * energy[..., 1:]], dim=-1)
    reach = 1
    while reach < energy.shape[-1]:
        sums = sums + keep**reach * pad(sums[..., :-reach], (reach, 0))
        reach *= 2
    return sums


class _KernelPcen(torch.autograd.Function):
    """PCEN by kernels, of contiguous float32 (rows, frames)."""

    @staticmethod
    def forward(
        ctx: Any,
        kernels: ModuleType,
        energy: Tensor,
        gain: Tensor,
        bias: Tensor,
        power: Tensor,
        b: Tensor,
        eps: float,
        extra_eps: float,
        differentiable: bool,
    ) -> Tensor:
        differentiable = differentiable and any(ctx.needs_input_grad)
        out: Tensor
        out, saved = kernels.forward(energy, (gain, bias, power, b), eps, extra_eps, differentiable)
        ctx.kernels, ctx.eps = kernels, (eps, extra_eps)
        ctx.save_for_backward(energy, gain, bias, power, b, saved)
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        energy, gain, bias, power, b, saved = ctx.saved_tensors
        if torch.is_grad_enabled():  # this gradient will itself be differentiated
            out = _torch_pcen(energy, gain, bias, power, b, *ctx.eps)
            return None, *_gradient(out, (energy, gain, bias, power), grad_out), None, None, None, None
        grad_energy, grad_scalars = ctx.kernels.backward(
            grad_out.contiguous(), energy, (gain, bias, power, b), *ctx.eps, saved
        )
        return None, grad_energy, *grad_scalars, None, None, None, None


def _gradient(out: Tensor, inputs: tuple[Tensor, ...], grad_out: Tensor) -> Iterator[Tensor | None]:
    """Return the gradient with respect to each input that requires one, with a graph of its own."""
    wanted = [x for x in inputs if x.requires_grad]
    found = iter(torch.autograd.grad(out, wanted, grad_out, create_graph=True))
    return (next(found) if x.requires_grad else None for x in inputs)
