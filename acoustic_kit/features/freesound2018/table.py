"""The table of 1,133 numbers a clip of Freesound 2018's eighth place, in its four blocks.

The original is code of S. Adapa (github.com/sainathadapa/kaggle-freesound-audio-tagging), on librosa 0.6.2. The spectra
of block A are of 2048 samples every 512, with the wave reflected at its ends. Their FFT is in float64: with a float32
one, 7 % of the numbers on contrast and of the minima of mel bands would be inaccurate by more than 1e-3.
"""

import numpy as np

from acoustic_kit.dsp.filterbanks import chroma_filters, contrast_bands, dct_filters, fft_frequencies, mel_filters
from acoustic_kit.dsp.frame_features import by_maximum
from acoustic_kit.dsp.frame_kernels import write_extremes, write_moments, write_rolloff, write_time_domain
from acoustic_kit.dsp.spectrum import apply_filters, power_blocks, power_to_db
from acoustic_kit.dsp.statistics import STATISTICS, summarize
from acoustic_kit.features.freesound2018 import clip_parts, envelope, mean_spectrum
from acoustic_kit.features.freesound2018.constant_q import constant_q_chroma, tonal_centroids
from acoustic_kit.features.freesound2018.harmonic import harmonic_part
from acoustic_kit.features.freesound2018.stft import stft
from acoustic_kit.features.freesound2018.tuning import estimate_tuning

N_FFT = 2048
HOP_LENGTH = 512
FAMILIES = {  # rows of each; all but the last two are computed from magnitudes
    "mel": 128,
    "mfcc": 40,
    "chroma": 12,
    "contrast": 7,
    "rolloff": 1,
    "centroid": 1,
    "bandwidth": 1,
    "tonnetz": 6,
    "zcr": 1,
}
FRAME_STATISTICS = ("mean", "std", "skew", "max", "min")
COLUMNS = (  # in the original's order
    *(
        f"{family}_{row:03d}_{statistic}"
        for family, rows in FAMILIES.items()
        for statistic in FRAME_STATISTICS
        for row in range(rows)
    ),
    *envelope.COLUMNS,
    *mean_spectrum.COLUMNS,
    *clip_parts.COLUMNS,
)
_INDICES = [STATISTICS.index(statistic) for statistic in FRAME_STATISTICS]
_BLOCK = 128  # frames


def freesound_table(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the table's row for one clip.

    Parameters
    ----------
    wave : float32 (n,), n ≥ 1, finite
    sample_rate : Hz, at least 1000

    Returns
    -------
    float32 (1133,), finite, by ``COLUMNS``

    Raises
    ------
    AkitError
        ``wave`` is empty or not finite.

    """
    wave = np.ascontiguousarray(wave, dtype=np.float32)
    frames = [summarize(rows)[:, _INDICES].T.ravel() for rows in freesound_rows(wave, sample_rate).values()]
    blocks = [envelope.envelope_statistics, mean_spectrum.spectrum_statistics, clip_parts.part_statistics]
    return np.concatenate([*frames, *(block(wave) for block in blocks)]).astype(np.float32)


def freesound_rows(wave: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
    """Return the families of block A, measured frame by frame.

    Parameters
    ----------
    wave : float32 (n,), n ≥ 1, finite
    sample_rate : Hz, at least 1000

    Returns
    -------
    float32 (rows, frames) by family, rows as in ``FAMILIES``: ``mel`` (of magnitudes, not in dB), ``mfcc`` (of all
    magnitudes as they are), ``chroma`` (0 to 1, C first), ``contrast`` (dB; 0 in octaves above half the sample rate),
    ``rolloff``, ``centroid`` and ``bandwidth`` (Hz), ``tonnetz`` (of the harmonic part), ``zcr`` (fraction of samples)

    """
    spectra, magnitude = stft(wave, N_FFT, HOP_LENGTH)
    return {
        **_spectral_rows(magnitude, sample_rate),
        "tonnetz": _tonnetz(spectra, magnitude, len(wave), sample_rate),
        "zcr": _zero_crossing_rate(wave),
    }


def _spectral_rows(magnitude: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
    frames = magnitude.shape[1]
    tuning = estimate_tuning([magnitude], sample_rate, N_FFT)
    banks = {
        "mel": mel_filters(sample_rate, N_FFT, FAMILIES["mel"], 0.0, sample_rate / 2),
        "mfcc": dct_filters(FAMILIES["mfcc"], len(magnitude)),
        "chroma": chroma_filters(sample_rate, N_FFT, tuning),
    }
    rows = {family: np.zeros((FAMILIES[family], frames), np.float32) for family in list(FAMILIES)[:-2]}
    bands, frequencies = contrast_bands(sample_rate, N_FFT), fft_frequencies(sample_rate, N_FFT)
    extremes = np.empty((2, len(bands), frames), np.float32)
    for start in range(0, frames, _BLOCK):
        block = np.ascontiguousarray(magnitude[:, start : start + _BLOCK])
        for family, bank in banks.items():
            apply_filters(block, *bank, rows[family], start)
        write_rolloff(block, frequencies, rows["rolloff"][0], start)
        write_moments(block, frequencies, rows["centroid"][0], rows["bandwidth"][0], start)
        write_extremes(block, bands, extremes, start)
    rows["chroma"] = by_maximum(rows["chroma"])
    peaks, valleys = extremes
    rows["contrast"][: len(bands)] = power_to_db(peaks) - power_to_db(valleys)
    return rows


def _tonnetz(spectra: np.ndarray, magnitude: np.ndarray, n: int, sample_rate: int) -> np.ndarray:
    harmonic = harmonic_part(spectra, magnitude, HOP_LENGTH, n)
    harmonic[HOP_LENGTH * (magnitude.shape[1] - 1) :] = 0  # after the last frame's center, as in librosa 0.6.2
    harmonic /= 64  # it may exceed the loudest valid wave 40 times; only ratios matter below
    blocks = power_blocks(harmonic, N_FFT, HOP_LENGTH, "reflect")
    tuning = estimate_tuning((np.sqrt(power) for _, power in blocks), sample_rate, N_FFT)
    return tonal_centroids(constant_q_chroma(harmonic, sample_rate, HOP_LENGTH, tuning))


def _zero_crossing_rate(wave: np.ndarray) -> np.ndarray:
    rms, crossings = np.empty((2, 1, 1 + len(wave) // HOP_LENGTH), np.float32)
    write_time_domain(wave, N_FFT, HOP_LENGTH, rms[0], crossings[0])
    return crossings
