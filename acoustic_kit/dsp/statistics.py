"""Statistics over time: seven numbers from each row of frames."""

import numba
import numpy as np

STATISTICS = ("mean", "std", "skew", "kurtosis", "median", "min", "max")


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def summarize(rows: np.ndarray) -> np.ndarray:
    """Return the ``STATISTICS`` of each row.

    Mean, population standard deviation, biased skewness m₃ / m₂^1.5, biased excess kurtosis m₄ / m₂² - 3, median,
    minimum and maximum, as numpy and ``scipy.stats`` define them. A row that varies by no more than the rounding of
    float32 (NaN in scipy) has skewness and kurtosis 0. Moments are summed in float64.

    Parameters
    ----------
    rows : float32 (rows, frames), C-contiguous, finite, at least one frame

    Returns
    -------
    float32 (rows, 7)

    """
    n_rows, n = rows.shape
    out = np.empty((n_rows, 7), dtype=np.float32)
    for r in range(n_rows):
        row = rows[r]
        mean, low, high = 0.0, row[0], row[0]
        for i in range(n):
            mean += row[i]
            low = row[i] if row[i] < low else low
            high = row[i] if row[i] > high else high
        mean /= n
        m2, m3, m4 = 0.0, 0.0, 0.0
        for i in range(n):
            deviation = row[i] - mean
            square = deviation * deviation
            m2 += square
            m3 += square * deviation
            m4 += square * square
        m2, m3, m4 = m2 / n, m3 / n, m4 / n
        varies = m2 > (1.2e-7 * mean) ** 2
        out[r, 0] = mean
        out[r, 1] = np.sqrt(m2)
        out[r, 2] = m3 / m2**1.5 if varies else 0.0
        out[r, 3] = m4 / m2**2 - 3.0 if varies else 0.0
        out[r, 4] = _median(row)
        out[r, 5] = low
        out[r, 6] = high
    return out


@numba.njit(cache=True, nogil=True)
def _median(row: np.ndarray) -> float:
    """Return the median of float32 (n,), by bisection.

    Read as integers, floats keep their order (negative ones once their lower bits are flipped). So the range between
    minimum and maximum is halved until as many values are below as above: about ten counts, each of which vectorizes,
    whereas a quickselect branches on every value.
    """
    n = len(row)
    bits = row.view(np.int32)
    keys = np.empty(n, dtype=np.int32)
    for i in range(n):
        keys[i] = bits[i] if bits[i] >= 0 else bits[i] ^ np.int32(0x7FFFFFFF)
    wanted = (n + 1) // 2  # number of values up to the lower middle one
    low, high, count = np.int64(keys.min()), np.int64(keys.max()), n
    while low < high and count != wanted:
        middle = (low + high) >> 1
        bound = np.int32(middle)
        count = 0
        for i in range(n):
            count += keys[i] <= bound
        if count >= wanted:
            high = middle
        else:
            low = middle + 1
    count, lower, upper = 0, -np.inf, np.inf
    for i in range(n):
        if keys[i] <= high:
            count += 1
            lower = max(lower, row[i])
        else:
            upper = min(upper, row[i])
    return lower if n % 2 == 1 or count > wanted else 0.5 * (lower + upper)
