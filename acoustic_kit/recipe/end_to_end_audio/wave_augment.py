"""Label-preserving augmentations of waves: level, sign, shifts, gaps (EAT, Gazneli et al. 2022, arXiv:2204.11479).

Each is an `Op`, which changes all waves that it is called with, float32 (clips, n), by random numbers per clip.
"""

from __future__ import annotations

import math

import torch

from acoustic_kit.recipe.end_to_end_audio.clip_noise import normal_noise
from acoustic_kit.recipe.end_to_end_audio.random_apply import Op
from acoustic_kit.training.clip_rng import ClipRng


def gain(low: float = 0.5, high: float = 1.3) -> Op:
    """Multiply waves by a factor between `low` and `high`."""
    return lambda x, rng: x * between(rng, "gain", low, high)


def flip_sign() -> Op:
    """Multiply waves by -1."""
    return lambda x, _: -x


def shift(most: int) -> Op:
    """Shift waves by up to ± `most` samples, in steps of two, with zeros in the gap.

    In addition, shift by a fraction of a sample, from -0.5 to 0.5 in hundredths, circularly, as a ramp of the phases.
    """

    def apply(x: torch.Tensor, rng: ClipRng) -> torch.Tensor:
        n = x.shape[1]
        delay = 2 * (rng.uniform("shift") * (most + 1)).floor().long() - most  # (clips, 1)
        source = torch.arange(n, device=x.device) - delay
        moved = x.gather(1, source.clamp(0, n - 1)).masked_fill_((source < 0) | (source >= n), 0)
        fraction = (100 * (rng.uniform("shift by a part") - 0.5)).round() / 100
        phase = -2 * math.pi * fraction * torch.fft.rfftfreq(n, device=x.device)
        shifted: torch.Tensor = torch.fft.irfft(torch.fft.rfft(moved) * torch.polar(torch.ones_like(phase), phase), n)
        return shifted

    return apply


def rotate() -> Op:
    """Shift waves circularly by any number of samples."""

    def apply(x: torch.Tensor, rng: ClipRng) -> torch.Tensor:
        n = x.shape[1]
        delay = (rng.uniform64("rotate") * n).astype(int)
        source = torch.arange(n, device=x.device) - torch.from_numpy(delay).to(x.device, non_blocking=True)
        return x.gather(1, source.add_(n).remainder_(n))

    return apply


def mask(length: int, level: float = 1e-6) -> Op:
    """Replace `length` consecutive samples, anywhere, by normal noise of standard deviation `level`."""

    def apply(x: torch.Tensor, rng: ClipRng) -> torch.Tensor:
        first = (rng.uniform("mask") * (x.shape[1] - length + 1)).floor().long()
        places = first + torch.arange(length, device=x.device)
        return x.scatter(1, places, level * normal_noise(rng, "mask", length))

    return apply


def segment_gain(length: int, low: float = 0.5, high: float = 1.3) -> Op:
    """Multiply `length` consecutive samples by a factor; they begin among the first `length`, as in the original."""

    def apply(x: torch.Tensor, rng: ClipRng) -> torch.Tensor:
        first = (rng.uniform("segment") * length).floor().long()
        places = first + torch.arange(length, device=x.device)
        return x.scatter(1, places, x.gather(1, places) * between(rng, "segment gain", low, high))

    return apply


def between(rng: ClipRng, purpose: str, low: float, high: float) -> torch.Tensor:
    """Return a number between `low` and `high` per clip: float32 (clips, 1)."""
    return low + (high - low) * rng.uniform(purpose)
