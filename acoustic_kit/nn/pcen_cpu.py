"""Trainable PCEN on the CPU: the numba kernels of ``dsp.pcen_kernels``, in threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from acoustic_kit.dsp.pcen_kernels import BLOCK, Parameters, pcen, pcen_gradient

CELLS_PER_THREAD = 100_000  # below this a thread costs more than it saves

T = TypeVar("T")


def forward(
    energy: Tensor, scalars: tuple[Tensor, ...], eps: float, extra_eps: float, keep: bool
) -> tuple[Tensor, ...]:
    """Return PCEN, and the arrays that ``backward`` needs.

    Parameters
    ----------
    energy : float32 (rows, frames), contiguous, at least 0; frames ≥ 1
    scalars : gain, bias, power and b
    keep : whether ``backward`` will be called

    Returns
    -------
    float32 (rows, frames), and float32 (2, rows, frames): the logarithms that the kernel writes; (2, 0, frames) unless
    ``keep``

    """
    out, frames = torch.empty_like(energy), energy.shape[-1]
    e, o, parameters = energy.numpy(), out.numpy(), _parameters(scalars, eps, extra_eps)
    saved = torch.empty(2, len(e) if keep else 0, frames)

    def run(rows: slice) -> None:
        log_smooth, log_u = saved[:, rows].numpy() if keep else np.empty((2, BLOCK, frames), np.float32)
        pcen(e[rows], e[rows, 0].copy(), parameters, log_smooth, log_u, o[rows])

    _in_threads(run, *e.shape)
    return out, saved


def backward(
    grad_out: Tensor, energy: Tensor, scalars: tuple[Tensor, ...], eps: float, extra_eps: float, saved: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradient with respect to energy, float32 (rows, frames), and to gain, bias and power, float32 (3,)."""
    grad_energy, parameters = torch.empty_like(energy), _parameters(scalars, eps, extra_eps)
    g, e, ge = (x.numpy() for x in (grad_out, energy, grad_energy))
    log_smooth, log_u = saved.numpy()

    def run(rows: slice) -> np.ndarray:
        sums: np.ndarray = pcen_gradient(g[rows], e[rows], parameters, log_smooth[rows], log_u[rows], ge[rows])
        return sums

    return grad_energy, torch.from_numpy(np.sum(_in_threads(run, *e.shape), axis=0)).float()


def _parameters(scalars: tuple[Tensor, ...], eps: float, extra_eps: float) -> Parameters:
    gain, bias, power, b = (scalar.item() for scalar in scalars)
    return Parameters(b, gain, bias, power, eps, extra_eps)


def _in_threads(run: Callable[[slice], T], rows: int, frames: int) -> list[T]:
    """Return ``run`` of parts of the rows, in as many threads as torch may use and the work occupies."""
    n = max(1, min(torch.get_num_threads(), rows * frames // CELLS_PER_THREAD))
    if n == 1:
        return [run(slice(0, rows))]
    size = -(-rows // n)
    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(run, [slice(first, first + size) for first in range(0, rows, size)]))
