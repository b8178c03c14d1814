"""Log-mel features of the 5 s windows of long recordings, against a loop that reads each window by itself.

Usage: python benchmarks/recordings.py [minutes of recordings, 10 by default] [rounds, 3 by default] [formats]

The recordings are generated: noise of varying loudness, 10 minutes each, 32 kHz, mono. The loop opens the file, seeks
and reads with soundfile; both then resample, compute and store the same features, one process and one thread each.
Both run alternately, each time in a new process. Printed are medians: clips per second of processor time, which depends
little on what else runs, and the highest memory while building, without files that are mapped.
"""
# ruff: noqa: E402 (the number of threads is set before numpy is imported)

import os

for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
import soundfile

from acoustic_kit.dsp.decoding import Decoding, Sound
from acoustic_kit.dsp.recording import Recording
from acoustic_kit.dsp.sound_file import Span
from acoustic_kit.features import LogMel, Wave, build_features
from acoustic_store import FeatureStore

RATE, MINUTES, WINDOW = 32000, 10, 5  # of a recording: Hz, minutes; s
WAVE = Wave(22050, trim_top_db=None)
MEL = LogMel(wave=WAVE)


def write_recordings(folder: Path, form: str, minutes: int) -> pl.DataFrame:
    """Return the rows of a manifest."""
    rng = np.random.default_rng(0)
    first = folder / f"0.{form}"
    with soundfile.SoundFile(first, "w", RATE, 1) as file:
        for _ in range(MINUTES * 6):
            file.write((rng.standard_normal(10 * RATE) * np.repeat(rng.uniform(0, 0.2, 100), RATE // 10)).astype("f4"))
    rows = []
    for number in range(max(1, round(minutes / MINUTES))):
        path = folder / f"{number}.{form}"
        if path != first:
            shutil.copy(first, path)
        stat = path.stat()
        row = {"path": path.name, "content": path.name, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        for start in range(0, MINUTES * 60, WINDOW):
            rows.append({"id": f"{number}_{start}", "start": float(start), "end": float(start + WINDOW), **row})
    return pl.DataFrame(rows)


def read_windows(manifest: pl.DataFrame, folder: Path) -> Iterator[Sound]:
    """Open, seek and read each window by itself."""
    for path, start in manifest.select("path", "start").iter_rows():
        with soundfile.SoundFile(folder / path) as file:
            file.seek(round(start * file.samplerate))
            yield Sound(file.read(WINDOW * file.samplerate, dtype="float32"), file.samplerate)


def decode_windows(manifest: pl.DataFrame, folder: Path) -> Iterator[Sound]:
    """Decode each recording once."""
    for (path,), windows in manifest.group_by("path", maintain_order=True):
        with Recording(folder / str(path)) as recording:
            for start, end in windows.select("start", "end").iter_rows():
                yield recording.read(Span(start, end), [Decoding()])[Decoding()]


def build_each(manifest: pl.DataFrame, folder: Path, store: FeatureStore) -> None:
    """Store waves and log-mel of windows that are read by themselves."""
    clips = [(id, "1") for id in manifest["id"]]
    waves = (WAVE.compute(sound) for sound in read_windows(manifest, folder))
    stored = store.writer(WAVE.key, WAVE.storage_dtype, WAVE.parameters())
    with stored as of_wave, store.writer(MEL.key, MEL.storage_dtype, MEL.parameters()) as of_mel:
        for wave_block, mel_block in zip(of_wave.plan(clips), of_mel.plan(clips), strict=True):
            with wave_block.open() as wave_writer, mel_block.open() as mel_writer:
                for _ in wave_block.clips:
                    wave_writer.add(wave := next(waves))
                    mel_writer.add(MEL.compute(wave))


class Memory(threading.Thread):
    """Sample the memory of this process that is its own, in MB; Linux only."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self._ended = 0.0, threading.Event()

    def run(self) -> None:
        """Sample until the block ends."""
        while not self._ended.wait(0.02):
            status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            self.peak = max(self.peak, int(status["RssAnon"].split()[0]) / 1000)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


def measure(side: str, folder: Path) -> None:
    """Print the processor seconds of building, of decoding alone and with overlap, and the peak memory in MB."""
    manifest = pl.read_parquet(folder / "manifest.parquet")
    MEL.compute(np.ones(22050, np.float32))
    with tempfile.TemporaryDirectory() as scratch, Memory() as memory:
        store = FeatureStore.open(scratch, create=True)
        began = time.process_time()
        if side == "akit":
            build_features(manifest, folder, store, [MEL])
        else:
            build_each(manifest, folder, store)
        built = time.process_time() - began
    decode = decode_windows if side == "akit" else read_windows
    between = manifest.with_columns(pl.col("start", "end") + WINDOW / 2)
    decoded = []
    for windows in (manifest, pl.concat([manifest, between]).sort("path", "start")):
        began = time.process_time()
        for _ in decode(windows, folder):
            pass
        decoded.append(time.process_time() - began)
    print(json.dumps([built, *decoded, memory.peak]))


def main() -> None:
    minutes, rounds = (int(text) for text in (*sys.argv[1:3], *("10", "3")[len(sys.argv) - 1 :]))
    print(f"{'clips per CPU second':<26} {'akit':>8} {'each':>8} {'ratio':>8}   peak MB: akit, each")
    for form in sys.argv[3:] or ("wav", "flac", "ogg", "mp3"):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            manifest = write_recordings(folder, form, minutes)
            manifest.write_parquet(folder / "manifest.parquet")
            found: dict[str, list[list[float]]] = {"akit": [], "each": []}
            for _ in range(rounds):
                for side, results in found.items():
                    command = [sys.executable, __file__, "--measure", side, scratch]
                    results.append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
            akit, each = (np.median(found[side], axis=0) for side in ("akit", "each"))
            for at, (name, n) in enumerate({"log-mel": 1, "decoding alone": 1, "the same, hop 2.5 s": 2}.items()):
                rates = f"{n * len(manifest) / akit[at]:>8.0f} {n * len(manifest) / each[at]:>8.0f}"
                memory = "" if at else f"   {akit[-1]:.0f}, {each[-1]:.0f}"
                print(f"{form + ': ' + name:<26} {rates} {each[at] / akit[at]:>7.2f}x{memory}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
