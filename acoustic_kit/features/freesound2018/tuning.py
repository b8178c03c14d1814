"""Deviation of a sound's pitches from those of a piano tuned to A = 440 Hz, as ``librosa.estimate_tuning``.

It equals librosa 0.6.2, which ignores peaks 0.49 semitones or more above a note; 0.11 may return 0.49.
"""

from collections.abc import Iterable

import numba
import numpy as np

FMIN, FMAX = 150.0, 4000.0  # Hz, range of pitches
THRESHOLD = 0.1  # of a frame's maximum: lower peaks are ignored


def estimate_tuning(magnitudes: Iterable[np.ndarray], sample_rate: int, n_fft: int) -> float:
    """Return the most common distance of spectral peaks from the nearest semitone, of the louder half of all peaks.

    Parameters
    ----------
    magnitudes : blocks of frames of a short-time Fourier transform, each float32 (1 + n_fft // 2, frames)
    sample_rate : Hz
    n_fft : samples in a frame

    Returns
    -------
    Semitones, a multiple of 0.01 from -0.5 to 0.48; 0 without peaks

    """
    hz = sample_rate / n_fft
    first, end = int(np.ceil(FMIN / hz)), int(np.ceil(min(FMAX, sample_rate / 2) / hz))
    found = [_peaks(block, max(first, 1), end) for block in magnitudes]
    bins, heights = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if len(bins) == 0:
        return 0.0
    loud = bins[heights >= np.median(heights)]
    distance = np.remainder(12 * np.log2(loud * (hz / 440.0)), 1.0)
    distance[distance >= 0.5] -= 1.0
    counts, edges = np.histogram(distance, np.linspace(-0.5, 0.49, 100))
    return float(edges[np.argmax(counts)])


@numba.njit(cache=True, nogil=True)
def _peaks(magnitude: np.ndarray, first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Return position (in bins) and height of parabolas through the local maxima from bin ``first`` ≥ 1 to ``end``."""
    n, frames = magnitude.shape
    loudest = np.zeros(frames, np.float32)
    for b in range(n):
        row = magnitude[b]
        for f in range(frames):
            loudest[f] = row[f] if row[f] > loudest[f] else loudest[f]
    most = frames * (max(0, end - first) + 1) // 2  # of two neighbors, only one is a maximum
    places, heights = np.empty(most), np.empty(most, np.float32)
    count = 0
    for b in range(first, end):
        below, here, above = magnitude[b - 1], magnitude[b], magnitude[b + 1]
        for f in range(frames):
            if here[f] > np.float32(THRESHOLD) * loudest[f] and here[f] > below[f] and here[f] >= above[f]:
                slope = np.float32(0.5) * (above[f] - below[f])
                shift = slope / (2 * here[f] - above[f] - below[f])
                places[count] = b + shift
                heights[count] = here[f] + np.float32(0.5) * slope * shift
                count += 1
    return places[:count], heights[:count]
