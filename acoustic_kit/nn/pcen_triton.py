"""Trainable PCEN on a GPU: one Triton kernel forward, one backward, with the interface of ``pcen_cpu``.

A program processes some rows, a stretch of frames at a time. Inside a stretch the smoother is a parallel scan: a frame
is the pair (decay, sum), and two neighbors become (decay · decay', sum · decay' + sum'); the state before the stretch
enters as one number a row. Backward, the same scan runs against time. Nothing is copied to the host: the kernels load
gain, bias, power and b from the device.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

STRETCH = 1024  # frames at most, and cells of a program at least


@triton.jit
def _compose(decay, total, next_decay, next_total):  # type: ignore[no-untyped-def]
    return decay * next_decay, total * next_decay + next_total


@triton.jit
def _forward(  # type: ignore[no-untyped-def]
    energy, gain, bias, power, b, out, smooth, rows, frames, eps, extra_eps,
    ROWS: tl.constexpr, FRAMES: tl.constexpr, STRETCHES: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """Write ``out`` and, if KEEP, the smoother M, both float32 (rows, frames)."""
    gain, bias, power, b = tl.load(gain), tl.load(bias), tl.load(power), tl.load(b)
    floor = tl.exp2(power * tl.log2(bias))
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, FRAMES)[None, :]
    decay = tl.zeros([ROWS, FRAMES], tl.float32) + (1.0 - b)
    before = tl.load(energy + row * frames, mask=row < rows, other=0.0)  # M[-1] = E[0]
    for stretch in range(STRETCHES):
        first = stretch * FRAMES
        inside = (row < rows)[:, None] & (first + column < frames)
        at = (row * frames)[:, None] + first + column
        e = tl.load(energy + at, mask=inside, other=0.0)
        decays, sums = tl.associative_scan((decay, b * e), 1, _compose)
        m = sums + decays * before[:, None]
        before = tl.sum(tl.where(column == FRAMES - 1, m, 0.0), axis=1)
        divisor = tl.exp2(gain * tl.log2(eps + m)) + extra_eps
        value = tl.exp2(power * tl.log2(e / divisor + bias)) - floor
        tl.store(out + at, value, mask=inside)
        if KEEP:
            tl.store(smooth + at, m, mask=inside)


@triton.jit
def _backward(  # type: ignore[no-untyped-def]
    grad_out, energy, gain, bias, power, b, smooth, grad_energy, grad_scalars, rows, frames, eps, extra_eps,
    ROWS: tl.constexpr, FRAMES: tl.constexpr, STRETCHES: tl.constexpr,
):  # fmt: skip
    """Compute the formulas of ``pcen_kernels.pcen_gradient``; each program writes its part of the scalars' gradient."""
    gain, bias, power, b = tl.load(gain), tl.load(bias), tl.load(power), tl.load(b)
    log_bias = tl.log2(bias)
    floor, slope = tl.exp2(power * log_bias), tl.exp2((power - 1.0) * log_bias)
    program = tl.program_id(0).to(tl.int64)
    row = program * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, FRAMES)[None, :]
    decay = tl.zeros([ROWS, FRAMES], tl.float32) + (1.0 - b)
    after = tl.zeros([ROWS], tl.float32)
    to_gain = tl.zeros([ROWS], tl.float32)
    to_bias = tl.zeros([ROWS], tl.float32)
    to_power = tl.zeros([ROWS], tl.float32)
    for done in range(STRETCHES):
        first = (STRETCHES - 1 - done) * FRAMES
        inside = (row < rows)[:, None] & (first + column < frames)
        at = (row * frames)[:, None] + first + column
        g = tl.load(grad_out + at, mask=inside, other=0.0)
        e = tl.load(energy + at, mask=inside, other=0.0)
        m = eps + tl.load(smooth + at, mask=inside, other=0.0)
        log_m = tl.log2(m)
        factor = 1.0 / (tl.exp2(gain * log_m) + extra_eps)
        scaled = factor * e
        log_u = tl.log2(scaled + bias)
        u_slope = tl.exp2((power - 1.0) * log_u)
        to_u = g * power * u_slope
        to_bias += tl.sum(g * power * (u_slope - slope), axis=1)
        to_power += tl.sum(g * (u_slope * (scaled + bias) * log_u - floor * log_bias), axis=1)
        to_log = -to_u * scaled * (1.0 - extra_eps * factor)  # with respect to gain · ln(eps + M)
        to_gain += tl.sum(to_log * log_m, axis=1)
        decays, sums = tl.associative_scan((decay, gain * to_log / m), 1, _compose, reverse=True)
        later = sums + decays * after[:, None]
        after = tl.sum(tl.where(column == 0, later, 0.0), axis=1)
        weight = tl.where(first + column == 0, 1.0, b)  # M starts at the first frame, whose weight is b + (1 - b)
        tl.store(grad_energy + at, to_u * factor + weight * later, mask=inside)
    ln2 = 0.6931471805599453
    tl.store(grad_scalars + program * 3, ln2 * tl.sum(to_gain, axis=0))
    tl.store(grad_scalars + program * 3 + 1, tl.sum(to_bias, axis=0))
    tl.store(grad_scalars + program * 3 + 2, ln2 * tl.sum(to_power, axis=0))


def forward(
    energy: Tensor, scalars: tuple[Tensor, ...], eps: float, extra_eps: float, keep: bool
) -> tuple[Tensor, ...]:
    """Return PCEN, and M, float32 (rows, frames), for ``backward``; otherwise as ``pcen_cpu.forward``."""
    out = torch.empty_like(energy)
    smooth = torch.empty_like(energy) if keep else out
    programs, tile = _tiles(*energy.shape)
    with _on(energy):
        _forward[(programs,)](energy, *scalars, out, smooth, *energy.shape, eps, extra_eps, **tile, KEEP=keep)
    return out, smooth if keep else energy.new_empty(0)


def backward(
    grad_out: Tensor, energy: Tensor, scalars: tuple[Tensor, ...], eps: float, extra_eps: float, saved: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradient with respect to energy, float32 (rows, frames), and to gain, bias and power, float32 (3,)."""
    grad_energy = torch.empty_like(energy)
    programs, tile = _tiles(*energy.shape)
    parts = energy.new_empty(programs, 3)
    with _on(energy):
        _backward[(programs,)](
            grad_out, energy, *scalars, saved, grad_energy, parts, *energy.shape, eps, extra_eps, **tile
        )
    return grad_energy, parts.double().sum(dim=0).float()  # a fixed order, for a deterministic sum


def _tiles(rows: int, frames: int) -> tuple[int, dict[str, int]]:
    """Return the number of programs and the tile of each; kernels are compiled again only if the tile changes."""
    stretch = min(STRETCH, max(16, triton.next_power_of_2(frames)))
    at_once = STRETCH // stretch
    tile = {"ROWS": at_once, "FRAMES": stretch, "STRETCHES": triton.cdiv(frames, stretch)}
    return triton.cdiv(rows, at_once), tile


def _on(energy: Tensor) -> torch.cuda.device | nullcontext[None]:
    """Make the tensor's device current, on which Triton launches."""
    return torch.cuda.device(energy.device) if energy.is_cuda else nullcontext()
