"""Noise of a clip: as many random numbers as it has samples, computed on the device of the batch.

`ClipRng` computes in numpy, fast enough for a few numbers per clip. Here a 32-bit counter is hashed on the device. As
with `ClipRng`, a clip's numbers depend only on its digest and the purpose, not on the batch or on other draws.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from acoustic_kit.training.clip_rng import ClipRng

_GOLDEN = 0x9E3779B9 - 2**32  # as int32, 2^32 over the golden ratio: neighboring counters become far apart


def uniform_noise(rng: ClipRng, purpose: str, n: int) -> torch.Tensor:
    """Return numbers in [0, 1), multiples of 2^-24: float32 (clips, n), on the device of `rng`."""
    return (_shifted(_hashed(rng, purpose, n), 8)).float().mul_(2.0**-24)


def normal_noise(rng: ClipRng, purpose: str, n: int) -> torch.Tensor:
    """Return standard normal numbers (Box and Muller 1958): float32 (clips, n), of absolute value below 5.8."""
    radius, angle = uniform_noise(rng, purpose, 2 * math.ceil(n / 2)).chunk(2, dim=1)
    radius = torch.log1p(-radius).mul_(-2).sqrt_()
    angle = angle * (2 * math.pi)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :n]


def _hashed(rng: ClipRng, purpose: str, n: int) -> torch.Tensor:
    """Hash each counter with a permutation of 32 bits that depends on clip and purpose: int32 (clips, n).

    Two keys of a clip are mixed in before and between the rounds of `lowbias32` (C. Wellons, "Prospecting for Hash
    Functions", 2018). int32 multiplication wraps.
    """
    keys = (rng.uniform64(f"{purpose}/key", 2) * 2**32 - 2**31).astype(np.int32)
    first, second = torch.from_numpy(keys).to(rng.device, non_blocking=True)[:, :, None].unbind(1)
    x = torch.arange(n, dtype=torch.int32, device=rng.device)[None] * _GOLDEN ^ first
    x ^= _shifted(x, 16)
    x *= 0x7FEB352D
    x ^= second
    x ^= _shifted(x, 15)
    x *= 0x846CA68B - 2**32
    x ^= _shifted(x, 16)
    return x


def _shifted(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift int32 to the right and fill with zeros; torch itself fills with the sign."""
    return (x >> bits).bitwise_and_((1 << (32 - bits)) - 1)
