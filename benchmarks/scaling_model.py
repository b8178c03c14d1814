"""What a large data set costs on 1, 10 and 100 workers: rates measured here, everything else stated as an assumption.

Usage: python benchmarks/scaling_model.py [--clips 2000000] [--network 10] …; --help names every assumption. Clips are
ten seconds of FLAC, two clips of ESC-10 one after another (its folder as in AKIT_ESC10, or generated sound).

A worker is one process on one core, with clips, features and runs on S3. A stage takes as long as the slowest of what
it needs: the workers (CPU, and waiting for the storage: 16 clips at a time, requests of a block one after another), the
network cards of the machines, the storage's bandwidth and requests a second, the client and the scheduler (one task a
block). Measured is CPU time of one thread, the median of rounds; what TLS and the network stack take is not in it.
"""
# ruff: noqa: E402 (the number of threads is set before numpy is imported)

import os

for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import argparse
import math
import pickle
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from acoustic_kit.dsp.decoding import decode
from acoustic_kit.features import LogMel, Pcen, Wave
from acoustic_kit.features.build.job import BlockJob
from acoustic_store import FeatureStore

CLIPS, ROUNDS, BLOCK = 16, 5, 64
REQUESTS_OF_BLOCK = 6  # the first clip; then two looks at the lock, one at the place, the chunk, the index
AT_ONCE = 16  # clips of a block that are waited for together, see `build_job.N_REQUESTS`
WORKERS = (1, 10, 100)


@dataclass
class Stage:
    """What one feature costs a clip."""

    name: str
    cpu: float  # seconds of one core
    bytes_in: float
    bytes_out: float


def cpu_seconds(work: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """CPU seconds an item; the first round warms up."""
    rounds = []
    for _ in range(ROUNDS + 1):
        began = time.process_time()
        for item in items:
            work(item)
        rounds.append((time.process_time() - began) / len(items))
    return sorted(rounds[1:])[ROUNDS // 2]


def make_clips(folder: Path, seconds: float) -> list[Path]:
    beside = Path(__file__).parents[2] / "shared" / "data" / "esc10"
    esc10 = Path(os.environ.get("AKIT_ESC10", beside))
    found = sorted((esc10 / "audio").glob("*.*"))
    print(f"{CLIPS} clips of {seconds:g} s, {f'made of {esc10.name}' if found else 'generated'}, FLAC, 44.1 kHz, mono")
    random = np.random.default_rng(0)
    for i in range(CLIPS):
        sound = 0.1 * random.standard_normal(44100)
        if found:
            step = len(found) // CLIPS
            parts = [decode(found[(i * step + n) % len(found)]) for n in range(math.ceil(seconds / 5))]
            sound = np.concatenate([part.samples for part in parts])
        soundfile.write(folder / f"{i}.flac", np.resize(sound, round(seconds * 44100)), 44100)
    return sorted(folder.iterdir())


def stored_cost(rows: Sequence[np.ndarray], dtype: str, folder: Path) -> tuple[float, float]:
    """CPU seconds that storing takes a clip, and bytes a clip in the store."""
    store = FeatureStore.open(folder, create=True)
    clips = [(f"clip {i}", "0" * 64) for i in range(BLOCK * 6)]
    with store.writer("x-1", dtype, {}) as writer:
        blocks = writer.plan(clips, block_size=BLOCK)
        block = [rows[i % len(rows)] for i in range(BLOCK)]
        seconds = cpu_seconds(lambda _: blocks.pop().write(block), [0]) / BLOCK
    return seconds, store["x-1"].n_bytes / len(store["x-1"])


def measured(folder: Path, seconds: float) -> tuple[list[Stage], list[tuple[str, float, float]]]:
    """Return the stages of a build, and CPU seconds and bytes of each of their parts."""
    (folder / "clips").mkdir()
    paths = make_clips(folder / "clips", seconds)
    audio = float(np.mean([path.stat().st_size for path in paths]))
    parts, stages = [("decode FLAC", cpu_seconds(decode, paths), audio)], []
    sounds = [decode(path) for path in paths]
    wave = Wave(trim_top_db=None)
    waves = [wave.compute(sound) for sound in sounds]
    before = audio
    for name, feature, sources in (
        ("wave", wave, sounds),
        ("logmel", LogMel(wave), waves),
        ("pcen ×3", Pcen(wave, n_fft=(2048, 1024, 512)), waves),
    ):
        rows = [feature.compute(source) for source in sources]
        write, size = stored_cost(rows, feature.storage_dtype, folder / name)
        compute = cpu_seconds(feature.compute, sources)
        parts.append((name, compute + write, size))
        decoding = parts[0][1] if name == "wave" else 0.0
        stages.append(Stage(name, decoding + compute + write, before, size))
        before = stages[0].bytes_out  # the others read the wave
    return stages, parts


def plan_seconds(folder: Path) -> tuple[float, int]:
    """CPU seconds that planning takes for each block that is there, and bytes of its index."""
    store = FeatureStore.open(folder, create=True)
    clips = [(f"Y{i:011d}", f"{i:064d}") for i in range(BLOCK * 100)]
    with store.writer("x-1", "int16", {}) as writer:
        for block in writer.plan(clips, block_size=BLOCK):
            block.write([np.ones(2, np.float32)] * BLOCK)
        seconds = cpu_seconds(lambda _: writer.plan(clips, block_size=BLOCK), [0]) / 100
    return seconds, (store.path / "x-1" / "000000" / "zarr.json").stat().st_size


def task_seconds() -> tuple[float, int]:
    """CPU seconds of client, scheduler and worker for an empty task, and the bytes that it carries for one block."""
    from distributed import Client, LocalCluster

    from acoustic_kit.cluster import Cluster

    with tempfile.TemporaryDirectory() as scratch:
        store = FeatureStore.open(scratch, create=True)
        with store.writer("x-1", "int16", {}) as writer:
            (block,) = writer.plan([(f"Y{i:011d}", f"{i:064d}") for i in range(BLOCK)])
        paths = {id: f"s3://bucket/audioset/unbalanced/{id}.flac" for id, _ in block.clips}
        job = BlockJob(((Wave(), block),), "s3://bucket/features.zarr", paths, False)
    local = LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)
    with local, Client(local, set_as_default=False) as client:
        cluster = Cluster(client, "here")
        empty = cpu_seconds(lambda _: list(cluster.run(lambda job, tell: None, [job] * 100)), [0]) / 100
    return empty, len(pickle.dumps(job))


def waiting(stage: Stage, latency: float) -> float:
    """Seconds a clip that a worker waits for answers."""
    return latency * REQUESTS_OF_BLOCK / BLOCK + max(0.0, latency / AT_ONCE - stage.cpu)


def limits(stage: Stage, workers: int, task: float, given: argparse.Namespace) -> dict[str, float]:
    """Clips a second that each part allows; the least is what there is."""
    machines = math.ceil(workers / given.workers_a_machine)
    moved = 8e-9 * (stage.bytes_in + stage.bytes_out)  # Gbit a clip
    return {
        "workers": workers / (stage.cpu + waiting(stage, given.latency / 1000)),
        "cards": machines * given.network / moved,
        "storage": given.storage / moved,
        "requests": min(given.gets, given.puts * BLOCK / 2),
        "scheduler": BLOCK / task,
    }


def build_table(stages: Sequence[Stage], task: float, given: argparse.Namespace) -> None:
    print(f"\n{'hours of a build':<18}" + "".join(f"{f'{w} workers':>20}" for w in WORKERS))
    totals = dict.fromkeys(WORKERS, 0.0)
    for stage in stages:
        cells = []
        for workers in WORKERS:
            rates = limits(stage, workers, task, given)
            slowest = min(rates, key=rates.__getitem__)
            totals[workers] += given.clips / rates[slowest] / 3600
            cells.append(f"{given.clips / rates[slowest] / 3600:.2f} ({slowest})")
        print(f"{stage.name:<18}" + "".join(f"{cell:>20}" for cell in cells))
    print(f"{'all':<18}" + "".join(f"{f'{totals[w]:.2f}':>20}" for w in WORKERS))
    print(
        f"\n{'clips/s':<18}{'a worker':>12}{'waits':>8}{'a card':>10}{'storage':>10}{'requests':>10}{'scheduler':>11}"
    )
    for stage in stages:
        rates = limits(stage, 1, task, given)
        waits = waiting(stage, given.latency / 1000) * rates["workers"]
        found = f"{rates['workers']:>12,.0f}{waits:>8.0%}{rates['cards']:>10,.0f}{rates['storage']:>10,.0f}"
        print(f"{stage.name:<18}{found}{rates['requests']:>10,.0f}{rates['scheduler']:>11,.0f}")


def training_table(stages: Sequence[Stage], given: argparse.Namespace) -> None:
    one = given.clips * given.epochs / given.gpu_rate / 3600
    feature = stages[1].bytes_out
    print(
        f"\n{given.models} models of {given.epochs} epochs: {one:.1f} GPU hours each, {given.models * one:.0f} in all"
    )
    for workers in WORKERS:
        used = min(workers, given.models)
        needed = used * given.gpu_rate * feature / 1e9
        slower = max(1.0, needed / (given.storage / 8), given.gpu_rate * feature / 1e9 / (given.network / 8))
        hours = math.ceil(given.models / workers) * one * slower
        print(
            f"  {workers:>3} GPU workers: {hours:.1f} h; {used} train, and read {needed:.2f} GB/s of logmel"
            + (f", {slower:.1f} times what network and storage give" if slower > 1 else "")
        )
    most = given.storage / 8 / (given.gpu_rate * feature / 1e9)
    print(f"  the storage feeds {most:.0f} GPUs at once; one model is trained by one machine")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter, description=__doc__)
    add = parser.add_argument
    add("--clips", type=int, default=2_000_000, help="AudioSet has 2,084,320 of them, many of which are gone")
    add("--seconds", type=float, default=10.0, help="of a clip")
    add("--workers-a-machine", type=int, default=16, help="assumed")
    add("--network", type=float, default=10.0, help="Gbit/s of a machine's network card; assumed")
    add("--storage", type=float, default=100.0, help="Gbit/s that the storage gives to all; assumed")
    add("--latency", type=float, default=100.0, help="ms until object storage answers; AWS says 100 to 200")
    add("--gets", type=float, default=5500.0, help="GETs a second and prefix; AWS's guidelines for S3")
    add("--puts", type=float, default=3500.0, help="PUTs a second and prefix; AWS's guidelines for S3")
    add("--gpu-rate", type=float, default=1000.0, help="clips a second that a GPU trains on; assumed")
    add("--epochs", type=int, default=10, help="passes over all clips; assumed")
    add("--models", type=int, default=10, help="trained at once: seeds or recipes; assumed")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        stages, parts = measured(Path(scratch), given.seconds)
        plan, index = plan_seconds(Path(scratch) / "plan")
    task, carried = task_seconds()
    n = given.clips
    print(f"\n{'measured':<14}{'ms/clip':>10}{'clips/s/core':>14}{'kB/clip':>10}{f'TB of {n:,}':>18}")
    for name, seconds, size in parts:
        print(f"{name:<14}{1000 * seconds:>10.1f}{1 / seconds:>14.0f}{size / 1e3:>10.0f}{n * size / 1e12:>18.2f}")
    blocks = math.ceil(n / BLOCK)
    print(
        f"a block of {BLOCK}: {index / 1e3:.1f} kB of index, {1000 * plan:.2f} ms to plan each that is there, ", end=""
    )
    print(f"{1000 * task:.1f} ms of Dask ({carried / 1e3:.1f} kB a task)")
    print(
        f"{blocks:,} blocks a feature: {blocks * index / 1e6:.0f} MB of indexes; to plan a resumed build "
        f"{blocks * plan:.0f} s, and {blocks * given.latency / 1000 / 16:.0f} s of waiting (16 requests at a time)"
    )
    print("\nassumed: " + ", ".join(f"{name}={value:g}" for name, value in vars(given).items()))
    build_table(stages, task, given)
    training_table(stages, given)


if __name__ == "__main__":
    main()
