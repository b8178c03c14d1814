"""Random numbers that belong to a clip: the same for any batch size, worker or process count.

A draw is a function of (seed, fold, epoch, clip id, what it is for), computed with a counter-based hash, so that
nothing has to be kept in order and a resumed epoch sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def digest64(text: str) -> int:
    """64 bits of a text, the same in every process (unlike `hash`)."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def digests(ids: Sequence[str]) -> np.ndarray:
    """The 64-bit digests of clip ids: uint64 (clips,). Computed once, they make a draw cost nothing per epoch."""
    return np.array([digest64(id) for id in ids], dtype=np.uint64)


@dataclass(frozen=True)
class ClipRng:
    """The random numbers of a batch of clips in one epoch."""

    key: str  # seed, fold, stage and epoch
    clips: np.ndarray  # uint64 (clips,), `digests` of their ids
    device: torch.device

    def uniform(self, purpose: str, n: int = 1) -> torch.Tensor:
        """Numbers in [0, 1) for one purpose: float32 (clips, n). Another purpose gives independent numbers."""
        numbers = torch.from_numpy(self.uniform64(purpose, n).astype(np.float32))
        return numbers.to(self.device, non_blocking=True).clamp_(max=1 - 2**-24)

    def uniform64(self, purpose: str, n: int = 1) -> np.ndarray:
        """As `uniform`, but float64 in numpy."""
        with np.errstate(over="ignore"):
            start = self.clips ^ np.uint64(digest64(f"{self.key}/{purpose}"))
            counters = start[:, None] + _GOLDEN * np.arange(1, n + 1, dtype=np.uint64)
            return (_mix(_mix(counters)) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014): a bijection of 64 bits that passes statistical tests."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed
