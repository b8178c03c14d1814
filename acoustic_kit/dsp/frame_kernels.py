"""Kernels that measure blocks of frames of a spectrogram, shared by the presets of ``Stats``.

In each, `start` is the block's first frame, and the innermost loop runs over the frames of the block.
"""

import numba
import numpy as np

from acoustic_kit.dsp.mel_parameters import AMIN

SLOPE_REACH = 4  # frames to each side; librosa's width of 9
FLATNESS_GROUP = 8  # bins multiplied before a logarithm is taken: 1e-10 ** 8 and 1e26 ** 8 fit a float64


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def write_moments(
    magnitude: np.ndarray, frequencies: np.ndarray, centroid: np.ndarray, bandwidth: np.ndarray, start: int
) -> None:
    """Write mean and standard deviation of frequency, weighted by magnitude (bins, frames); 0 Hz for silent frames."""
    bins, n = magnitude.shape
    total, mean, spread = np.zeros(n), np.zeros(n), np.zeros(n)
    for b in range(bins):
        row, frequency = magnitude[b], frequencies[b]
        for f in range(n):
            total[f] += row[f]
            mean[f] += frequency * row[f]
    for f in range(n):
        total[f] = max(total[f], 1e-300)
        mean[f] /= total[f]
    for b in range(bins):
        row, frequency = magnitude[b], frequencies[b]
        for f in range(n):
            spread[f] += row[f] * (frequency - mean[f]) ** 2
    for f in range(n):
        centroid[start + f] = mean[f]
        bandwidth[start + f] = np.sqrt(spread[f] / total[f])


@numba.njit(cache=True, nogil=True)
def write_rolloff(magnitude: np.ndarray, frequencies: np.ndarray, rolloff: np.ndarray, start: int) -> None:
    """Write the frequency below which 85 % of the magnitude is; sums have librosa's type and order, to find its bin."""
    bins, n = magnitude.shape
    total, threshold, below = np.zeros(n, np.float32), np.zeros(n, np.float32), np.zeros(n, np.int32)
    for b in range(bins):
        row = magnitude[b]
        for f in range(n):
            total[f] += row[f]
    for f in range(n):
        threshold[f] = np.float32(0.85) * total[f]
        total[f] = 0.0
    for b in range(bins):
        row = magnitude[b]
        for f in range(n):
            total[f] += row[f]
            below[f] += total[f] < threshold[f]
    for f in range(n):
        rolloff[start + f] = frequencies[below[f]]


@numba.njit(cache=True, nogil=True)
def write_flatness_terms(power: np.ndarray, products: np.ndarray, total: np.ndarray) -> None:
    """Write products of the power of FLATNESS_GROUP bins (groups, frames), and the sum of all (frames,), of one block.

    Power counts as AMIN at least. ``products`` and ``total`` may have more frames than ``power``.
    """
    bins, n = power.shape
    totals = total[:n]
    totals[:] = 0.0
    for b in range(bins):
        row, product = power[b], products[b // FLATNESS_GROUP, :n]
        if b % FLATNESS_GROUP == 0:
            product[:] = 1.0
        for f in range(n):
            value = row[f] if row[f] > AMIN else AMIN
            product[f] *= value
            totals[f] += value


@numba.njit(cache=True, nogil=True)
def write_slopes(rows: np.ndarray, slopes: np.ndarray) -> None:
    """Write the slopes of lines through 2 · SLOPE_REACH + 1 frames of each row; the outermost frames are repeated.

    Both are float32 (rows, frames), and every operation is rounded to float32.
    """
    n_rows, n = rows.shape
    squares = np.float32(SLOPE_REACH * (SLOPE_REACH + 1) * (2 * SLOPE_REACH + 1) // 3)
    padded = np.empty(n + 2 * SLOPE_REACH, np.float32)
    for r in range(n_rows):
        padded[:SLOPE_REACH], padded[SLOPE_REACH : SLOPE_REACH + n] = rows[r, 0], rows[r]
        padded[SLOPE_REACH + n :] = rows[r, n - 1]
        slope = slopes[r]
        slope[:] = 0.0
        for k in range(1, SLOPE_REACH + 1):
            later, earlier = padded[SLOPE_REACH + k :], padded[SLOPE_REACH - k :]
            for f in range(n):
                slope[f] += np.float32(k) * (later[f] - earlier[f])
        for f in range(n):
            slope[f] /= squares


@numba.njit(cache=True, nogil=True)
def write_extremes(magnitude: np.ndarray, bands: np.ndarray, extremes: np.ndarray, start: int) -> None:
    """Write the mean of the largest and of the smallest bins of each band into float32 (2, bands, frames).

    Each frame has a sorted list; the lists are stored side by side, and each bin is inserted into all of them at once.
    The negated magnitudes are beside the magnitudes, so that the same pass finds the smallest ones.
    """
    n = magnitude.shape[1]
    value = np.empty(2 * n, np.float32)
    for band in range(len(bands)):
        first, end, count = bands[band]
        largest = np.full((count, 2 * n), -np.inf, np.float32)
        for b in range(first, end):
            value[:n] = magnitude[b]
            value[n:] = -magnitude[b]
            for j in range(count):
                kept = largest[j]
                for f in range(2 * n):
                    old, new = kept[f], value[f]
                    kept[f] = new if new > old else old
                    value[f] = old if new > old else new
        for f in range(n):
            extremes[0, band, start + f] = largest[:, f].sum() / count
            extremes[1, band, start + f] = -largest[:, n + f].sum() / count


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def write_time_domain(
    wave: np.ndarray, frame_length: int, hop_length: int, rms: np.ndarray, crossings: np.ndarray
) -> None:
    """Write root mean square, and fraction of samples with a sign change (±1e-10 counts as zero, zero as positive)."""
    n = len(wave)
    for t in range(len(rms)):
        center = t * hop_length
        frame = wave[max(0, center - frame_length // 2) : min(n, center + frame_length // 2)]
        energy, changes = 0.0, 0
        for i in range(len(frame)):
            energy += np.float64(frame[i]) * frame[i]
        for i in range(1, len(frame)):
            changes += (frame[i] < np.float32(-1e-10)) != (frame[i - 1] < np.float32(-1e-10))
        rms[t] = np.sqrt(energy / frame_length)
        crossings[t] = changes / frame_length
