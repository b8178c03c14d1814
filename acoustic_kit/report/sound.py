"""Audio, waveform and spectrogram of a clip, small enough to be embedded in a page."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path

import numpy as np

from acoustic_kit.dsp.decoding import Decoding, resample
from acoustic_kit.dsp.recording import Recording
from acoustic_kit.dsp.sound_file import Span
from acoustic_kit.features.logmel import LogMel
from acoustic_kit.features.wave import Wave
from acoustic_kit.report.content import AudioPreview
from acoustic_kit.report.picture import extremes

SAMPLE_RATE = 22050  # Hz
SECONDS = 10.0  # longest audio of one clip
MOST_BYTES = 300_000  # of one clip's FLAC; noisy clips are cut shorter
COLUMNS = 320  # of waveform and spectrogram
N_MELS = 96


def clip_sound(path: Path | str, span: Span | None = None) -> AudioPreview:
    """Return the beginning of a clip, a file or part of one, which may be on S3.

    Raises AkitError with the reason if it is unreadable.
    """
    wave, cut = _beginning(path, span)
    flac = _flac(wave)
    if len(flac) > MOST_BYTES:
        wave, cut = wave[: len(wave) * MOST_BYTES // len(flac)], True
        flac = _flac(wave)
    return AudioPreview(
        audio=_data_uri("audio/flac", flac),
        seconds=len(wave) / SAMPLE_RATE,
        cut=cut,
        peaks=_peaks(wave),
        spectrogram=_data_uri("image/png", _spectrogram(wave)),
        top=SAMPLE_RATE / 2,
    )


def _beginning(path: Path | str, span: Span | None) -> tuple[np.ndarray, bool]:
    """Return the first seconds as float32 (n,) at `SAMPLE_RATE`, mono, and whether the clip is longer."""
    start, end = span or (0.0, math.inf)
    with Recording(path) as recording:
        (sound,) = recording.read(Span(start, min(end, start + SECONDS + 1)), [Decoding()]).values()
    most = int(SECONDS * sound.sample_rate)
    return resample(sound.samples[:most], sound.sample_rate, SAMPLE_RATE), len(sound.samples) > most


def _flac(wave: np.ndarray) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.clip(wave, -1, 1), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _peaks(wave: np.ndarray) -> np.ndarray:
    """Return the lowest and highest sample of at most `COLUMNS` segments: float32 (2, segments)."""
    low, high, _ = extremes(wave, COLUMNS)
    return np.asarray(np.clip([low, high], -1, 1))


def _spectrogram(wave: np.ndarray) -> bytes:
    """Return the log-mel spectrogram as a PNG, one pixel per band and frame."""
    from matplotlib.image import imsave

    hop = max(256, -(-len(wave) // COLUMNS))
    mel = LogMel(Wave(SAMPLE_RATE), n_fft=2048, hop_length=hop, n_mels=N_MELS).compute(wave)
    png = io.BytesIO()
    imsave(png, mel, cmap="magma", origin="lower", format="png")
    return png.getvalue()


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
