"""The short-time spectrum that all spectral features share, computed in blocks of frames that fit the cache.

The FFT is in float32 by default. Arrays are (bins or bands, frames): frames are the inner, vectorized
axis of every kernel.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import numba
import numpy as np
import scipy.fft

from acoustic_kit.dsp.filterbanks import FilterBank
from acoustic_kit.dsp.mel_parameters import AMIN
from acoustic_kit.dsp.sound_file import check_wave

BLOCK = 32  # frames
PIECE = 256 * BLOCK  # frames of a long wave padded at once, to avoid a copy of the whole

PadMode = Literal["constant", "reflect"]
Precision = Literal["float32", "float64"]


def frame_count(n: int, hop_length: int) -> int:
    """Return the number of centered frames of ``n`` samples."""
    return 1 + n // hop_length


def power_blocks(
    wave: np.ndarray, n_fft: int, hop_length: int, pad_mode: PadMode = "constant", precision: Precision = "float32"
) -> Iterator[tuple[int, np.ndarray]]:
    """Compute power spectra |X|² of centered frames under a periodic Hann window, block by block.

    Parameters
    ----------
    wave : float32 (n,), n ≥ 1, finite
    n_fft : even, samples in a frame
    hop_length : samples from one frame to the next
    pad_mode : padding at both ends: ``constant`` (zeros) or ``reflect``
    precision : of the FFT; in float32, bins 70 dB below the frame's loudest are rounding errors

    Yields
    ------
    Index of the block's first frame, and float32 (1 + n_fft // 2, frames), at most BLOCK frames

    Raises
    ------
    AkitError
        ``wave`` is empty or not finite.

    """
    check_wave(wave)
    window = hann(n_fft).astype(precision, copy=False)
    windowed = np.empty((BLOCK, n_fft), dtype=precision)
    for first, padded in _padded_pieces(wave.astype(np.float32, copy=False), n_fft, hop_length, pad_mode):
        frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop_length]
        for start in range(0, len(frames), BLOCK):
            block = frames[start : start + BLOCK]
            np.multiply(block, window, out=windowed[: len(block)])
            # Transforming the transposed view is as fast, and gives contiguous (bins, frames).
            yield first + start, power_of(scipy.fft.rfft(windowed[: len(block)].T, axis=0))


def _padded_pieces(
    wave: np.ndarray, n_fft: int, hop_length: int, pad_mode: PadMode
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield a long wave in pieces: the index of the first frame, and the padded samples of this and later frames."""
    n, half = frame_count(len(wave), hop_length), n_fft // 2
    pieces = n // PIECE
    if pieces < 2:
        yield 0, np.pad(wave, half, mode=pad_mode)
        return
    for piece in range(pieces):
        first, last = piece * PIECE, (n if piece == pieces - 1 else (piece + 1) * PIECE) - 1
        start, end = first * hop_length - half, last * hop_length + n_fft - half
        around = max(0, -start), max(0, end - len(wave))
        yield first, np.pad(wave[max(0, start) : end], around, mode=pad_mode)


def mel_spectrogram(
    wave: np.ndarray,
    bank: FilterBank,
    n_fft: int,
    hop_length: int,
    pad_mode: PadMode = "constant",
    magnitude: bool = False,
    precision: Precision = "float32",
) -> np.ndarray:
    """Sum the power spectra of ``power_blocks``, or with ``magnitude`` their square roots, in the bands of ``bank``.

    Returns
    -------
    float32 (bands, 1 + n // hop_length)

    """
    mel = np.empty((len(bank.weights), frame_count(len(wave), hop_length)), dtype=np.float32)
    for start, power in power_blocks(wave, n_fft, hop_length, pad_mode, precision):
        apply_filters(np.sqrt(power, out=power) if magnitude else power, *bank, mel, start)
    return mel


@lru_cache(maxsize=16)
def hann(n: int) -> np.ndarray:
    """Return the periodic Hann window: float64 (n,)."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def power_of(spectrum: np.ndarray) -> np.ndarray:
    """Return |X|² of complex (bins, frames), C-contiguous: float32 of the same shape."""
    power = np.empty(spectrum.shape, dtype=np.float32)
    flat_spectrum, flat_power = spectrum.reshape(-1), power.reshape(-1)
    for i in range(len(flat_power)):
        value = flat_spectrum[i]
        flat_power[i] = value.real * value.real + value.imag * value.imag
    return power


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def apply_filters(
    power: np.ndarray, weights: np.ndarray, first: np.ndarray, end: np.ndarray, out: np.ndarray, start: int
) -> None:
    """Write ``weights @ power`` to the columns of ``out`` from ``start`` on; see ``filterbanks.FilterBank``.

    Four bins a round, so that sums are loaded and stored a quarter as often. Row views and a variable loop bound let
    the compiler vectorize over frames.
    """
    n = power.shape[1]
    for band in range(len(weights)):
        sums = out[band, start : start + n]
        sums[:] = 0.0
        w = weights[band]
        b = first[band]
        while b + 4 <= end[band]:
            w0, w1, w2, w3 = w[b], w[b + 1], w[b + 2], w[b + 3]
            p0, p1, p2, p3 = power[b], power[b + 1], power[b + 2], power[b + 3]
            for f in range(n):
                sums[f] += w0 * p0[f] + w1 * p1[f] + w2 * p2[f] + w3 * p3[f]
            b += 4
        while b < end[band]:
            w0, p0 = w[b], power[b]
            for f in range(n):
                sums[f] += w0 * p0[f]
            b += 1


def power_to_db(power: np.ndarray, top_db: float | None = 80.0) -> np.ndarray:
    """Turn float32 power into decibels re 1, cut off ``top_db`` below the maximum, as ``librosa.power_to_db``.

    Returns
    -------
    ``power`` itself, overwritten: of a clip of two hours, a copy is hundreds of megabytes

    """
    np.maximum(power, np.float32(AMIN), out=power)
    np.log10(power, out=power)
    power *= np.float32(10.0)
    return power if top_db is None else np.maximum(power, power.max() - np.float32(top_db), out=power)
