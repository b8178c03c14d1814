"""Numba kernel that cuts, places and scales stored clips in one pass."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def place(
    values: np.ndarray, length: int, first: int, scale: np.float32, out: np.ndarray, frames: int, at: int
) -> None:
    """Copy frames ``first``, ``first + 1``, … of a clip, times ``scale``, into frames ``at``, … of ``out``, to its end.

    Both are flat: equally many rows, of ``length`` and of ``frames`` frames. ``values`` are int16 or
    float32, ``out`` is float32. If the clip ends before ``out`` does, the rest of ``out`` is unchanged.
    """
    n = min(length - first, frames - at)
    for row in range(out.size // frames):
        start, to = row * length + first, row * frames + at
        source, target = values[start : start + n], out[to : to + n]  # plain indices into slices vectorise
        for i in range(n):
            target[i] = np.float32(source[i]) * scale
