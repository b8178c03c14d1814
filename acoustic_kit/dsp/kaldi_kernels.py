"""Kaldi's filter bank on the CPU, computed in blocks of frames that stay in the cache; see ``kaldi``."""

import numba
import numpy as np
import scipy.fft

from acoustic_kit.dsp import kaldi
from acoustic_kit.dsp.kaldi import FRAME_LENGTH, HOP_LENGTH, N_FFT, PREEMPHASIS
from acoustic_kit.dsp.spectrum import apply_filters, power_of

BLOCK = 64  # frames


def log_mel(wave: np.ndarray, n_mels: int, max_frames: int) -> np.ndarray:
    """Return the natural logarithm of the power in mel bands, of the first frames of a wave.

    Parameters
    ----------
    wave : float32 (n,), C-contiguous, n ≥ FRAME_LENGTH, finite, at 16 kHz
    n_mels : bands
    max_frames : upper limit of the frames computed

    Returns
    -------
    float32 (n_mels, frames), at least log FLOOR = -15.94

    """
    frames = min(kaldi.frame_count(len(wave)), max_frames)
    window, bank = kaldi.window(), kaldi.filters(n_mels)
    windowed = np.zeros((BLOCK, N_FFT), np.float32)
    mel = np.empty((n_mels, frames), np.float32)
    for start in range(0, frames, BLOCK):
        block = windowed[: min(BLOCK, frames - start)]
        _fill(wave, start, window, block)
        apply_filters(power_of(scipy.fft.rfft(block.T, axis=0)), *bank, mel, start)
    np.maximum(mel, np.float32(kaldi.FLOOR), out=mel)
    return np.log(mel, out=mel)


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _fill(wave: np.ndarray, start: int, window: np.ndarray, block: np.ndarray) -> None:
    """Write the frames from ``start`` on, without their mean, emphasized and windowed, into float32 (frames, N_FFT).

    Mean and emphasis take one pass: (x[i] - m) - 0.97 (x[i-1] - m) = x[i] - 0.97 x[i-1] - 0.03 m. The window is 0 at a
    frame's first sample, which has no predecessor.
    """
    for f in range(len(block)):
        first = (start + f) * HOP_LENGTH
        samples = wave[first : first + FRAME_LENGTH]
        total = np.float32(0.0)
        for i in range(FRAME_LENGTH):
            total += samples[i]
        offset = total * np.float32((1 - PREEMPHASIS) / FRAME_LENGTH)
        now, before, weight, row = samples[1:], samples[:-1], window[1:], block[f, 1:FRAME_LENGTH]
        for i in range(FRAME_LENGTH - 1):
            row[i] = (now[i] - np.float32(PREEMPHASIS) * before[i] - offset) * weight[i]
