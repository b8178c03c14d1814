"""Random numbers per clip: the same for any batch size, worker or process count.

A number is a function of (seed, fold, epoch, clip id, purpose), computed with a counter-based hash: there is no
state to restore, and a resumed epoch gets the numbers of an uninterrupted one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def digest64(text: str) -> int:
    """Return 64 bits that depend on a text alone; unlike `hash`, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def digests(ids: Sequence[str]) -> np.ndarray:
    """Return the 64-bit digests of clip ids, to be computed once per training: uint64 (clips,)."""
    return np.array([digest64(id) for id in ids], dtype=np.uint64)


@dataclass(frozen=True)
class ClipRng:
    """Random numbers of the clips of a batch in one epoch."""

    key: str  # seed, fold, stage and epoch
    clips: np.ndarray  # uint64 (clips,), `digests` of their ids
    device: torch.device

    def uniform(self, purpose: str, n: int = 1) -> torch.Tensor:
        """Return numbers in [0, 1): float32 (clips, n). Numbers of different purposes are independent."""
        numbers = torch.from_numpy(self.uniform64(purpose, n).astype(np.float32))
        return numbers.to(self.device, non_blocking=True).clamp_(max=1 - 2**-24)

    def uniform64(self, purpose: str, n: int = 1) -> np.ndarray:
        """Return numbers as `uniform` does, as a numpy array: float64 (clips, n)."""
        with np.errstate(over="ignore"):
            start = self.clips ^ np.uint64(digest64(f"{self.key}/{purpose}"))
            counters = start[:, None] + _GOLDEN * np.arange(1, n + 1, dtype=np.uint64)
            return (_mix(_mix(counters)) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: np.ndarray) -> np.ndarray:
    """Apply splitmix64's finalizer (Steele, Lea, Flood 2014): a bijection of 64 bits that passes statistical tests."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed
