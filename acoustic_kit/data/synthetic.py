"""A small data set of synthetic sound for the demo and tests, neither trivial nor unlearnable."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

_GOLDEN = (math.sqrt(5) - 1) / 2  # multiples of it, modulo 1, spread evenly for any number of classes


def make_synthetic(
    folder: Path,
    *,
    n_classes: int = 5,
    clips_per_class: int = 24,
    n_folds: int = 5,
    seconds: float = 1.0,
    sample_rate: int = 16000,
    seed: int = 0,
) -> None:
    """Write a data set in ESC-50's layout: `meta/esc50.csv` and 16-bit mono WAV files in `audio/`.

    A class is a harmonic tone with its own pitch, brightness and tremolo; neighboring classes overlap, and every clip
    has its own noise, level and onset. One or two takes of each source share `src_file` and the fold. The same
    arguments give the same bytes.

    Parameters
    ----------
    folder : created if missing
    clips_per_class : at least `n_folds`
    seconds : length of a clip
    sample_rate : Hz

    Raises
    ------
    DataError : if `folder` is not empty
    UsageError : for fewer clips per class than folds

    """
    import numpy as np
    import soundfile

    if clips_per_class < n_folds:
        raise UsageError(f"{clips_per_class} clips per class are too few for {n_folds} folds.")
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty; name a new folder for the synthetic data set.")
    (folder / "audio").mkdir(parents=True)
    (folder / "meta").mkdir()
    rows = list(_rows(n_classes, clips_per_class, n_folds))
    for name, _, target, _, _, src_file, take in rows:
        wave = _sound(
            target,
            np.random.default_rng([seed, src_file]),
            np.random.default_rng([seed, src_file, 1 + "AB".index(take)]),
            n_samples=round(seconds * sample_rate),
            sample_rate=sample_rate,
        )
        soundfile.write(folder / "audio" / name, wave, sample_rate, subtype="PCM_16")
    with (folder / "meta" / "esc50.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
        writer.writerows(rows)


def _rows(n_classes: int, clips_per_class: int, n_folds: int) -> Iterator[tuple[str, int, int, str, bool, int, str]]:
    """Yield the rows of the table: every class in every fold, both takes of a source in one fold."""
    n_sources = max(n_folds, math.ceil(clips_per_class / 2))
    for target in range(n_classes):
        for clip in range(clips_per_class):
            take, source = divmod(clip, n_sources)
            fold, src_file, letter = source % n_folds + 1, target * n_sources + source, "AB"[take]
            name = f"{fold}-{src_file}-{letter}-{target}.wav"
            yield name, fold, target, f"sound_{target:02d}", target < 10, src_file, letter


def _sound(
    target: int, of_source: np.random.Generator, of_take: np.random.Generator, *, n_samples: int, sample_rate: int
) -> np.ndarray:
    """Return one clip, float64 (n_samples,), in [-0.9, 0.9]."""
    import numpy as np

    # Pitch, tremolo and brightness of the class, spread evenly over the classes.
    place = [(target * _GOLDEN * k) % 1 for k in (1, 2, 3)]
    pitch = 150 * 2 ** (3 * place[0] + of_source.normal(0, 0.15))  # Hz
    tremolo = 2 * 8 ** place[1] * 2 ** of_source.normal(0, 0.2)  # Hz
    roll_off = 0.5 + 1.5 * place[2] + of_source.normal(0, 0.2)  # harmonic k has amplitude k**-roll_off

    time = np.arange(n_samples) / sample_rate
    harmonics = np.arange(1, min(12, int(sample_rate / 2 // pitch)) + 1)
    phases = of_take.uniform(0, 2 * np.pi, len(harmonics))
    tone = sum(k**-roll_off * np.sin(2 * np.pi * k * pitch * time + p) for k, p in zip(harmonics, phases, strict=True))
    tone *= 1 + 0.8 * np.sin(2 * np.pi * tremolo * time + of_take.uniform(0, 2 * np.pi))
    tone *= time >= of_take.uniform(0, 0.4) * time[-1]
    noise = np.cumsum(of_take.normal(size=n_samples)) if of_take.random() < 0.5 else of_take.normal(size=n_samples)
    noise -= noise.mean()
    signal_to_noise = of_take.uniform(-15, 6)  # dB
    wave = tone / tone.std() + 10 ** (-signal_to_noise / 20) * noise / noise.std()
    return np.asarray(wave / np.abs(wave).max() * of_take.uniform(0.1, 0.9))
