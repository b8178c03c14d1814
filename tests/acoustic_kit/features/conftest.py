"""Recordings that are divided into windows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

from acoustic_kit.data import file_digest

RATE = 8000


@pytest.fixture
def make_recordings() -> Callable[..., pl.DataFrame]:
    return recordings


def recordings(folder: Path, seconds: dict[str, float], length: float = 0.2, hop: float = 0.1) -> pl.DataFrame:
    """The part of a manifest that a build reads, with its files: overlapping windows, of which the last are short."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    rows = []
    for name, duration in seconds.items():
        path = folder / name
        soundfile.write(path, rng.normal(0, 0.1, int(RATE * duration)), RATE)
        stat = path.stat()
        of_file = {"path": name, "content": file_digest(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        for i in range(round(duration / hop)):
            start = round(i * hop, 9)
            rows.append({"id": f"{name} {i}", "start": start, "end": round(start + length, 9), **of_file})
    return pl.DataFrame(rows)
