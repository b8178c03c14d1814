"""The energy envelope of a clip, in twelve numbers: block B of the Freesound table (see ``table``)."""

import numba
import numpy as np

WINDOW = 2000  # samples
RUN_COLUMNS = ("logmeanlen", "logstdlen", "logmaxlen", "count")
COLUMNS = (
    *(f"run_rms_gt{percent}_{column}" for percent in ("05", "25") for column in RUN_COLUMNS),
    "log_time_to_attack",
    "log_time_to_relax",
    "zerocross_log_total",
    "zerocross_fraction",
)


def envelope_statistics(wave: np.ndarray) -> np.ndarray:
    """Return when and how long the wave is loud, and how often its sign changes.

    The envelope is the mean square of 2000 samples, from each sample on; m is its maximum. A wave shorter than 2000
    samples is padded with zeros, and in silence the attack is at 0.

    Parameters
    ----------
    wave : float32 (n,), n ≥ 1

    Returns
    -------
    float64 (12,), by ``COLUMNS``: the runs above 0.05 m and above 0.25 m (see ``describe_runs``); log(1 + the first
    sample above 0.99 m); log(1 + the first after it below 0.2 m, or the envelope's length); log(1 + pairs of
    neighboring samples of different signs); the fraction of these pairs in n

    """
    squares = np.zeros(max(len(wave), WINDOW), np.float32)
    np.multiply(wave, wave, out=squares[: len(wave)])
    # The sums are in float32 and sequential as in the original, whose rounding affects thresholds.
    sums = np.cumsum(squares)
    sums[WINDOW:] -= sums[:-WINDOW].copy()
    envelope = sums[WINDOW - 1 :] / np.float32(WINDOW)
    loudest = float(envelope.max())
    loud = envelope > np.float32(0.99 * loudest)
    attack = int(np.argmax(loud))
    quiet = envelope[attack + 1 :] < np.float32(0.2 * loudest)
    relax = attack + 1 + int(np.argmax(quiet)) if quiet.any() else len(envelope)
    crossings = int(np.count_nonzero(wave[1:] * wave[:-1] <= 0))
    runs = [describe_runs(envelope > np.float32(level * loudest)) for level in (0.05, 0.25)]
    return np.array([*runs[0], *runs[1], np.log1p(attack), np.log1p(relax), np.log1p(crossings), crossings / len(wave)])


@numba.njit(cache=True, nogil=True)
def describe_runs(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Return log(1 + mean), log(1 + deviation) and log(1 + maximum) of the lengths of runs of True, and their number.

    ``mask`` is bool (n,). All are 0 if there is no run.
    """
    count, longest, length = 0, 0, 0
    total, squares = 0, 0
    for i in range(len(mask) + 1):
        if i < len(mask) and mask[i]:
            length += 1
        elif length > 0:
            count, longest = count + 1, max(longest, length)
            total, squares = total + length, squares + length * length
            length = 0
    if count == 0:
        return 0.0, 0.0, 0.0, 0.0
    deviation = np.sqrt(count * squares - total * total) / count  # integers: the difference is exact
    return np.log1p(total / count), np.log1p(deviation), np.log1p(longest), float(count)
