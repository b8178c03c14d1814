"""Resampling of waves by a simple ratio, as a convolution on their device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cache

import torch
from torch.nn import functional

ZEROS, CUTOFF, BETA = 64, 0.95, 14.0  # zero crossings per side, fraction of the lower Nyquist frequency, Kaiser's β


def resample_by(x: torch.Tensor, ratio: Fraction) -> torch.Tensor:
    """Resample waves to `ratio` times the sample rate: float32 (clips, n) → (clips, n // in · out), for ratio out/in.

    Windowed-sinc interpolation: ZEROS zero crossings per side, cut off at CUTOFF of the lower Nyquist frequency, with a
    Kaiser window of BETA. Samples of an incomplete last block of `in` are left out; zeros are assumed beyond the ends.
    """
    out, block = ratio.numerator, ratio.denominator
    kernel = sinc_kernel(out, block).to(x, non_blocking=True)
    blocks = x[:, : x.shape[1] // block * block].reshape(len(x), -1, block).transpose(1, 2)
    return functional.conv1d(blocks, kernel, padding=kernel.shape[2] // 2).transpose(1, 2).flatten(1)


def change_speed(x: torch.Tensor, place: float, ratios: Sequence[Fraction]) -> torch.Tensor:
    """Resample waves by one of the ratios, selected by `place` in [0, 1): float32 (clips, n), at the old sample rate.

    So a ratio above 1 slows down. Longer waves are cut at the end, shorter ones padded with zeros.
    """
    resampled = resample_by(x, ratios[int(place * len(ratios))])
    return functional.pad(resampled, (0, x.shape[1] - resampled.shape[1]))  # negative padding cuts


@cache
def sinc_kernel(out: int, block: int) -> torch.Tensor:
    """Return the weights of the samples of `width` blocks around each of `out` samples: float32 (out, block, width).

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
