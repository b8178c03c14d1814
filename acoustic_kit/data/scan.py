"""Look at every audio file once: can it be decoded, how long, how loud, and a digest of its bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoustic_kit.data.schema import scan_schema
from acoustic_kit.dsp.sound_file import MISSING, NOT_READ, UNDECODABLE, Mono, check_wave, mix, open_sound
from acoustic_kit.errors import AkitError

if TYPE_CHECKING:
    import polars as pl


def file_digest(path: Path) -> str:
    """32 hex characters: the BLAKE2b digest (16 bytes) of the file's bytes. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def scan_audio(
    paths: Sequence[Path], on_progress: Callable[[int, int], None] | None = None, mono: Mono = "mean"
) -> pl.DataFrame:
    """Decode every file once, in threads (soundfile releases the GIL): one row a file, in the order of `paths`.

    A file that cannot be decoded has the reason in `problem`, and nulls where there is nothing to say; it is no error.
    What can be decoded here can be decoded by `Wave`, and the other way round.

    Parameters
    ----------
    on_progress : called from this thread with the files done and the files in all
    mono : what several channels become, before levels are measured

    """
    import polars as pl

    rows = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        try:
            for row in pool.map(partial(_look_at, mono=mono), paths):
                rows.append(row)
                if on_progress is not None:
                    on_progress(len(rows), len(paths))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return pl.DataFrame(rows, schema=scan_schema(), orient="row")


def _look_at(path: Path, mono: Mono) -> dict[str, Any]:
    # A file whose bytes cannot be had has no size and an empty digest, so that it is taken for changed once it can.
    unread = {"size": 0, "mtime_ns": 0, "content": ""}
    try:
        stat = path.stat()
        row = {"content": file_digest(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        return unread | {"problem": MISSING if missing else error.strerror or type(error).__name__}
    try:
        return row | _decode(path, mono)
    except AkitError as error:
        reason = str(error)
        found = unread if reason.startswith(NOT_READ) else row
        return found | {"problem": reason.removeprefix(NOT_READ).removeprefix(UNDECODABLE)}


def _decode(path: Path, mono: Mono) -> dict[str, Any]:
    """Length, format and level of one file. Raises AkitError where it cannot be decoded."""
    import numpy as np

    n_frames, peak, energy = 0, 0.0, 0.0
    with open_sound(path) as file:
        for block in file.blocks():
            wave = mix(block, mono)
            check_wave(wave)
            n_frames += len(wave)
            peak = max(peak, float(np.abs(wave).max()))
            energy += float(np.einsum("i,i->", wave, wave, dtype=np.float64))
        if n_frames == 0:
            raise AkitError("it holds no samples")
        rate, channels = file.sample_rate, file.channels
    rms = float(np.sqrt(energy / n_frames))
    return {"duration": n_frames / rate, "sample_rate": rate, "channels": channels, "peak": peak, "rms": rms}
