"""The shape of a clip's mean spectrum, in 64 numbers: block C of the Freesound table (see ``table``)."""

import numpy as np
import scipy.fft

from acoustic_kit.features.freesound2018.envelope import RUN_COLUMNS, describe_runs

SEGMENT = 2000  # samples
FIRST = 100  # the sample at which the first segment begins
BINS = SEGMENT // 2
LEVELS = {"10": 0.10, "20": 0.20, "50": 0.50, "90": 0.90, "99": 0.99}
SMOOTH_WIDTH, SMOOTH_STEP = 20, 40  # bins
COLUMNS = (
    "spec_centroid_sq",
    *(f"spec_n_gt{level}" for level in LEVELS),
    "spec_argmax",
    "spec_low50_ge50",
    "spec_low50_ge90",
    *(f"spec_run{level}_{column}" for level in LEVELS for column in RUN_COLUMNS),
    *("spec_quad_c1", "spec_quad_c2", "spec_quad_c0"),
    *("spec_sum", "spec_mean", "spec_l2", "spec_l2_over_n"),
    *("lobe_quad_c1", "lobe_quad_c2", "lobe_quad_c0"),
    *(f"spec_smooth_{k:03d}" for k in range(0, BINS, SMOOTH_STEP)),
)


def spectrum_statistics(wave: np.ndarray) -> np.ndarray:
    """Return centroid, widths, peak, runs, fitted parabolas, sums and a smoothed outline of ``mean_spectrum``.

    P is the spectrum's maximum. The main lobe extends from the last bin below 0.1 P before the peak to the first after
    it; without one of these, or with fewer than three bins, its parabola is 0.

    Parameters
    ----------
    wave : float32 (n,), n ≥ 1

    Returns
    -------
    float64 (64,), by ``COLUMNS``; frequencies are in bins of 1 / 2000 of the sample rate

    """
    p = mean_spectrum(wave)
    k, square = np.arange(BINS), p * p
    energy, top, peak = square.sum(), p.max(), int(np.argmax(p))
    above = [p > level * top for level in LEVELS.values()]
    smooth = np.convolve(p, np.full(SMOOTH_WIDTH, 1 / SMOOTH_WIDTH))[SMOOTH_WIDTH - 1 :: SMOOTH_STEP]
    return np.concatenate(
        [
            [(k * square).sum() / energy if energy > 0 else 0.0],
            [np.count_nonzero(mask) for mask in above],
            [peak, np.count_nonzero(p[:50] >= 0.5 * top), np.count_nonzero(p[:50] >= 0.9 * top)],
            *(describe_runs(mask) for mask in above),
            _parabola(p, 0),
            [p.sum(), p.sum() / BINS, np.sqrt(energy), np.sqrt(energy) / BINS],
            _lobe(p, peak),
            smooth,
        ]
    )


def mean_spectrum(wave: np.ndarray) -> np.ndarray:
    """Return log(1 + mean magnitude) of each bin below half the sample rate, over segments: float64 (1000,).

    Segments have 2000 samples. The first begins at sample 100; the last ends before the last sample. A wave too short
    for that is one segment from its beginning, padded with zeros.
    """
    count = (len(wave) - 1 - FIRST) // SEGMENT
    if count > 0:
        segments = wave[FIRST : FIRST + count * SEGMENT].reshape(count, SEGMENT).astype(np.float64)
    else:
        segments = np.zeros((1, SEGMENT))
        segments[0, : len(wave)] = wave[:SEGMENT]
    magnitude = np.abs(scipy.fft.rfft(segments)[:, :BINS])
    logarithms: np.ndarray = np.log1p(magnitude.mean(axis=0))
    return logarithms


def _lobe(p: np.ndarray, peak: int) -> tuple[float, float, float]:
    low = np.flatnonzero(p < 0.1 * p.max())
    before, after = low[low < peak], low[low > peak]
    first, end = before[-1] if len(before) else 0, after[0] if len(after) else 0
    return _parabola(p[first:end], int(first)) if end - first > 2 else (0.0, 0.0, 0.0)


def _parabola(p: np.ndarray, first: int) -> tuple[float, float, float]:
    """Return the coefficients of k, k² and 1 of the least-squares parabola through p[k - first], three or more bins."""
    center = first + (len(p) - 1) / 2
    t = np.arange(first, first + len(p)) - center  # odd moments of t vanish
    t2 = t * t
    mean2, mean4, mean = t2.mean(), (t2 * t2).mean(), p.mean()
    slope = (t * p).mean() / mean2
    bend = ((t2 * p).mean() - mean2 * mean) / (mean4 - mean2 * mean2)
    base = mean - bend * mean2
    return slope - 2 * bend * center, bend, base - slope * center + bend * center * center
