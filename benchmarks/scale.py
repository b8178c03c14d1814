"""A build of many clips: memory while it runs, size and number of files, and what opening the store then costs.

Usage: python benchmarks/scale.py [clips] (default: 40,000 generated ones, 1 s at 8 kHz, 640 MB in a temporary folder).
Limit: memory does not grow with the number of clips; opening the store and reading one clip stays under 50 ms.
"""

import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import soundfile

from acoustic_kit.features import Feature, LogMel, Wave, build_features
from acoustic_store import FeatureStore

RATE = 8000
OPEN_AND_READ = """
import sys, time
from acoustic_store import FeatureStore
times = []
for _ in range(9):
    began = time.perf_counter()
    FeatureStore.open(sys.argv[1])[sys.argv[2]].read(sys.argv[3])
    times.append(time.perf_counter() - began)
print(f"{1000 * times[0]:.1f} ms the first time, {1000 * sorted(times)[4]:.1f} ms at the median of nine")
"""


def make_clips(folder: Path, n: int) -> pl.DataFrame:
    """Return the columns of a manifest that a build reads, and write its files: noise with a tone of its own."""
    random = np.random.default_rng(0)
    noise = 0.05 * random.standard_normal(RATE + n)
    time_axis = np.arange(RATE) / RATE
    rows = []
    for i in range(n):
        path = folder / f"{i:06d}.wav"
        soundfile.write(path, noise[i : i + RATE] + 0.2 * np.sin(2 * np.pi * (200 + i % 3000) * time_axis), RATE)
        stat = path.stat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append((path.stem, path.name, digest, stat.st_size, stat.st_mtime_ns))
    return pl.DataFrame(rows, schema=["id", "path", "content", "size", "mtime_ns"], orient="row")


def resident_mb() -> float:
    """Memory of this process that is its own, in MB: files that are mapped do not count."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) / 1000


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 40_000
    features = [Wave(RATE), LogMel(Wave(RATE), 512, 256, n_mels=32)]
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        data.mkdir()
        manifest = make_clips(data, n)
        store = FeatureStore.open(Path(scratch) / "features.zarr", create=True)
        memory: dict[str, dict[int, float]] = {}

        def on_progress(feature: Feature, done: int, total: int) -> None:
            if done * 4 // total > (done - 64) * 4 // total:
                memory.setdefault(feature.name, {})[round(100 * done / total)] = resident_mb()

        began = time.perf_counter()
        reports = build_features(manifest, data, store, features, on_progress=on_progress)
        print(f"{n} clips of 1 s at {RATE} Hz, one process: {time.perf_counter() - began:.0f} s")
        print(f"{'':<8} {'clips/s':>8} {'MB':>8} {'files':>6}   memory in MB after a share of the clips")
        for report in reports:
            stored, name = store[report.feature.key], report.feature.name
            count = sum(path.is_file() for path in (store.path / stored.key).rglob("*"))
            grown = ", ".join(f"{share} %: {used:.0f}" for share, used in memory[name].items())
            rate = report.built / report.seconds
            print(f"{name:<8} {rate:>8.0f} {stored.n_bytes / 1e6:>8.1f} {count:>6}   {grown}")
        last = [sys.executable, "-c", OPEN_AND_READ, str(store.path), features[1].key, manifest["id"][n // 2]]
        print("open the store and read one clip:", subprocess.run(last, capture_output=True, text=True).stdout.strip())  # noqa: PLW1510


if __name__ == "__main__":
    main()
