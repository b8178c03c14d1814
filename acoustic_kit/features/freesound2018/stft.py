"""The short-time Fourier transform of a whole clip with phases, and its inverse.

``spectrum.power_blocks``, for features of the power, keeps neither phases nor more than a block of frames, and its FFT
is in float32. This one is in float64, and rounded to float32 afterwards, as in librosa.
"""

import numba
import numpy as np
import scipy.fft

from acoustic_kit.dsp.sound_file import check_wave
from acoustic_kit.dsp.spectrum import BLOCK, frame_count, hann


def stft(wave: np.ndarray, n_fft: int, hop_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the spectra of centered frames under a periodic Hann window; the wave is reflected at its ends.

    Parameters
    ----------
    wave : float32 (n,), n ≥ 1, finite
    n_fft : even, samples in a frame
    hop_length : samples from one frame to the next

    Returns
    -------
    The spectra, complex64, and their magnitudes, float32, both (1 + n_fft // 2, 1 + n // hop_length)

    Raises
    ------
    AkitError
        ``wave`` is empty or not finite.

    """
    check_wave(wave)
    padded = np.pad(wave.astype(np.float32, copy=False), n_fft // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop_length]
    shape = (1 + n_fft // 2, frame_count(len(wave), hop_length))
    spectra, magnitude = np.empty(shape, np.complex64), np.empty(shape, np.float32)
    window, windowed = hann(n_fft), np.empty((BLOCK, n_fft))
    for start in range(0, len(frames), BLOCK):
        block = frames[start : start + BLOCK]
        np.multiply(block, window, out=windowed[: len(block)])
        _keep(scipy.fft.rfft(windowed[: len(block)]), spectra, magnitude, start)
    return spectra, magnitude


def istft(spectra: np.ndarray, weights: np.ndarray, hop_length: int, n: int) -> np.ndarray:
    """Return the wave whose spectra are closest to ``weights`` times ``spectra``, as ``librosa.istft``.

    The inverse FFT is in float32.

    Parameters
    ----------
    spectra : complex64 (1 + n_fft // 2, frames), as from ``stft``
    weights : float32 of the same shape
    n : samples of the wave, at most hop_length · frames

    Returns
    -------
    float32 (n,)

    """
    bins, frames = spectra.shape
    n_fft = 2 * (bins - 1)
    window = hann(n_fft).astype(np.float32)
    length = n_fft + hop_length * (frames - 1)
    wave, squares = np.zeros(length, np.float32), np.zeros(length, np.float32)
    weighted = np.empty((BLOCK, bins), np.complex64)
    for start in range(0, frames, BLOCK):
        count = min(BLOCK, frames - start)
        _weigh(spectra, weights, weighted[:count], start)
        _overlap_add(scipy.fft.irfft(weighted[:count], n_fft), window, wave, squares, start * hop_length, hop_length)
    inside = slice(n_fft // 2, n_fft // 2 + n)
    return wave[inside] / np.maximum(squares[inside], np.finfo(np.float32).tiny)


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _keep(block: np.ndarray, spectra: np.ndarray, magnitude: np.ndarray, start: int) -> None:
    """Write complex128 (frames, bins) and its magnitude, rounded, to the columns of two arrays from ``start`` on."""
    n, bins = block.shape
    for b in range(bins):
        kept, size = spectra[b, start : start + n], magnitude[b, start : start + n]
        for f in range(n):
            value = block[f, b]
            kept[f] = value
            size[f] = np.sqrt(value.real * value.real + value.imag * value.imag)


@numba.njit(cache=True, nogil=True)
def _weigh(spectra: np.ndarray, weights: np.ndarray, weighted: np.ndarray, start: int) -> None:
    """Write weighted columns, from ``start`` on, transposed, to complex64 (frames, bins)."""
    n, bins = weighted.shape
    for b in range(bins):
        spectrum, weight = spectra[b, start : start + n], weights[b, start : start + n]
        for f in range(n):
            weighted[f, b] = spectrum[f] * weight[f]


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _overlap_add(
    frames: np.ndarray, window: np.ndarray, wave: np.ndarray, squares: np.ndarray, start: int, hop_length: int
) -> None:
    """Add windowed float32 (frames, n_fft) to ``wave`` at their positions, and the squared windows to ``squares``."""
    for f in range(len(frames)):
        first = start + f * hop_length
        frame = frames[f]
        sums, weights = wave[first : first + len(window)], squares[first : first + len(window)]
        for i in range(len(window)):
            sums[i] += window[i] * frame[i]
            weights[i] += window[i] * window[i]
