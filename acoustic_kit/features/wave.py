"""``wave``: the sound of one clip, mono, at one sample rate, without the silence around it."""

import io
import math
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features.feature import Feature

FRAME_LENGTH = 2048  # samples; librosa.effects.trim's defaults
HOP_LENGTH = 512
MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz; a header with another rate is damaged, and resampling it could fill memory
_BLOCK = 1 << 20  # samples over all channels, read at once
UNREAD = ("the file does not exist", "it cannot be read: ")  # begin the reasons of what a disk that is away explains
MAX_SAMPLE = 1e10  # full scale is 1; below this bound no power, sum or moment leaves the range of its type


class Sound(NamedTuple):
    """What an audio file holds."""

    samples: np.ndarray  # float32 (n,), full scale ±1; several channels are their mean
    sample_rate: int  # Hz


@dataclass(frozen=True)
class Wave(Feature):
    """The decoded, resampled and trimmed wave.

    Parameters
    ----------
    sample_rate : int, Hz
    trim_top_db : float, dB, or None
        Leading and trailing frames this far below the loudest frame are cut off; None keeps the whole clip.
    trim_pad : what the frames at both ends see beyond them: zeros (``constant``), as in librosa 0.11, or the clip
        reflected (``reflect``), as in librosa 0.6; two clips in a hundred of ESC-10 then keep a hop or more in addition
    peak : the largest absolute sample after normalisation; None leaves the loudness as it is. Silence stays silent
    seconds : one length for all clips: longer ones are cut to their middle, shorter ones get zeros at the end.
        None leaves each as long as it is
    encoding : how the store holds it: ``int16`` with one scale a clip, or ``float32``

    """

    name: ClassVar[str] = "wave"
    version: ClassVar[int] = 1

    sample_rate: int = 22050
    trim_top_db: float | None = 60.0
    trim_pad: Literal["constant", "reflect"] = "constant"
    peak: float | None = None
    seconds: float | None = None
    encoding: Literal["int16", "float32"] = "int16"

    def __post_init__(self) -> None:
        if not MIN_RATE <= self.sample_rate <= MAX_RATE:
            raise UsageError(f"sample_rate is {self.sample_rate}; it must be {MIN_RATE} to {MAX_RATE} Hz")
        if self.trim_top_db is not None and not 0 < self.trim_top_db < math.inf:
            raise UsageError(f"trim_top_db is {self.trim_top_db}; it must be positive, or None to keep all")
        if self.trim_pad not in {"constant", "reflect"}:
            raise UsageError(f"trim_pad is {self.trim_pad!r}; it must be 'constant' or 'reflect'")
        if self.peak is not None and not 0 < self.peak <= MAX_SAMPLE:
            raise UsageError(f"peak is {self.peak}; it must be positive, or None to leave the loudness as it is")
        if self.seconds is not None and not 1 <= self.seconds * self.sample_rate < math.inf:
            raise UsageError(f"seconds is {self.seconds}; it must be at least one sample, or None to keep all")
        if self.encoding not in {"int16", "float32"}:
            raise UsageError(f"encoding is {self.encoding!r}; it must be 'int16' or 'float32'")

    @property
    def storage_dtype(self) -> str:
        """The encoding."""
        return self.encoding

    def parameters(self) -> dict[str, Any]:
        """As for every feature, and the version of the resampler, which decides the samples too."""
        return super().parameters() | {"soxr": _resampler_version()}

    def compute(self, source: str | Path | Sound) -> np.ndarray:
        """The wave of one audio file.

        Parameters
        ----------
        source : path of the audio file, any format that libsndfile reads, or what ``decode`` made of it

        Returns
        -------
        float32 (n,), full scale ±1 (but for ``peak``), n ≥ 1

        Raises
        ------
        AkitError
            As ``decode`` does.

        """
        sound = source if isinstance(source, Sound) else decode(source)
        wave = resample(*sound, self.sample_rate)
        if self.trim_top_db is not None:
            wave = trim(wave, self.trim_top_db, self.trim_pad)[0]
        if self.peak is not None:
            wave = normalise_peak(wave, self.peak)
        return wave if self.seconds is None else fit_length(wave, round(self.seconds * self.sample_rate))


def decode(path: str | Path | io.BytesIO) -> Sound:
    """Decode an audio file, an object at ``s3://bucket/key``, or what ``fetch`` made of it; channels become their mean.

    Raises
    ------
    AkitError
        The file cannot be decoded, is empty, or holds values that are no sound.
        The message is the reason alone; the caller says which clip it is.
    acoustic_store.StoreError
        The object storage does not answer.

    """
    import soundfile

    from acoustic_kit.datasets.scan import what_libsndfile_says
    from acoustic_store import StoreError

    try:
        with soundfile.SoundFile(path if isinstance(path, io.BytesIO) else fetch(path)) as file:
            if not MIN_RATE <= file.samplerate <= MAX_RATE:
                raise AkitError(f"its header says {file.samplerate} Hz; {MIN_RATE} to {MAX_RATE} Hz can be read")
            sound = Sound(_read_mono(file), file.samplerate)
    except StoreError:  # object storage that does not answer is no clip's fault
        raise
    except soundfile.LibsndfileError as error:
        raise AkitError(f"it cannot be decoded: {what_libsndfile_says(error)}") from error
    except OSError as error:
        raise AkitError(f"{UNREAD[1]}{error.strerror or error}") from error
    except MemoryError as error:
        raise AkitError("it cannot be decoded: there is not enough memory for its length") from error
    except (TypeError, ValueError) as error:  # soundfile asks for details (.raw)
        raise AkitError("it cannot be decoded: its header is damaged, or of an unknown format") from error
    check_wave(sound.samples)
    return sound


def fetch(path: str | Path) -> Path | io.BytesIO:
    """What soundfile opens: a path, or the bytes of an object. Raises AkitError where there is nothing."""
    from acoustic_kit.datasets.audio_files import audio_source

    try:
        source = audio_source(path)
    except FileNotFoundError as error:
        raise AkitError(UNREAD[0]) from error
    if isinstance(source, io.BytesIO):
        is_empty = not source.getbuffer()
    elif source.is_file():
        with source.open("rb") as file:
            is_empty = not file.read(1)
    else:
        raise AkitError(UNREAD[0])
    if is_empty:
        raise AkitError("the file is empty")
    return source


def _read_mono(file: Any) -> np.ndarray:
    """The samples of an open ``SoundFile``, channels averaged: float32 (n,).

    Block by block: memory is that of the samples that are there, whatever length and channels the header claims.
    """
    frames = max(1, min(_BLOCK // file.channels, file.frames))
    blocks = []
    while len(block := file.read(frames, dtype="float32", always_2d=True)):
        blocks.append(block[:, 0] if file.channels == 1 else block.mean(axis=1))
    return blocks[0] if len(blocks) == 1 else np.concatenate([np.empty(0, np.float32), *blocks])


def check_wave(wave: np.ndarray) -> None:
    """Raise ``AkitError`` if ``wave``, real (n,), is empty, holds NaN or infinity, or lies far outside full scale."""
    if wave.size == 0:
        raise AkitError("it holds no samples")
    peak = max(float(wave.max()), -float(wave.min()))  # NaN if any sample is
    if not math.isfinite(peak):
        raise AkitError("it holds samples that are NaN or infinite")
    if peak > MAX_SAMPLE:
        raise AkitError(f"its samples reach {peak:.0e}, where full scale is 1")


def resample(wave: np.ndarray, rate: int, target_rate: int) -> np.ndarray:
    """Resample float32 (n,) to ⌈n · target_rate / rate⌉ samples with soxr's HQ setting, as ``librosa.resample``."""
    if rate == target_rate:
        return wave
    import soxr

    n = math.ceil(len(wave) * (float(target_rate) / rate))
    resampled: np.ndarray = soxr.resample(wave, rate, target_rate, quality="HQ")[:n]
    return np.pad(resampled, (0, n - len(resampled)))


def trim(
    wave: np.ndarray, top_db: float, pad_mode: Literal["constant", "reflect"] = "constant"
) -> tuple[np.ndarray, tuple[int, int]]:
    """Cut leading and trailing silence, to the same sample as ``librosa.effects.trim`` (0.11).

    A frame (2048 samples, hop 512, centred) is silent if its power is ``top_db`` or more below the
    loudest frame's. What is kept reaches from the first sound frame to one hop past the last. Silence is kept whole.

    Parameters
    ----------
    wave : float32 (n,), n ≥ 1
    top_db : positive, dB
    pad_mode : what lies beyond the ends: zeros, or with ``reflect``, as in librosa 0.6, the wave reflected

    Returns
    -------
    wave[start:end] (a view), and (start, end) in samples

    """
    # The order of float32 operations is librosa's, so that a frame on the threshold falls on the same side.
    rms = np.sqrt(_frame_power(wave, pad_mode))
    decibels = 10.0 * np.log10(np.maximum(1e-10, rms**2)) - 10.0 * np.log10(np.maximum(1e-10, rms.max() ** 2))
    sound = np.flatnonzero(decibels > -top_db)
    start, end = int(sound[0]) * HOP_LENGTH, min(len(wave), (int(sound[-1]) + 1) * HOP_LENGTH)
    return wave[start:end], (start, end)


def _frame_power(wave: np.ndarray, pad_mode: Literal["constant", "reflect"]) -> np.ndarray:
    """Mean square of each centred frame: float32 (1 + n // HOP_LENGTH,).

    Frames share the sums of their hops. Adding four hops by pairs is what numpy does inside a frame of librosa's, so
    the rounding is the same.
    """
    from acoustic_kit.features.frame_energy import hop_energy

    wave = np.ascontiguousarray(wave, np.float32)
    hops, before = len(wave) // HOP_LENGTH + 4, FRAME_LENGTH // 2
    if pad_mode == "reflect":
        wave, before = np.pad(wave, before, mode="reflect"), 0
    energy = hop_energy(wave, before, hops)
    sums: np.ndarray = (energy[:-3] + energy[1:-2]) + (energy[2:-1] + energy[3:])
    return sums / np.float32(FRAME_LENGTH)


def normalise_peak(wave: np.ndarray, peak: float = 1.0) -> np.ndarray:
    """Scale float32 (n,) so that its largest absolute sample is ``peak``; silence stays as it is."""
    largest = np.abs(wave).max()
    return wave if largest == 0 else wave * np.float32(peak / largest)


def fit_length(wave: np.ndarray, n: int) -> np.ndarray:
    """Cut float32 (m,) to its middle ``n`` samples, from ⌊(m - n) / 2⌋ on, or append zeros up to ``n``."""
    if len(wave) < n:
        return np.pad(wave, (0, n - len(wave)))
    first = (len(wave) - n) // 2
    return wave[first : first + n]


@cache
def _resampler_version() -> str:
    return version("soxr")
