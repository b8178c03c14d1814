"""Crops of clips that are longer than a network's input: where they are in training and in prediction."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from acoustic_kit.data.clips import Clips

Window = Literal["random", "first", "loudest"]
FramePower = Callable[[np.ndarray], np.ndarray]  # float32 (…, frames) → float (frames,)

MOST = 12  # crops of a clip that are averaged by default
LONG = 1.5  # times the input: a clip over this is predicted by several crops
SHORTEST = 16  # the shortest input of halved ones is so many times shorter than the whole one


@dataclass(frozen=True)
class Crops:
    """Crops in which clips are predicted; those of a clip are adjacent."""

    clips: np.ndarray  # int64 (crops,), positions of the clips, ascending
    first: np.ndarray  # int64 (crops,), first frame; negative if the clip begins later in the crop

    def mean_by_clip(self, values: np.ndarray) -> np.ndarray:
        """Return the mean of each clip's crops: float64 (crops, …) → (clips, …)."""
        starts = np.flatnonzero(np.diff(self.clips, prepend=-1))
        counts = np.diff(starts, append=len(self.clips))
        found: np.ndarray = np.add.reduceat(values, starts) / counts.reshape(-1, *[1] * (values.ndim - 1))
        return found


def input_length(clips: Clips, feature: str, most: int) -> int:
    """Return the number of frames of the longest clip, or `most` if that is less.

    A network that takes any length needs no longer input: 0.5 s that are repeated to 5 s cost ten times the work.
    """
    stored = clips.features[feature]
    return min(most, max(stored.shape(id)[-1] for id in clips.ids))


def halved_inputs(lengths: np.ndarray, frames: int) -> np.ndarray:
    """Return the shortest of `frames`, `frames` / 2, … `frames` / 16 (rounded up) that holds each clip: int64 (clips,).

    - ``lengths``: int (clips,); clips longer than `frames` have it as well

    >>> halved_inputs(np.array([22, 54, 55, 300]), 216)
    array([ 27,  54, 108, 216])
    """
    found, halved = np.full(len(lengths), frames), frames
    while halved > math.ceil(frames / SHORTEST):
        halved = math.ceil(halved / 2)
        found[lengths <= halved] = halved
    return found


def mean_square(x: np.ndarray) -> np.ndarray:
    """Return the power of each frame of a feature that is linear in amplitude, such as a wave: float64 (frames,)."""
    found: np.ndarray = np.square(x, dtype=np.float64).mean(axis=tuple(range(x.ndim - 1)))
    return found


def decibel_power(x: np.ndarray) -> np.ndarray:
    """Return the mean power of each frame of a feature in decibels, such as log-mel bands: float64 (frames,)."""
    return mean_square(10 ** (x / 20))


def spread_crops(length: int, frames: int, most: int) -> np.ndarray:
    """Return the first frames of crops that cover a clip evenly, from its start to its end: int64, ascending.

    There are as few as that takes. If these are more than `most`, there are gaps; a single crop is in the middle.

    >>> spread_crops(60, 25, most=12)
    array([ 0, 18, 35])

    Parameters
    ----------
    length : of the clip, at least `frames`
    frames : of a crop
    most : number of crops, at least 1

    """
    n, slack = min(most, math.ceil(length / frames)), length - frames
    return np.array([(slack + 1) // 2]) if n == 1 else np.rint(np.linspace(0, slack, n)).astype(np.int64)


def loudest_crop(power: np.ndarray, frames: int) -> int:
    """Return the first frame of the crop with the highest mean power.

    Parameters
    ----------
    power : float (clip's frames,), not negative
    frames : of the crop; a clip that is not longer has its only one at 0

    """
    total = np.concatenate([[0.0], np.cumsum(power, dtype=np.float64)])
    return int(np.argmax(total[frames:] - total[:-frames])) if frames < len(power) else 0
