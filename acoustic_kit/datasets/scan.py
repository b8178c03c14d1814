"""Look at every audio file once: can it be decoded, how long, how loud, and a digest of its bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

_BLOCK = 1 << 16  # samples over all channels, or 16 bytes of a file: memory does not grow with the clip


def file_digest(path: Path) -> str:
    """32 hex characters: the BLAKE2b digest (16 bytes) of the file's bytes. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def scan_schema() -> dict[str, Any]:
    """The columns that `scan_audio` finds, with their dtypes; see `manifest_schema` for units."""
    import polars as pl

    return {
        "duration": pl.Float64(),
        "sample_rate": pl.Int64(),
        "channels": pl.Int64(),
        "peak": pl.Float64(),
        "rms": pl.Float64(),
        "size": pl.Int64(),
        "mtime_ns": pl.Int64(),
        "content": pl.String(),
        "problem": pl.String(),
    }


def scan_audio(paths: Sequence[Path], on_progress: Callable[[int, int], None] | None = None) -> pl.DataFrame:
    """Decode every file once, in threads (soundfile releases the GIL): one row a file, in the order of `paths`.

    A file that cannot be decoded has the reason in `problem`, and nulls where there is nothing to say; it is no error.

    Parameters
    ----------
    on_progress : called from this thread with the files done and the files in all

    """
    import polars as pl

    rows = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        try:
            for row in pool.map(_look_at, paths):
                rows.append(row)
                if on_progress is not None:
                    on_progress(len(rows), len(paths))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return pl.DataFrame(rows, schema=scan_schema(), orient="row")


def _look_at(path: Path) -> dict[str, Any]:
    import soundfile

    # A file whose bytes cannot be had has no size and an empty digest, so that it is taken for changed once it can.
    row: dict[str, Any] = {"size": 0, "mtime_ns": 0, "content": ""}
    try:
        stat = path.stat()
        row |= {"content": file_digest(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        row |= _decode(path) if stat.st_size else {"problem": "the file is empty"}
    except soundfile.LibsndfileError as error:
        row["problem"] = what_libsndfile_says(error)
    except OSError as error:
        row["problem"] = error.strerror or type(error).__name__
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a name that ends in .raw
        row["problem"] = " ".join(str(error).split())
    return row


def what_libsndfile_says(error: Any) -> str:
    """Why a file cannot be decoded, of a `soundfile.LibsndfileError`."""
    reason: str = error.error_string.strip().removeprefix("Error : ").rstrip(".")
    # It says so of an MP3 file without a frame, though the file is there.
    return "Format not recognised" if reason.startswith("File does not exist") else reason


def _decode(path: Path) -> dict[str, Any]:
    """Length, format and level of one file, or the problem that it has no finite samples."""
    import numpy as np
    import soundfile

    n_frames, peak, energy = 0, 0.0, 0.0
    with soundfile.SoundFile(path) as file:
        rate, channels = file.samplerate, file.channels
        block = np.empty((max(1, _BLOCK // channels), channels), dtype=np.float32)
        while len(read := file.read(out=block)):
            n_frames += len(read)
            peak = max(peak, float(np.abs(read).max()))
            energy += float(np.einsum("ij,ij->", read, read, dtype=np.float64))
    if n_frames == 0:
        return {"problem": "the file holds no samples"}
    if not np.isfinite(energy):
        return {"problem": "some samples are not finite numbers"}
    rms = float(np.sqrt(energy / (n_frames * channels)))
    return {"duration": n_frames / rate, "sample_rate": rate, "channels": channels, "peak": peak, "rms": rms}
