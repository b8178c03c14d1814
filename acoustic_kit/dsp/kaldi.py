"""The filter bank of Kaldi's ``compute-fbank-feats`` at 16 kHz, with the settings of the Audio Spectrogram Transformer.

Frames of 25 ms every 10 ms, all inside the wave; in each, the mean is subtracted, the high frequencies are emphasized
by ``x[i] - 0.97 x[i-1]``, and a symmetric Hann window is applied. The power spectrum is summed in triangles on Kaldi's
mel scale, and the logarithm is natural. Full scale is ±1; Kaldi's own is ±2¹⁵. Only numpy is used.
"""

import math
from functools import lru_cache

import numpy as np

from acoustic_kit.dsp.filterbanks import FilterBank, filter_bank

SAMPLE_RATE = 16_000  # Hz
FRAME_LENGTH = 400  # samples
HOP_LENGTH = 160  # samples
N_FFT = 512  # samples; frames are followed by zeros
PREEMPHASIS = 0.97
FMIN, FMAX = 20.0, 8000.0  # Hz
AUDIOSET_MEAN, AUDIOSET_STD = -4.2677393, 4.5689974  # of AudioSet, natural logarithm of power
FLOOR = float(np.finfo(np.float32).eps)  # power below which the logarithm is cut off


def frame_count(n: int) -> int:
    """Return the number of frames inside ``n`` samples, n ≥ FRAME_LENGTH."""
    return 1 + (n - FRAME_LENGTH) // HOP_LENGTH


@lru_cache(maxsize=1)
def window() -> np.ndarray:
    """Return the symmetric Hann window: float32 (FRAME_LENGTH,). Its first and last value are 0."""
    phase = 2 * np.pi * np.arange(FRAME_LENGTH) / (FRAME_LENGTH - 1)
    return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


@lru_cache(maxsize=4)
def filters(n_mels: int) -> FilterBank:
    """Return triangles of height one, evenly spaced and linear on the mel scale 1127 ln(1 + f / 700).

    Narrow ones may be all zeros, and none contains the bin at half the sample rate, as in Kaldi.
    """
    edges = np.linspace(_mel(FMIN), _mel(FMAX), n_mels + 2)[:, None]
    bins = np.array([_mel(f) for f in np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE)])
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[:, -1] = 0.0
    return filter_bank(weights)


def _mel(hz: float) -> float:
    return 1127.0 * math.log(1.0 + hz / 700.0)
