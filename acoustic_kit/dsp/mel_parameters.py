"""Parameters of a mel spectrogram, shared by the feature and the layer."""

import math

from acoustic_kit.errors import UsageError

AMIN = 1e-10  # power below which decibels are cut off, as in librosa


def check_frames(n_fft: int, hop_length: int) -> None:
    """Raise ``UsageError`` unless ``n_fft`` is even and positive, and ``hop_length`` positive."""
    if n_fft < 2 or n_fft % 2:
        raise UsageError(f"n_fft is {n_fft}; it must be even and positive")
    if hop_length < 1:
        raise UsageError(f"hop_length is {hop_length}; it must be at least 1")


def check_mel(sample_rate: int, n_mels: int, fmin: float, fmax: float, mel_scale: str, pad_mode: str) -> None:
    """Raise ``UsageError`` unless these describe a mel spectrogram, as the parameters of ``LogMel`` do."""
    if n_mels < 1:
        raise UsageError(f"n_mels is {n_mels}; it must be at least 1")
    if not 0 <= fmin < fmax <= sample_rate / 2:
        raise UsageError(f"fmin is {fmin}, fmax {fmax}; they must be 0 ≤ fmin < fmax ≤ {sample_rate / 2} Hz")
    if mel_scale not in {"slaney", "htk"}:
        raise UsageError(f"mel_scale is {mel_scale!r}; it must be 'slaney' or 'htk'")
    if pad_mode not in {"constant", "reflect"}:
        raise UsageError(f"pad_mode is {pad_mode!r}; it must be 'constant' or 'reflect'")


def check_decibels(scale: str, top_db: float | None) -> None:
    """Raise ``UsageError`` unless these are the scale of a mel spectrogram and the range of its decibels."""
    if scale not in {"db", "power", "magnitude"}:
        raise UsageError(f"scale is {scale!r}; it must be 'db', 'power' or 'magnitude'")
    if top_db is not None and not 0 <= top_db < math.inf:
        raise UsageError(f"top_db is {top_db}; it must be at least 0, or None for no limit")
