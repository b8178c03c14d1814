"""Statistics of parts of a clip, 72 numbers: block D of the Freesound table (see ``table``)."""

import numba
import numpy as np

DIVISIONS = (1, 2, 3)
SIGNALS = ("raw", "abs", "diff")
COLUMNS = tuple(
    f"part{parts}_{signal}_{part}_{statistic}"
    for parts in DIVISIONS
    for signal in SIGNALS
    for part in range(parts)
    for statistic in ("mean", "std", "min", "max")
)


def part_statistics(wave: np.ndarray) -> np.ndarray:
    """Return mean, standard deviation, minimum and maximum of parts of the wave, of its magnitude and of its slope.

    As in the original, the last part is the last sample alone. A part without samples counts as zero, and so does the
    slope of a single sample.

    Parameters
    ----------
    wave : float32 (n,), n ≥ 1

    Returns
    -------
    float64 (72,), by ``COLUMNS``

    """
    slope = np.diff(wave) if len(wave) > 1 else np.zeros(1, np.float32)
    signals = (wave, np.abs(wave), slope)
    found = [
        _describe(signal[part * (len(signal) // parts) : (part + 1) * (len(signal) // parts)])
        if part < parts - 1
        else _describe(signal[-1:])
        for parts in DIVISIONS
        for signal in signals
        for part in range(parts)
    ]
    return np.array(found).ravel()


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _describe(signal: np.ndarray) -> tuple[float, float, float, float]:
    """Return mean, population standard deviation, minimum and maximum of float32 (n,)."""
    n = len(signal)
    if n == 0:
        return 0.0, 0.0, 0.0, 0.0
    total, low, high = 0.0, signal[0], signal[0]
    for i in range(n):
        total += signal[i]
        low = signal[i] if signal[i] < low else low
        high = signal[i] if signal[i] > high else high
    mean, spread = total / n, 0.0
    for i in range(n):
        deviation = signal[i] - mean
        spread += deviation * deviation
    return mean, np.sqrt(spread / n), float(low), float(high)
