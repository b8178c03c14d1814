"""Windows of long clips, batches of windows, and the pooling of their frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

Pool = Literal["mean", "max", "mean+std", "none"]
POOLS = get_args(Pool)


def split(wave: np.ndarray, length: int, hop: int) -> list[np.ndarray]:
    """Return the windows of a wave (n,): the wave itself if it is no longer than one.

    Windows begin at most `hop` samples apart, evenly spread, and the last one ends with the wave.
    """
    if len(wave) <= length:
        return [wave]
    n = math.ceil((len(wave) - length) / hop) + 1
    starts = np.linspace(0, len(wave) - length, n).round().astype(int)
    return [wave[start : start + length] for start in starts]


def batches(lengths: Sequence[int], samples: int, *, mixed: bool) -> list[list[int]]:
    """Return positions in batches of at most `samples`, padding included, shortest first; a longer one is alone.

    - `mixed`: whether a batch may have several lengths
    """
    found: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        fits = found and lengths[i] * (len(found[-1]) + 1) <= samples
        if not fits or not (mixed or lengths[i] == lengths[found[-1][0]]):
            found.append([])
        found[-1].append(i)
    return found


def pool(frames: np.ndarray, how: Pool) -> np.ndarray:
    """Return the embedding of a clip from its frames, float32 (frames, d).

    Returns
    -------
    float32: ``mean`` and ``max`` (d,), ``mean+std`` (2 d,), ``none`` the frames

    """
    if how == "none":
        return frames
    if how == "max":
        largest: np.ndarray = frames.max(axis=0)
        return largest
    figures = [frames.mean(axis=0, dtype=np.float64)]
    if how == "mean+std":
        figures.append(frames.std(axis=0, dtype=np.float64))
    return np.concatenate(figures).astype(np.float32)
