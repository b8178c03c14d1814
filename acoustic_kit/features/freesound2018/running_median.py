"""Running medians of many columns at once."""

import numba
import numpy as np

WIDTH = 31
_GROUP = 16  # windows processed together: half of WIDTH + 1
_LANES = 512  # columns processed together, at most: enough to amortize a loop, few enough for the cache
_VECTOR = 16  # columns of one instruction: their number is rounded up to a multiple


@numba.njit(cache=True, nogil=True)
def running_median(values: np.ndarray) -> np.ndarray:
    """Return the median of the 31 values around each, along the first axis, as ``scipy.ndimage.median_filter``.

    At the ends the values are mirrored, the outermost one included (scipy's mode ``reflect``).

    Sixteen neighboring windows have 16 values in common, which are sorted once; each half of these windows shares 8
    more, each quarter 4 more, and so on. Of the values so far, only those that can still be the median are kept: 16,
    8, 4, 2, and finally the median itself. This takes 36 minima and maxima per value, without a branch, each for all
    columns at once.

    Parameters
    ----------
    values : float32 (n, columns), C-contiguous, finite, n ≥ 1

    Returns
    -------
    float32 (n, columns)

    """
    n, columns = values.shape
    medians = np.empty_like(values)
    together = -(-columns // (-(-columns // _LANES) * _VECTOR)) * _VECTOR
    kept = np.zeros((2 * _GROUP - 1, together), np.float32)  # levels of 16, 8, 4, 2 and 1 rows, one after the other
    added = np.zeros((_GROUP // 2, together), np.float32)
    for start in range(0, columns, together):
        lanes = values[:, start : start + together]
        width = lanes.shape[1]
        for first in range(0, n, _GROUP):
            _load(lanes, first, kept[:_GROUP])
            for j in range(min(_GROUP, n - first)):
                _narrow(lanes, first, j, kept, added)
                medians[first + j, start : start + width] = kept[2 * _GROUP - 2, :width]
    return medians


@numba.njit(cache=True, nogil=True)
def _narrow(lanes: np.ndarray, first: int, j: int, kept: np.ndarray, added: np.ndarray) -> None:
    """Update ``kept`` from the window around row first + j - 1 to the one around row ``first`` + ``j``."""
    level, size = 0, _GROUP
    while size > 1:
        half = size // 2
        if j % half == 0:
            # The values that only this half shares are before the core in the first half, after it in the second.
            new = first + j + (half if j % size == 0 else WIDTH + 1 - half) - _GROUP
            _load(lanes, new, added[:half])
            _middle(kept[level : level + size], added[:half], kept[level + size : level + size + half])
        level += size
        size = half


@numba.njit(cache=True, nogil=True)
def _load(lanes: np.ndarray, first: int, rows: np.ndarray) -> None:
    """Copy as many rows of ``lanes`` as ``rows`` has, a power of two, and sort them, column by column."""
    n, width = lanes.shape
    for k in range(len(rows)):
        i = (first + k) % (2 * n)  # mirrored at the ends
        rows[k, :width] = lanes[min(i, 2 * n - 1 - i)]
    run = 1
    while run < len(rows):  # merge sorted runs, the second of two reversed
        for a in range(0, len(rows), 2 * run):
            for k in range(run):
                _exchange(rows[a + k], rows[a + 2 * run - 1 - k])
            _merge(rows[a : a + run])
            _merge(rows[a + run : a + 2 * run])
        run *= 2


@numba.njit(cache=True, nogil=True)
def _merge(rows: np.ndarray) -> None:
    """Sort bitonic columns (ascending, then descending, or the reverse) of a power of two of rows (Batcher 1968)."""
    gap = len(rows) // 2
    while gap >= 1:
        for a in range(0, len(rows), 2 * gap):
            for k in range(a, a + gap):
                _exchange(rows[k], rows[k + gap])
        gap //= 2


@numba.njit(cache=True, nogil=True)
def _exchange(low: np.ndarray, high: np.ndarray) -> None:
    for f in range(len(low)):
        a, b = low[f], high[f]
        low[f] = a if a < b else b
        high[f] = a if a > b else b


@numba.njit(cache=True, nogil=True)
def _middle(core: np.ndarray, added: np.ndarray, out: np.ndarray) -> None:
    """Write the middle third of the sorted union of sorted ``core`` (2 h rows) and sorted ``added`` (h rows)."""
    h = len(added)
    for k in range(h):  # the lower of each pair are the h smallest of all
        a, b, larger = core[k], added[h - 1 - k], out[k]
        for f in range(len(a)):
            larger[f] = a[f] if a[f] > b[f] else b[f]
    _merge(out)
    for k in range(h):  # the upper of each pair are the h largest of the rest
        a, smaller = core[2 * h - 1 - k], out[k]
        for f in range(len(a)):
            smaller[f] = a[f] if a[f] < smaller[f] else smaller[f]
    _merge(out)
