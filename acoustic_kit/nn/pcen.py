"""Per-channel energy normalisation with trained gain, bias and power, without a Python loop over time.

Y. Wang et al., Trainable frontend for robust and far-field keyword spotting, ICASSP 2017. The three trained numbers,
their bounds and start values are those of UrbanSound8K's winner (Jaasssoooonnnnn/Urbansound8K_Competition).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

CELLS_PER_THREAD = 100_000  # below this a thread costs more than it saves

T = TypeVar("T")


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
    gain, bias, power : where training starts
    eps : positive
    extra_eps : added to the divisor; matters in silence

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
        """Normalise a mel spectrogram.

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
        """What ``repr`` shows."""
        return f"b={self.b.item():.4g}, eps={self.eps}, extra_eps={self.extra_eps}"


def pcen(
    energy: Tensor, gain: Tensor, bias: Tensor, power: Tensor, b: Tensor, eps: float = 1e-6, extra_eps: float = 0.0
) -> Tensor:
    """PCEN by the formula of ``TrainablePcen``, differentiable in all but ``b``.

    float32 on the CPU goes through the numba kernels, all else through torch.

    Parameters
    ----------
    energy : float (..., frames), at least 0
    gain, bias, power, b : scalars; bias positive

    """
    if energy.device.type == "cpu" and energy.dtype == torch.float32 and not torch.compiler.is_compiling():
        apply: Callable[..., Tensor] = _KernelPcen.apply
        return apply(energy.contiguous(), gain, bias, power, b, eps, extra_eps, torch.is_grad_enabled())
    return _torch_pcen(energy, gain, bias, power, b, eps, extra_eps)


def _torch_pcen(
    energy: Tensor, gain: Tensor, bias: Tensor, power: Tensor, b: Tensor, eps: float, extra_eps: float
) -> Tensor:
    divisor = (eps + _smooth(energy, b)) ** gain + extra_eps
    return (energy / divisor + bias) ** power - bias**power


def _smooth(energy: Tensor, b: Tensor) -> Tensor:
    """M[t] = (1 - b) M[t-1] + b E[t], M[0] = E[0], of (..., frames), in about log2(frames) steps.

    After each step a frame holds the decayed sum of twice as many frames. There is no matrix product in it, which
    autocast or TF32 would round.
    """
    keep = 1 - b.to(energy.dtype)
    sums = torch.cat([energy[..., :1], b * energy[..., 1:]], dim=-1)
    reach = 1
    while reach < energy.shape[-1]:
        sums = sums + keep**reach * pad(sums[..., :-reach], (reach, 0))
        reach *= 2
    return sums


class _KernelPcen(torch.autograd.Function):
    """The numba kernels of ``features.pcen_kernels``, for contiguous float32 on the CPU."""

    @staticmethod
    def forward(
        ctx: Any,
        energy: Tensor,
        gain: Tensor,
        bias: Tensor,
        power: Tensor,
        b: Tensor,
        eps: float,
        extra_eps: float,
        differentiable: bool,
    ) -> Tensor:
        from acoustic_kit.features.pcen_kernels import BLOCK, Parameters, pcen

        out, frames = torch.empty_like(energy), energy.shape[-1]
        e, o = (x.view(-1, frames).numpy() for x in (energy, out))
        parameters = Parameters(b.item(), gain.item(), bias.item(), power.item(), eps, extra_eps)
        differentiable = differentiable and any(ctx.needs_input_grad)
        saved = torch.empty(2, len(e) if differentiable else 0, frames)

        def run(rows: slice) -> None:
            log_smooth, log_u = saved[:, rows].numpy() if differentiable else np.empty((2, BLOCK, frames), np.float32)
            pcen(e[rows], e[rows, 0].copy(), parameters, log_smooth, log_u, o[rows])

        _in_threads(run, *e.shape)
        ctx.parameters = parameters
        ctx.save_for_backward(energy, gain, bias, power, b, saved)
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        from acoustic_kit.features.pcen_kernels import pcen_gradient

        energy, gain, bias, power, b, saved = ctx.saved_tensors
        parameters = ctx.parameters
        if torch.is_grad_enabled():  # this gradient will itself be differentiated
            out = _torch_pcen(energy, gain, bias, power, b, parameters.eps, parameters.extra_eps)
            return *_gradient(out, (energy, gain, bias, power), grad_out), None, None, None, None
        grad_energy, frames = torch.empty_like(energy), energy.shape[-1]
        g, e, ge = (x.view(-1, frames).numpy() for x in (grad_out.contiguous(), energy, grad_energy))
        log_smooth, log_u = saved.numpy()

        def run(rows: slice) -> np.ndarray:
            sums: np.ndarray = pcen_gradient(g[rows], e[rows], parameters, log_smooth[rows], log_u[rows], ge[rows])
            return sums

        grad_scalars = torch.from_numpy(np.sum(_in_threads(run, *e.shape), axis=0)).float()
        return grad_energy, *grad_scalars, None, None, None, None


def _gradient(out: Tensor, inputs: tuple[Tensor, ...], grad_out: Tensor) -> Iterator[Tensor | None]:
    """The gradient with respect to each input that asks for one, with a graph of its own."""
    wanted = [x for x in inputs if x.requires_grad]
    found = iter(torch.autograd.grad(out, wanted, grad_out, create_graph=True))
    return (next(found) if x.requires_grad else None for x in inputs)


def _in_threads(run: Callable[[slice], T], rows: int, frames: int) -> list[T]:
    """What ``run`` returns for parts of the rows, in as many threads as torch may use here and the work is worth."""
    n = max(1, min(torch.get_num_threads(), rows * frames // CELLS_PER_THREAD))
    if n == 1:
        return [run(slice(0, rows))]
    size = -(-rows // n)
    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(run, [slice(first, first + size) for first in range(0, rows, size)]))
