"""Energy of the hops of a wave, rounded as numpy rounds it: the kernel of trimming."""

import numba
import numpy as np

HOP = 512  # samples: four of numpy's pairwise blocks of 128


@numba.njit(cache=True, nogil=True)
def hop_energy(wave: np.ndarray, before: int, hops: int) -> np.ndarray:
    """Return the sums of squares of consecutive hops of 512 samples; the first starts ``before`` samples early.

    Sums have the order of numpy's pairwise summation and equal it bit for bit, so that a comparison with a threshold
    gives the same result. The wave is padded with zeros.

    Parameters
    ----------
    wave : float32 (n,), C-contiguous

    Returns
    -------
    float32 (hops,)

    """
    energy = np.empty(hops, np.float32)
    edge = np.zeros(HOP, np.float32)
    n = len(wave)
    for h in range(hops):
        first = h * HOP - before
        if first >= 0 and first + HOP <= n:
            hop = wave[first : first + HOP]
        else:
            hop = edge
            hop[:] = 0.0
            for i in range(max(0, first), min(n, first + HOP)):
                hop[i - first] = wave[i]
        energy[h] = (_energy(hop, 0) + _energy(hop, 128)) + (_energy(hop, 256) + _energy(hop, 384))
    return energy


@numba.njit(inline="always")
def _energy(x: np.ndarray, s: int) -> float:
    """Return the sum of squares of x[s : s + 128], from eight running sums: one vector register."""
    r0, r1, r2, r3 = x[s] * x[s], x[s + 1] * x[s + 1], x[s + 2] * x[s + 2], x[s + 3] * x[s + 3]
    r4, r5, r6, r7 = x[s + 4] * x[s + 4], x[s + 5] * x[s + 5], x[s + 6] * x[s + 6], x[s + 7] * x[s + 7]
    for i in range(s + 8, s + 128, 8):
        r0 += x[i] * x[i]
        r1 += x[i + 1] * x[i + 1]
        r2 += x[i + 2] * x[i + 2]
        r3 += x[i + 3] * x[i + 3]
        r4 += x[i + 4] * x[i + 4]
        r5 += x[i + 5] * x[i + 5]
        r6 += x[i + 6] * x[i + 6]
        r7 += x[i + 7] * x[i + 7]
    total: float = ((r0 + r1) + (r2 + r3)) + ((r4 + r5) + (r6 + r7))
    return total
