"""Scan audio files: whether they can be decoded, length, format, level, and a digest of the bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoustic_kit.data.schema import scan_schema
from acoustic_kit.dsp.sound_file import Mono, SoundError, check_wave, mix, open_sound, sound_errors

if TYPE_CHECKING:
    import polars as pl


def file_digest(path: Path) -> str:
    """Return the BLAKE2b digest (16 bytes) of a file's bytes, as 32 hex characters. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def scan_audio(
    paths: Sequence[Path], on_progress: Callable[[int, int], None] | None = None, mono: Mono = "mean"
) -> pl.DataFrame:
    """Decode every file once, in threads (soundfile releases the GIL), and return a row per file, in order of `paths`.

    A file that cannot be decoded raises nothing: the reason is in `problem`, and unknown columns are null. `Wave`
    decodes the same files.

    Parameters
    ----------
    on_progress : called from this thread with the number of files done and of all files
    mono : how channels are mixed before levels are measured

    """
    import polars as pl

    rows = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        try:
            for row in pool.map(partial(_scan, mono=mono), paths):
                rows.append(row)
                if on_progress is not None:
                    on_progress(len(rows), len(paths))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return pl.DataFrame(rows, schema=scan_schema(), orient="row")


def _scan(path: Path, mono: Mono) -> dict[str, Any]:
    """Return the columns of one file."""
    unread = known = {"size": 0, "mtime_ns": 0, "content": ""}  # such a file counts as changed once it can be read
    try:
        with sound_errors():
            stat = path.stat()
            known = {"content": file_digest(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        return known | _decode(path, mono)
    except SoundError as error:
        return (unread if error.is_unread else known) | {"problem": error.detail}


def _decode(path: Path, mono: Mono) -> dict[str, Any]:
    """Return length, format and level of one file. Raises SoundError if it cannot be decoded."""
    import numpy as np

    n_frames, peak, energy = 0, 0.0, 0.0
    with open_sound(path) as file:
        for block in file.blocks():
            wave = mix(block, mono)
            check_wave(wave)
            n_frames += len(wave)
            peak = max(peak, float(np.abs(wave).max()))
            energy += float(np.einsum("i,i->", wave, wave, dtype=np.float64))
        rate, channels = file.sample_rate, file.channels
    rms = float(np.sqrt(energy / n_frames))
    return {"duration": n_frames / rate, "sample_rate": rate, "channels": channels, "peak": peak, "rms": rms}
