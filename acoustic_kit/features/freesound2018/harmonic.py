"""The harmonic part of a sound: components that are steady over frames and narrow in frequency.

D. FitzGerald, Harmonic/percussive separation using median filtering, DAFx 2010, as in ``librosa.decompose.hpss``.
"""

import numba
import numpy as np

from acoustic_kit.features.freesound2018.running_median import running_median
from acoustic_kit.features.freesound2018.stft import istft


def harmonic_part(spectra: np.ndarray, magnitude: np.ndarray, hop_length: int, n: int) -> np.ndarray:
    """Return the harmonic part of a wave.

    Parameters
    ----------
    spectra, magnitude : complex64 and float32 (1 + n_fft // 2, frames), as ``stft`` returns them
    hop_length : samples from one frame to the next
    n : samples of the wave

    Returns
    -------
    float32 (n,)

    """
    return istft(spectra, harmonic_mask(magnitude), hop_length, n)


def harmonic_mask(magnitude: np.ndarray) -> np.ndarray:
    """Return the harmonic fraction of each cell: h² / (h² + p²), ½ if both are 0.

    h is the median of 31 frames around the cell, p that of 31 bins.

    Parameters
    ----------
    magnitude : float32 (bins, frames)

    Returns
    -------
    float32 (bins, frames)

    """
    over_frames = running_median(np.ascontiguousarray(magnitude.T)).T
    over_bins = running_median(np.ascontiguousarray(magnitude))
    mask: np.ndarray = _soft_mask(np.ascontiguousarray(over_frames), over_bins)
    return mask


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _soft_mask(wanted: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return wanted² / (wanted² + other²) of float32; both are divided by the larger, so that no square underflows."""
    mask = np.empty(wanted.shape, np.float32)
    for i in range(len(wanted)):
        a, b, out = wanted[i], other[i], mask[i]
        for j in range(len(a)):
            larger = max(a[j], b[j])
            x, y = (a[j] / larger) ** 2, (b[j] / larger) ** 2
            out[j] = x / (x + y) if larger >= np.float32(1.1754944e-38) else np.float32(0.5)
    return mask
