"""The report of a large competition: time and memory of `akit report`, a process of its own.

Usage: python benchmarks/report.py [clips] [runs] [classes] (default: 100,000, 10 and 41; 300 MB of files).
Limit: 10 s and 2 GiB of memory. The time is that of the command, start-up included.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import soundfile

from acoustic_kit.datasets.manifest import manifest_schema
from acoustic_kit.runs import Predictions, Run, RunRecord

RATE, FILES = 22050, 20


def make_workspace(root: Path, n_clips: int, n_runs: int, n_classes: int) -> None:
    """A workspace with predictions of random runs, some of which err together; clips share a few noisy files."""
    rng = np.random.default_rng(0)
    (root / "data").mkdir(parents=True)
    for i in range(FILES):
        soundfile.write(root / "data" / f"{i}.wav", 0.1 * rng.standard_normal(5 * RATE), RATE)
    classes, ids = [f"class {c:02d}" for c in range(n_classes)], [f"clip{i:06d}.wav" for i in range(n_clips)]
    targets = rng.integers(n_classes, size=n_clips)
    columns = {
        "id": ids,
        "path": [f"{i % FILES}.wav" for i in range(n_clips)],
        "label": [[classes[c]] for c in targets],
        "fold": (np.arange(n_clips) % 5 + 1).tolist(),
        "group": [f"recording {i // 3}" for i in range(n_clips)],
        "split": ["train"] * n_clips,
        "duration": [5.0] * n_clips,
    }
    schema = manifest_schema()
    empty = {name: [None] * n_clips for name in schema if name not in columns}
    pl.DataFrame(columns | empty, schema=schema).write_parquet(root / "manifest.parquet")
    lines = ['data = "data"', 'layout = "csv"', 'task = "single"', 'metric = "f1"', "[classes]"]
    (root / "akit.toml").write_text("\n".join([*lines, *(f'"{name}" = {i}' for i, name in enumerate(classes))]))
    shared = rng.standard_normal((n_clips, n_classes))
    for run in range(n_runs):
        logits = 1.2 * shared + rng.standard_normal((n_clips, n_classes))
        logits[np.arange(n_clips), targets] += 4 + 0.1 * run
        logits = np.exp(logits)
        save_run(root / "runs" / f"model-{run:08x}", ids, classes, logits / logits.sum(axis=1, keepdims=True))


def save_run(path: Path, ids: list[str], classes: list[str], probabilities: np.ndarray) -> None:
    path.mkdir(parents=True)
    Predictions(tuple(ids), probabilities).write(path / "oof.parquet", classes)
    record = RunRecord(
        name=path.name, recipe="model", title="A model", settings={}, changed={}, seed=0, fast=False, full=False,
        note="", task="single", classes=classes, features={}, folds=[], imported={"oof.csv": ""}, versions={},
        akit="", created="",
    )  # fmt: skip
    Run(path, record).with_record()


def main() -> None:
    n_clips, n_runs, n_classes = (int(a) for a in [*sys.argv[1:], *("100000", "10", "41")[len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "work"
        make_workspace(root, n_clips, n_runs, n_classes)
        print(f"{n_clips:,} clips, {n_runs} runs, {n_classes} classes")
        command = [str(Path(sys.executable).with_name("akit")), "-C", str(root), "report"]
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds.append(time.perf_counter() - began)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(done.stdout.strip())
        print(f"median {sorted(seconds)[1]:.1f} s ({', '.join(f'{s:.1f}' for s in seconds)}), at most {peak:.2f} GiB")


if __name__ == "__main__":
    main()
