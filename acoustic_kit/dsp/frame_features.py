"""Features measured frame by frame: the families of ``Stats``.

Each family follows the function of librosa 0.11 that it is named after, with librosa's defaults; all of them share one
float32 FFT. On the same spectra they agree to 1e-6 of a family's maximum. In bins near silence a float32 FFT is
inaccurate: decibels, bandwidth and flatness by less than 1e-3, a few percent of contrast's values by some percent.
"""

import numpy as np

from acoustic_kit.dsp.filterbanks import chroma_filters, contrast_bands, dct_filters, fft_frequencies, mel_filters
from acoustic_kit.dsp.frame_kernels import (
    FLATNESS_GROUP,
    write_extremes,
    write_flatness_terms,
    write_moments,
    write_rolloff,
    write_slopes,
    write_time_domain,
)
from acoustic_kit.dsp.spectrum import BLOCK, apply_filters, frame_count, power_blocks, power_to_db

N_MELS = 128
N_MFCC = 20
N_CHROMA = 12


def basic_sizes(sample_rate: int, n_fft: int) -> dict[str, int]:
    """Return the number of rows of each family of ``basic_rows``, in its order."""
    return {
        "mel": N_MELS,
        "mfcc": N_MFCC,
        "mfcc_delta": N_MFCC,
        "centroid": 1,
        "bandwidth": 1,
        "rolloff": 1,
        "flatness": 1,
        "contrast": len(contrast_bands(sample_rate, n_fft)),
        "rms": 1,
        "zero_crossings": 1,
        "chroma": N_CHROMA,
    }


def basic_rows(wave: np.ndarray, sample_rate: int, n_fft: int, hop_length: int) -> dict[str, np.ndarray]:
    """Return the families of the preset ``basic``.

    Parameters
    ----------
    wave : float32 (n,), n ≥ 1, finite
    sample_rate : Hz
    n_fft : even, samples in a frame
    hop_length : samples from one frame to the next

    Returns
    -------
    float32 (rows, 1 + n // hop_length) by family: ``mel`` (dB, at most 80 below the maximum), ``mfcc`` and its slope
    ``mfcc_delta`` (per frame), ``centroid``, ``bandwidth`` and ``rolloff`` (Hz), ``flatness`` (0 to 1), ``contrast``
    (dB), ``rms`` (full scale 1), ``zero_crossings`` (fraction of samples) and ``chroma`` (0 to 1, C first)

    Raises
    ------
    AkitError
        ``wave`` is empty or not finite.

    """
    wave = np.ascontiguousarray(wave, dtype=np.float32)
    frames = frame_count(len(wave), hop_length)
    mel_bank = mel_filters(sample_rate, n_fft, N_MELS, 0.0, sample_rate / 2)
    chroma_bank = chroma_filters(sample_rate, n_fft)
    frequencies = fft_frequencies(sample_rate, n_fft)
    bands = contrast_bands(sample_rate, n_fft)

    mel = np.empty((N_MELS, frames), dtype=np.float32)
    chroma = np.empty((N_CHROMA, frames), dtype=np.float32)
    centroid, bandwidth, rolloff, flatness, rms, crossings = np.empty((6, 1, frames), dtype=np.float32)
    extremes = np.empty((2, len(bands), frames), dtype=np.float32)
    width = min(BLOCK, frames)  # also for a shorter last block, so that numpy sums its columns in the same order
    products, total = np.ones((-(-len(frequencies) // FLATNESS_GROUP), width)), np.ones(width)
    for start, power in power_blocks(wave, n_fft, hop_length):
        magnitude = np.sqrt(power)
        apply_filters(power, *mel_bank, mel, start)
        apply_filters(power, *chroma_bank, chroma, start)
        write_moments(magnitude, frequencies, centroid[0], bandwidth[0], start)
        write_rolloff(magnitude, frequencies, rolloff[0], start)
        write_flatness_terms(power, products, total)
        n = power.shape[1]
        flatness[0, start : start + n] = _flatness(products, total, len(frequencies))[:n]
        write_extremes(magnitude, bands, extremes, start)
    write_time_domain(wave, n_fft, hop_length, rms[0], crossings[0])

    decibels = power_to_db(mel)
    mfcc = _mfcc(decibels)
    peaks, valleys = extremes
    return {
        "mel": decibels,
        "mfcc": mfcc,
        "mfcc_delta": _delta(mfcc),
        "centroid": centroid,
        "bandwidth": bandwidth,
        "rolloff": rolloff,
        "flatness": flatness,
        "contrast": power_to_db(peaks) - power_to_db(valleys),
        "rms": rms,
        "zero_crossings": crossings,
        "chroma": by_maximum(chroma),
    }


def _mfcc(decibels: np.ndarray) -> np.ndarray:
    """Return the cepstral coefficients of a mel spectrogram in decibels: float32 (N_MFCC, frames)."""
    mfcc = np.empty((N_MFCC, decibels.shape[1]), dtype=np.float32)
    apply_filters(decibels, *dct_filters(N_MFCC, N_MELS), mfcc, 0)
    return mfcc


def _delta(rows: np.ndarray) -> np.ndarray:
    """Return the slope of the straight line through nine frames, per frame: float32 of the same shape.

    ``librosa.feature.delta(rows, width=9, mode="nearest")``, a Savitzky-Golay filter of order 1.
    """
    slopes = np.empty_like(rows)
    write_slopes(rows, slopes)
    return slopes


def _flatness(products: np.ndarray, total: np.ndarray, bins: int) -> np.ndarray:
    """Return the geometric mean of the power over its arithmetic mean: float64 (frames,)."""
    flatness: np.ndarray = np.exp(np.log(products).sum(axis=0) / bins) / (total / bins)
    return flatness


def by_maximum(rows: np.ndarray) -> np.ndarray:
    """Divide each frame by its maximum; frames of silence are unchanged."""
    maximum = rows.max(axis=0)
    normalized: np.ndarray = rows / np.where(maximum < np.finfo(np.float32).tiny, np.float32(1), maximum)
    return normalized
