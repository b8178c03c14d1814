"""Matrices that turn a power spectrum into bands: mel, chroma, cosine transform, contrast bands.

Values are those of librosa 0.11. Only numpy is used.
"""

import math
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

# Slaney's mel scale: linear up to 1 kHz, logarithmic above (M. Slaney, Auditory Toolbox, Interval Research 1998-010).
_HZ_PER_MEL = 200.0 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27


MelScale = Literal["slaney", "htk"]


class FilterBank(NamedTuple):
    """Filters, and the range of bins in which each is nonzero."""

    weights: np.ndarray  # float32 (bands, 1 + n_fft // 2)
    first: np.ndarray  # int64 (bands,): first bin
    end: np.ndarray  # int64 (bands,): one past the last bin; 0 if the filter is all zeros


@lru_cache(maxsize=16)
def fft_frequencies(sample_rate: int, n_fft: int) -> np.ndarray:
    """Return the center of each bin of a real FFT: float64 (1 + n_fft // 2,), Hz."""
    return np.fft.rfftfreq(n_fft, 1.0 / sample_rate)


def hz_to_mel(hz: float) -> float:
    """Return Slaney's mel of a frequency in Hz, ≥ 0."""
    return hz / _HZ_PER_MEL if hz < _BREAK_HZ else _BREAK_MEL + math.log(hz / _BREAK_HZ) / _LOG_STEP


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """Return the frequencies in Hz of Slaney's mels, float64 of any shape."""
    logarithmic = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, _HZ_PER_MEL * mel, logarithmic)


def hz_to_htk(hz: float) -> float:
    """Return HTK's mel of a frequency in Hz, ≥ 0 (O'Shaughnessy 1987)."""
    return 2595.0 * math.log10(1.0 + hz / 700.0)


def htk_to_hz(mel: np.ndarray) -> np.ndarray:
    """Return the frequencies in Hz of HTK's mels, float64 of any shape."""
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


@lru_cache(maxsize=16)
def mel_filters(
    sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float, mel_scale: MelScale = "slaney"
) -> FilterBank:
    """Return triangles evenly spaced on a mel scale: Slaney's, each of equal area, or HTK's, each of height one.

    The first is librosa's default, the second torchaudio's. A filter narrower than a bin may be all zeros.
    ``fmin`` < ``fmax`` ≤ ``sample_rate`` / 2, in Hz.
    """
    if mel_scale == "htk":
        edges = htk_to_hz(np.linspace(hz_to_htk(fmin), hz_to_htk(fmax), n_mels + 2))[:, None]
    else:
        edges = mel_to_hz(np.linspace(hz_to_mel(fmin), hz_to_mel(fmax), n_mels + 2))[:, None]
    frequencies = fft_frequencies(sample_rate, n_fft)
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    height = 1.0 if mel_scale == "htk" else 2.0 / (edges[2:] - edges[:-2])
    return filter_bank(np.maximum(0.0, np.minimum(rising, falling)) * height)


@lru_cache(maxsize=128)
def chroma_filters(sample_rate: int, n_fft: int, tuning: float = 0.0) -> FilterBank:
    """Return the weight of each bin in the 12 pitch classes C … B, ``tuning`` semitones above those of A = 440 Hz.

    Each bin's weights are a Gaussian around its pitch, as wide as the bin, of unit Euclidean norm, weighted by a
    Gaussian over octaves (center: octave 5, width 2), after D. Ellis, chroma features, 2007.
    """
    n = 12
    frequencies = np.linspace(0, sample_rate, n_fft, endpoint=False)[1:]
    pitch = n * np.log2(frequencies / (440.0 / 16)) - tuning  # semitones above A0
    pitch = np.concatenate(([pitch[0] - 1.5 * n], pitch))  # bin 0 has no pitch: 1.5 octaves below bin 1, as in librosa
    width = np.concatenate((np.maximum(np.diff(pitch), 1.0), [1.0]))
    distance = np.remainder(pitch - np.arange(n)[:, None] + n / 2 + 10 * n, n) - n / 2
    weights = np.exp(-0.5 * (2 * distance / width) ** 2)
    weights /= np.sqrt((weights**2).sum(axis=0))
    weights *= np.exp(-0.5 * ((pitch / n - 5.0) / 2.0) ** 2)
    return filter_bank(np.roll(weights, -3, axis=0)[:, : 1 + n_fft // 2])  # start at C instead of A


def filter_bank(weights: np.ndarray) -> FilterBank:
    """Return filters with the given weights, real (bands, 1 + n_fft // 2)."""
    weights = np.ascontiguousarray(weights, dtype=np.float32)
    used = weights > 0
    end = np.where(used.any(axis=1), used.shape[1] - used[:, ::-1].argmax(axis=1), 0)
    return FilterBank(weights, used.argmax(axis=1), end)


def dct_basis(n_coefficients: int, n_bands: int) -> np.ndarray:
    """Return the first rows of the orthonormal DCT-II: float32 (n_coefficients, n_bands)."""
    k, band = np.arange(n_coefficients)[:, None], np.arange(n_bands)[None, :]
    basis = np.sqrt(2.0 / n_bands) * np.cos(np.pi * k * (band + 0.5) / n_bands)
    basis[0] /= np.sqrt(2.0)
    return np.asarray(basis, dtype=np.float32)


@lru_cache(maxsize=16)
def dct_filters(n_coefficients: int, n_bands: int) -> FilterBank:
    """Return ``dct_basis`` as filters, each of which covers all bands."""
    every = np.zeros(n_coefficients, dtype=np.int64)
    return FilterBank(dct_basis(n_coefficients, n_bands), every, every + n_bands)


@lru_cache(maxsize=16)
def contrast_bands(sample_rate: int, n_fft: int, fmin: float = 200.0, n_octaves: int = 6) -> np.ndarray:
    """Return the bins of the octave bands of spectral contrast, as in ``librosa.feature.spectral_contrast``.

    The lowest band ends at ``fmin`` Hz, the others are octaves above it; the uppermost ends at Nyquist. Octaves that
    begin at or above Nyquist are left out. Every band has at least one bin.

    Returns
    -------
    int64 (bands, 3): first bin, end bin, and how many bins make up the band's peak and its valley (2 %, at least one)

    """
    frequencies = fft_frequencies(sample_rate, n_fft)
    n_octaves = sum(fmin * 2.0**k < sample_rate / 2 for k in range(n_octaves))
    edges = [0.0, *(fmin * 2.0**k for k in range(n_octaves + 1))]
    bands = []
    for k in range(n_octaves + 1):
        # librosa also takes the bin below each octave, and leaves out the last bin of all bands but the uppermost.
        first = int(np.searchsorted(frequencies, edges[k], "left")) - (k > 0)
        top = k == n_octaves
        end = len(frequencies) if top else int(np.searchsorted(frequencies, edges[k + 1], "right"))
        extreme = max(1, int(np.rint(0.02 * (end - first))))
        bands.append((first, end if top else max(first + 1, end - 1), extreme))
    return np.array(bands, dtype=np.int64)
