"""Faster or slower: waves resampled by a simple ratio, as a convolution on the device where they lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cache

import torch
from torch.nn import functional

ZEROS, CUTOFF, BETA = 64, 0.95, 14.0  # zero crossings a side, share of the lower Nyquist frequency, Kaiser's β


def resample_by(x: torch.Tensor, ratio: Fraction) -> torch.Tensor:
    """Waves at `ratio` times as many samples a second: float32 (clips, n) → (clips, n // in · out), for ratio out/in.

    Windowed-sinc interpolation: ZEROS zero crossings a side, cut off at CUTOFF of the lower Nyquist frequency, under a
    Kaiser window of BETA. Samples that fill no block of `in` are left out; beyond the ends there are zeros.
    """
    out, block = ratio.numerator, ratio.denominator
    kernel = sinc_kernel(out, block).to(x, non_blocking=True)
    blocks = x[:, : x.shape[1] // block * block].reshape(len(x), -1, block).transpose(1, 2)
    return functional.conv1d(blocks, kernel, padding=kernel.shape[2] // 2).transpose(1, 2).flatten(1)


def change_speed(x: torch.Tensor, place: float, ratios: Sequence[Fraction]) -> torch.Tensor:
    """Resampled by one of the ratios, chosen by `place` in [0, 1), and heard at the old rate: float32 (clips, n).

    What becomes longer loses its end, what becomes shorter gets zeros there.
    """
    found = resample_by(x, ratios[int(place * len(ratios))])
    return functional.pad(found, (0, x.shape[1] - found.shape[1]))  # a negative number of zeros cuts


@cache
def sinc_kernel(out: int, block: int) -> torch.Tensor:
    """What each of `out` samples is made of: float32 (out, block, width), the samples of `width` blocks around.

    At t = o/out - i/block - (k - b), in blocks, for width 2b + 1: sinc(t·z)·kaiser(t/b)·z/block, with
    z = CUTOFF·min(out, block).
    """
    z = CUTOFF * min(out, block)
    b = math.ceil(ZEROS / z)
    o, i, k = torch.arange(out).double(), torch.arange(block).double(), torch.arange(2 * b + 1).double()
    t = o[:, None, None] / out - i[:, None] / block - (k - b)
    inside = (1 - (t / b).square()).clamp(min=0)
    kaiser = torch.special.i0(BETA * inside.sqrt()) / torch.special.i0(torch.tensor(BETA).double())
    return (torch.sinc(t * z) * torch.where(t.abs() < b, kaiser, 0.0) * z / block).float()
