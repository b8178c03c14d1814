"""Filling a batch from stored clips: cut, placed and scaled in one pass over what is needed of them."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def place(
    values: np.ndarray, length: int, first: int, scale: np.float32, out: np.ndarray, frames: int, at: int
) -> None:
    """Put frames ``first``, ``first + 1``, … of a clip, times ``scale``, into frames ``at``, … of ``out``, to its end.

    Both are flat: rows of ``length`` and of ``frames`` frames, as many in one as in the other. ``values`` are int16 or
    float32, ``out`` is float32. Where the clip ends before ``out`` does, the rest of ``out`` is left as it is.
    """
    n = min(length - first, frames - at)
    for row in range(out.size // frames):
        start, to = row * length + first, row * frames + at
        source, target = values[start : start + n], out[to : to + n]  # plain indices into slices vectorise
        for i in range(n):
            target[i] = np.float32(source[i]) * scale
