"""Chroma from a constant-Q transform, and the tonal centroids that follow from it, as in librosa 0.6.2.

J. Brown, Calculation of a constant Q spectral transform, JASA 1991; C. Schörkhuber and A. Klapuri, Constant-Q
transform toolbox for music processing, SMC 2010: one octave's filters serve all octaves, as each octave has half the
sample rate of the one above. librosa multiplies a filter's spectrum with that of each frame and sums over the bins;
here the same sum is computed over the samples of the frame, which needs no transform.

librosa 0.11 differs: its filters are 3 % longer, and another filter halves the sample rate.
"""

import math
from collections.abc import Iterator
from functools import cache, lru_cache

import numba
import numpy as np

FMIN = 440.0 * 2.0 ** (-45 / 12)  # Hz: C1
OCTAVES = 7
NOTES = 12  # filters in an octave
Q = 1.0 / (2.0 ** (1 / NOTES) - 1.0)  # a filter's frequency by its width
REACH = 2.0 ** ((NOTES - 1) / NOTES) * (1.0 + 0.75009 / Q)  # upper end of an octave's uppermost filter by its lowest
SPARSITY = 0.01  # of the sum over a filter's spectrum is left out, in the smallest bins
PASS_BAND = 0.85  # of half the lower sample rate: the edge of the filter that halves the rate
_ZEROS, _BETA = 16, 8.555504641634386  # zero crossings of its sinc to each side; of its Kaiser window


def constant_q_chroma(wave: np.ndarray, sample_rate: int, hop_length: int, tuning: float) -> np.ndarray:
    """Return the magnitude of the pitch classes C … B over seven octaves from C1, each frame divided by its sum.

    Octaves that reach beyond half the sample rate are left out.

    Parameters
    ----------
    wave : float32 (n,), n ≥ 1
    sample_rate : Hz, at least 1000
    hop_length : samples from one frame to the next, a multiple of 512
    tuning : semitones by which the pitches are above those of A = 440 Hz

    Returns
    -------
    float32 (12, 1 + n // hop_length), 0 to 1; frames of silence are 0. If n is one sample short of another frame,
    halving the sample rate may complete it

    """
    chroma, done = np.zeros((NOTES, 0), np.float32), 0
    for octave, halvings in _octaves(sample_rate):
        for _ in range(halvings - done):
            wave = halve_rate(wave)
        done = halvings
        rate, hop = sample_rate / 2**done, hop_length // 2**done
        if chroma.size == 0:
            chroma = np.zeros((NOTES, 1 + len(wave) // hop), np.float32)
        lowest = FMIN * 2.0 ** (octave + tuning / NOTES)
        filters = _octave_filters(lowest / rate)
        padded = np.pad(wave, filters.shape[2] // 2, mode="reflect")
        _add_magnitudes(padded, filters, hop, np.float32(1 / math.sqrt(rate)), chroma)
    total = chroma.sum(axis=0)
    return chroma / np.where(total < np.finfo(np.float32).tiny, np.float32(1), total)


def tonal_centroids(chroma: np.ndarray) -> np.ndarray:
    """Return each frame's position on the circles of fifths, minor and major thirds, as ``librosa.feature.tonnetz``.

    C. Harte, M. Sandler and M. Gasser, Detecting harmonic change in musical audio, AMCMM 2006.

    Parameters
    ----------
    chroma : float32 (12, frames), each frame of sum 1

    Returns
    -------
    float32 (6, frames), -1 to 1: sine and cosine on each circle, the last of which has radius ½

    """
    turns = np.outer([7 / 6, 7 / 6, 3 / 2, 3 / 2, 2 / 3, 2 / 3], np.arange(NOTES))
    turns[::2] -= 0.5  # a sine
    circles = np.array([[1.0], [1], [1], [1], [0.5], [0.5]]) * np.cos(np.pi * turns)
    centroids: np.ndarray = np.einsum("ck,kf->cf", circles.astype(np.float32), chroma)
    return centroids


def halve_rate(wave: np.ndarray) -> np.ndarray:
    """Return every other sample of float32 (n,) after a low-pass of 63 taps: float32 (⌈n / 2⌉,).

    The filter is resampy's ``kaiser_fast``. As in librosa, the last sample is 0 if n is odd.
    """
    n = len(wave)
    padded = np.zeros(2 * (n // 2 + 2 * _ZEROS), np.float32)
    padded[2 * _ZEROS : 2 * _ZEROS + n] = wave
    halved = np.zeros(-(-n // 2), np.float32)
    _decimate(np.ascontiguousarray(padded[::2]), np.ascontiguousarray(padded[1::2]), _low_pass(), halved[: n // 2])
    return halved


def _octaves(sample_rate: int) -> Iterator[tuple[int, int]]:
    """Yield the octaves, uppermost first, and how often the sample rate is halved before each."""
    nyquist = sample_rate / 2
    top = max(octave for octave in range(OCTAVES) if FMIN * 2.0**octave * REACH <= nyquist)
    room = math.log2(PASS_BAND * nyquist / (FMIN * 2.0**top * REACH))
    early = min(10 - OCTAVES, max(0, math.ceil(room) - 2))  # librosa keeps an octave free, and hops integer
    for octave in range(top, -1, -1):
        below = top - octave
        yield octave, early + (below if room > 0 else max(0, below - 1))


@lru_cache(maxsize=128)  # tunings
def _octave_filters(lowest: float) -> np.ndarray:
    """Return real and imaginary parts of an octave's filters: float32 (2, 12, samples), a power of two of samples.

    Each is a complex tone under a Hann window of Q periods, scaled by the root of its length, of which the positive
    frequencies are kept, except the smallest bins. ``lowest`` is the frequency of the first, as a fraction of the rate.
    """
    frequencies = lowest * 2.0 ** (np.arange(NOTES) / NOTES)
    n = 2 ** math.ceil(math.log2(Q / lowest))
    filters = np.empty((NOTES, n), np.complex128)
    for k, frequency in enumerate(frequencies):
        length = Q / frequency
        t = np.arange(-length // 2, length // 2)
        tone = np.exp(2j * np.pi * frequency * t) * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(len(t)) / len(t)))
        start = (n - len(t)) // 2
        padded = np.zeros(n, np.complex128)
        padded[start : start + len(t)] = tone * math.sqrt(length) / np.abs(tone).sum()
        # The sum over bins of a filter's times a frame's spectrum is that over samples of this transform times frame.
        filters[k] = np.fft.fft(_sparse(np.fft.fft(padded)[: n // 2 + 1]), n)
    return np.stack([filters.real, filters.imag]).astype(np.float32)


def _sparse(spectrum: np.ndarray) -> np.ndarray:
    """Set to 0 the smallest bins, which together make up less than SPARSITY of the sum of magnitudes."""
    magnitude = np.abs(spectrum)
    order = np.sort(magnitude)
    smallest_kept = order[np.argmin(np.cumsum(order / magnitude.sum()) < SPARSITY)]
    return np.where(magnitude >= smallest_kept, spectrum, 0)


@cache
def _low_pass() -> np.ndarray:
    """Return the upper half of the taps: float32 (32,)."""
    lag = np.arange(2 * _ZEROS) / 2  # in samples of the lower rate
    window = np.i0(_BETA * np.sqrt(1 - (lag / _ZEROS) ** 2)) / np.i0(_BETA)
    taps: np.ndarray = 0.5 * PASS_BAND * np.sinc(PASS_BAND * lag) * window
    return taps.astype(np.float32)


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _decimate(even: np.ndarray, odd: np.ndarray, taps: np.ndarray, halved: np.ndarray) -> None:
    """Filter every other sample symmetrically; ``even`` and ``odd`` samples have ``len(taps) // 2`` zeros in front."""
    reach = len(taps) // 2
    n = len(halved)
    for start in range(0, n, 512):
        out = halved[start : start + 512]
        first = start + reach
        center = even[first : first + len(out)]
        for t in range(len(out)):
            out[t] = taps[0] * center[t]
        for k in range(reach):  # taps 2 k + 1, and 2 k + 2 if it exists
            before, after = odd[first - k - 1 :], odd[first + k :]
            wide = taps[2 * k + 2] if 2 * k + 2 < len(taps) else np.float32(0)
            earlier, later = even[first - k - 1 :], even[first + k + 1 :]
            tap = taps[2 * k + 1]
            for t in range(len(out)):
                out[t] += tap * (before[t] + after[t]) + wide * (earlier[t] + later[t])


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _add_magnitudes(padded: np.ndarray, filters: np.ndarray, hop: int, scale: np.float32, chroma: np.ndarray) -> None:
    """Add the magnitude of each filter's response, real (2, 12, samples), to ``chroma`` (12, frames)."""
    n = filters.shape[2]
    for t in range(chroma.shape[1]):
        frame = padded[t * hop : t * hop + n]
        for k in range(filters.shape[1]):
            cosine, sine = filters[0, k], filters[1, k]
            real, imaginary = np.float32(0), np.float32(0)
            for i in range(n):
                real += frame[i] * cosine[i]
                imaginary += frame[i] * sine[i]
            chroma[k, t] += scale * np.sqrt(real * real + imaginary * imaginary)
