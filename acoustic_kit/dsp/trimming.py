"""Trim waves, and give them one length or one peak."""

from typing import Literal

import numpy as np

FRAME_LENGTH = 2048  # samples; librosa.effects.trim's defaults
HOP_LENGTH = 512


def trim(
    wave: np.ndarray, top_db: float, pad_mode: Literal["constant", "reflect"] = "constant"
) -> tuple[np.ndarray, tuple[int, int]]:
    """Cut leading and trailing silence, to the same sample as ``librosa.effects.trim`` (0.11).

    A frame (2048 samples, hop 512, centered) is silent if its power is ``top_db`` or more below the loudest frame's.
    The result extends from the first non-silent frame to one hop past the last. An all-silent wave is kept whole.

    Parameters
    ----------
    wave : float32 (n,), n ≥ 1
    top_db : positive, dB
    pad_mode : padding at both ends: zeros, or, as in librosa 0.6, the wave reflected (``reflect``)

    Returns
    -------
    wave[start:end] (a view), and (start, end) in samples

    """
    # The order of float32 operations is librosa's, so that a frame at the threshold is treated the same.
    rms = np.sqrt(_frame_power(wave, pad_mode))
    decibels = 10.0 * np.log10(np.maximum(1e-10, rms**2)) - 10.0 * np.log10(np.maximum(1e-10, rms.max() ** 2))
    sound = np.flatnonzero(decibels > -top_db)
    start, end = int(sound[0]) * HOP_LENGTH, min(len(wave), (int(sound[-1]) + 1) * HOP_LENGTH)
    return wave[start:end], (start, end)


def _frame_power(wave: np.ndarray, pad_mode: Literal["constant", "reflect"]) -> np.ndarray:
    """Return the mean square of each centered frame: float32 (1 + n // HOP_LENGTH,).

    Frames share the sums of their hops. Four hops are added in pairs, as numpy does inside a frame of librosa's, so the
    rounding is the same.
    """
    from acoustic_kit.dsp.frame_energy import hop_energy

    wave = np.ascontiguousarray(wave, np.float32)
    hops, before = len(wave) // HOP_LENGTH + 4, FRAME_LENGTH // 2
    if pad_mode == "reflect":
        wave, before = np.pad(wave, before, mode="reflect"), 0
    energy = hop_energy(wave, before, hops)
    sums: np.ndarray = (energy[:-3] + energy[1:-2]) + (energy[2:-1] + energy[3:])
    return sums / np.float32(FRAME_LENGTH)


def normalize_peak(wave: np.ndarray, peak: float = 1.0) -> np.ndarray:
    """Scale float32 (n,) so that its largest absolute sample is ``peak``; silence is unchanged."""
    largest = np.abs(wave).max()
    return wave if largest == 0 else wave * np.float32(peak / largest)


def fit_length(wave: np.ndarray, n: int) -> np.ndarray:
    """Cut float32 (m,) to its middle ``n`` samples, from ⌊(m - n) / 2⌋ on, or append zeros up to ``n``."""
    if len(wave) < n:
        return np.pad(wave, (0, n - len(wave)))
    first = (len(wave) - n) // 2
    return wave[first : first + n]
