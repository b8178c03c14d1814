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
from acoustic_kit.dsp.sound_file import Mono, SoundError, Span, check_wave, mix, open_sound, sound_errors

if TYPE_CHECKING:
    import polars as pl

    from acoustic_kit.dsp.recording import Recording


def file_digest(path: Path) -> str:
    """Return the BLAKE2b digest (16 bytes) of a file's bytes, as 32 hex characters. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def scan_audio(
    paths: Sequence[Path],
    on_progress: Callable[[int, int], None] | None = None,
    mono: Mono = "mean",
    spans: Sequence[Span | None] | None = None,
) -> pl.DataFrame:
    """Decode every file once, in threads (soundfile releases the GIL), and return a row per clip, in order of `paths`.

    A clip that cannot be decoded raises nothing: the reason is in `problem`, and unknown columns are null. `Wave`
    decodes the same clips. Of a part of a file, `size`, `mtime_ns` and `content` are those of the file.

    Parameters
    ----------
    paths : the file of each clip
    on_progress : called from this thread with the number of clips done and of all clips
    mono : how channels are mixed before levels are measured
    spans : the part of the file that each clip is, None for all of it; by default, each clip is a file

    """
    import polars as pl

    of_file: dict[Path, list[int]] = {}
    for row, path in enumerate(paths):
        of_file.setdefault(path, []).append(row)
    found: dict[int, dict[str, Any]] = {}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        try:
            scan = partial(_scan, mono=mono)
            parts = [[spans[row] if spans else None for row in rows] for rows in of_file.values()]
            scanned = pool.map(scan, of_file, parts)
            for rows, of_parts in zip(of_file.values(), scanned, strict=True):
                found.update(zip(rows, of_parts, strict=True))
                if on_progress is not None:
                    on_progress(len(found), len(paths))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return pl.DataFrame([found[row] for row in range(len(paths))], schema=scan_schema(), orient="row")


def _scan(path: Path, spans: Sequence[Span | None], mono: Mono) -> list[dict[str, Any]]:
    """Return the columns of some parts of one file."""
    from acoustic_kit.dsp.recording import Recording

    unread = known = {"size": 0, "mtime_ns": 0, "content": ""}  # such a file counts as changed once it can be read
    try:
        with sound_errors():
            stat = path.stat()
            known = {"content": file_digest(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    except SoundError as error:
        return [(unread if error.is_unread else known) | {"problem": error.detail}] * len(spans)
    found: list[dict[str, Any]] = [{}] * len(spans)
    with Recording(path) as recording:
        # In the order of their starts, the spans are read in one go; whole files are not held in memory.
        for at in sorted(range(len(spans)), key=lambda at: (span := spans[at]) is not None and span.start):
            span = spans[at]
            try:
                levels = _decode(path, mono) if span is None else _decode_part(recording, span, mono)
                found[at] = known | levels
            except SoundError as error:
                found[at] = (unread if error.is_unread else known) | {"problem": error.detail}
    return found


def _decode_part(recording: Recording, span: Span, mono: Mono) -> dict[str, Any]:
    """Return length, format and level of a part of a file. Raises SoundError if it cannot be decoded."""
    import numpy as np

    from acoustic_kit.dsp.decoding import Decoding

    decoding = Decoding(mono=mono)
    wave, rate = recording.read(span, [decoding])[decoding]
    return {
        "duration": len(wave) / rate,
        "sample_rate": rate,
        "channels": recording.channels,
        "peak": float(np.abs(wave).max()),
        "rms": float(np.sqrt(np.einsum("i,i->", wave, wave, dtype=np.float64) / len(wave))),
    }


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
