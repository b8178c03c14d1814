"""A large competition: time and memory of the commands that look at all of it, each a process of its own.

Usage: python benchmarks/load.py [clips] [runs] [classes] (default: 100,000 for training, and a tenth as many for the
test, 10 and 41; 800 MB of files). Features are faked in the store: the build finds that all is done.
Limit: 10 s and 2 GiB of memory for each, start-up included.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import soundfile

from acoustic_kit.data.manifest import manifest_schema
from acoustic_kit.features import Stats, fingerprints
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.runs.run import Run, RunRecord
from acoustic_kit.workspace.workspace import Workspace

RATE, FILES, ROUNDS = 22050, 20, 3
COMMANDS = (
    ("data", "inspect"),
    ("features", "build"),
    ("runs", "list"),
    ("blend", "--method", "mean", "--top", "5"),
    ("blend",),
    ("report",),
)


def make_manifest(root: Path, classes: list[str], n_train: int, n_test: int) -> pl.DataFrame:
    """Return a manifest of clips that share a few noisy files, each under a name of its own."""
    rng, n = np.random.default_rng(0), n_train + n_test
    (root / "data").mkdir(parents=True)
    for i in range(FILES):
        soundfile.write(root / "data" / f"{i}.wav", 0.1 * rng.standard_normal(5 * RATE), RATE)
    paths = [f"{i // 1000:03d}/clip{i:06d}.wav" for i in range(n)]
    for folder in {path.partition("/")[0] for path in paths}:
        (root / "data" / folder).mkdir()
    for i, path in enumerate(paths):
        (root / "data" / path).hardlink_to(root / "data" / f"{i % FILES}.wav")
    stats = [(root / "data" / f"{i}.wav").stat() for i in range(FILES)]
    targets = rng.integers(len(classes), size=n_train)
    columns = {
        "id": [path.partition("/")[2] for path in paths],
        "path": paths,
        "label": [*([classes[c]] for c in targets), *([] for _ in range(n_test))],
        "fold": [*(np.arange(n_train) % 5 + 1).tolist(), *[None] * n_test],
        "group": [f"recording {i // 3}" for i in range(n)],
        "split": ["train"] * n_train + ["test"] * n_test,
        "duration": [5.0] * n,
        "sample_rate": [RATE] * n,
        "channels": [1] * n,
        "peak": rng.uniform(0.3, 1.0, n).tolist(),
        "rms": [0.1] * n,
        "size": [stats[i % FILES].st_size for i in range(n)],
        "mtime_ns": [stats[i % FILES].st_mtime_ns for i in range(n)],
        "content": [hashlib.blake2b(path.encode(), digest_size=16).hexdigest() for path in paths],
        "problem": [None] * n,
    }
    return pl.DataFrame(columns, schema=manifest_schema())


def make_workspace(root: Path, n_clips: int, n_runs: int, n_classes: int) -> None:
    """Return a workspace with features, and predictions of random runs, some of which err together."""
    classes = [f"class {c:02d}" for c in range(n_classes)]
    manifest = make_manifest(root, classes, n_clips, n_clips // 10)
    manifest.write_parquet(root / "manifest.parquet")
    lines = ['data = "data"', 'layout = "csv"', 'task = "single"', 'metric = "f1"', 'features = ["stats"]', "[classes]"]
    (root / "akit.toml").write_text("\n".join([*lines, *(f'"{name}" = {i}' for i, name in enumerate(classes))]))
    fake_features(Workspace.find(root))
    rng, n = np.random.default_rng(1), len(manifest)
    position = {name: i for i, name in enumerate(classes)}
    targets = np.array([position[label[0]] for label in manifest["label"].to_list() if label])
    shared = rng.standard_normal((n, n_classes))
    for run in range(n_runs):
        logits = 1.2 * shared + rng.standard_normal((n, n_classes))
        logits[np.arange(n_clips), targets] += 4 + 0.1 * run
        probabilities = np.exp(logits)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        save_run(root / "runs" / f"model-{run:08x}", manifest["id"].to_list(), classes, probabilities, n_clips)


def fake_features(workspace: Workspace) -> None:
    """Store a few numbers for each clip under the keys of `stats` and its wave."""
    store, stats = workspace.store(), Stats()
    clips = list(fingerprints(workspace.manifest, workspace.data_root).items())
    for feature in (stats.wave, stats):
        with store.writer(feature.key, feature.storage_dtype, feature.parameters()) as writer:
            for block in writer.plan(clips):
                block.write(np.ones(16, np.float32) for _ in block.clips)


def save_run(path: Path, ids: list[str], classes: list[str], probabilities: np.ndarray, n_train: int) -> None:
    path.mkdir(parents=True)
    Predictions(tuple(ids[:n_train]), probabilities[:n_train]).write(path / "oof.parquet", classes)
    Predictions(tuple(ids[n_train:]), probabilities[n_train:]).write(path / "test.parquet", classes)
    record = RunRecord(
        name=path.name, recipe="model", title="A model", settings={}, changed={}, seed=0, fast=False, full=False,
        note="", task="single", classes=classes, features={}, folds=[], imported={"oof.csv": ""}, versions={},
        akit="", created="",
    )  # fmt: skip
    Run(path, record).with_record()


def measure(command: list[str]) -> tuple[float, float, float]:
    """Seconds of one command, those of a processor that it used (a busy machine changes them less), and peak GiB."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed: {said}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def main() -> None:
    n_clips, n_runs, n_classes = (int(a) for a in [*sys.argv[1:], *("100000", "10", "41")[len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "work"
        make_workspace(root, n_clips, n_runs, n_classes)
        print(f"{n_clips:,} training clips, {n_runs} runs, {n_classes} classes; median of three, peak memory")
        for arguments in COMMANDS:
            command = [str(Path(sys.executable).with_name("akit")), "-C", str(root), *arguments]
            measured = [measure(command) for _ in range(ROUNDS)]
            wall, used, memory = (sorted(figures) for figures in zip(*measured, strict=True))
            took = f"{wall[ROUNDS // 2]:6.1f} s {used[ROUNDS // 2]:6.1f} s of a processor {memory[-1]:6.2f} GiB"
            print(f"akit {' '.join(arguments):32} {took}", flush=True)


if __name__ == "__main__":
    main()
