"""Modulation of a sound: how fast, how much and how regularly its bands grow louder and softer."""

import math
from itertools import pairwise

import numpy as np

EDGES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 80.0)  # Hz, of the bands of modulation
PEAK = (4.0, 60.0)  # Hz; a rotors, engines, insects, calls
LAGS = (0.03, 0.25)  # s, periods of such beats
_FLOOR = 1e-6  # of a power relative to the square of the mean amplitude: -60 dB


def modulation_bands(frame_rate: float) -> int:
    """Return the number of bands of `EDGES` below half of the frame rate in Hz."""
    return sum(edge <= frame_rate / 2 for edge in EDGES[1:])


def modulation_spectrum(amplitude: np.ndarray, segment: int) -> np.ndarray:
    """Return the power spectrum of each band's amplitude relative to its mean (Welch's method).

    Segments overlap by half, under a periodic Hann window; a clip shorter than one is repeated to fill it.

    Parameters
    ----------
    amplitude : float (bands, frames), at least 0
    segment : frames, even

    Returns
    -------
    float64 (bands, 1 + segment // 2), at k · frame rate / segment Hz, the mean over segments; the sum over all
    frequencies is the relative variance

    """
    if amplitude.shape[1] < segment:
        amplitude = np.take(amplitude, np.arange(segment), axis=1, mode="wrap")
    parts = np.lib.stride_tricks.sliding_window_view(amplitude, segment, axis=1)[:, :: segment // 2]
    mean = parts.mean(axis=2, keepdims=True, dtype=np.float64)
    window = np.hanning(segment + 1)[:-1]
    spectrum = np.fft.rfft((parts - mean) / np.maximum(mean, 1e-7) * window, axis=2)
    power: np.ndarray = (np.abs(spectrum) ** 2).mean(axis=1) / np.square(window).sum()
    return power


def modulation_rows(amplitude: np.ndarray, frame_rate: float, seconds: float) -> np.ndarray:
    """Return numbers on the modulation of each band.

    Parameters
    ----------
    amplitude : float (bands, frames), at least 0
    frame_rate : Hz
    seconds : length of a segment, at least 2, see `modulation_spectrum`

    Returns
    -------
    float32 (bands, modulation_bands + 2): the natural logarithm of the mean power between neighboring `EDGES`; that of
    the maximum over the median power in `PEAK`, which is high if the band beats at one frequency; and the maximum of
    the autocorrelation at `LAGS`, from -1 to 1

    """
    segment = 2 * math.ceil(seconds * frame_rate / 2)  # of 2 s or more: no band of modulation is without a bin
    power = modulation_spectrum(amplitude, segment)
    hz = np.arange(power.shape[1]) * frame_rate / segment
    edges = EDGES[: 1 + modulation_bands(frame_rate)]
    bands = [power[:, (hz >= low) & (hz < high)].mean(axis=1) for low, high in pairwise(edges)]
    beats = np.log(power[:, (hz >= PEAK[0]) & (hz < PEAK[1])] + _FLOOR / 1000)
    peak = beats.max(axis=1) - np.median(beats, axis=1)
    correlation = np.fft.irfft(power, axis=1)
    lags = slice(int(LAGS[0] * frame_rate), int(LAGS[1] * frame_rate))
    regular = correlation[:, lags].max(axis=1) / np.maximum(correlation[:, 0], _FLOOR / 1000)
    return np.column_stack([np.log(np.column_stack(bands) + _FLOOR), peak, regular]).astype(np.float32)
