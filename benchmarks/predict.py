"""`akit predict` on recordings: wall time, peak memory, and the bytes of the CSV after a kill.

Usage: python benchmarks/predict.py [minutes] (default: 60). Recordings of one minute (Ogg Vorbis, 32 kHz), windows of
5 s every 2.5 s, `logmel_cnn` of three folds: a quarter of the minutes, all, and all in one recording, each in a process
of its own.
Limits: memory does not grow with the minutes; the CSV has the same bytes after kill -9 and a second start.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

RATE = 32000
MEASURED = """
import atexit, resource, sys
def report():
    used = [resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print("peak", *used, file=sys.__stdout__, flush=True)
atexit.register(report)
from acoustic_kit.cli import main
main()
"""


def make_run(folder: Path) -> Path:
    """Train a small network on generated clips of five seconds, and return the folder of its run."""
    from acoustic_kit.data import make_synthetic
    from acoustic_kit.device import Compute
    from acoustic_kit.recipe.recipe import load_recipe
    from acoustic_kit.runs.runner import run_recipe
    from acoustic_kit.workspace.init import init_workspace

    make_synthetic(folder / "data", n_classes=3, clips_per_class=10, seconds=5.0, sample_rate=RATE)
    recipe = load_recipe("logmel_cnn")
    settings = recipe.settings({"epochs": 1})
    workspace = init_workspace(folder / "work", folder / "data")
    run, _ = run_recipe(workspace, recipe, settings, folds=["1", "2", "3"], compute=Compute("cpu"))
    return run.path


def make_recordings(folder: Path, minutes: int) -> dict[str, Path]:
    """Write a quarter of the minutes, all of them, and one recording of all of them; return the folders by name."""
    rng = np.random.default_rng(0)
    minute = (0.05 * rng.standard_normal(60 * RATE)).astype(np.float32)
    first = folder / "minute.ogg"
    soundfile.write(first, minute, RATE)
    found = {}
    for n in (max(1, minutes // 4), minutes):
        found[f"{n} recordings"] = folder / f"of_{n}"
        (folder / f"of_{n}").mkdir(exist_ok=True)
        for i in range(n):
            os.link(first, folder / f"of_{n}" / f"soundscape_{i:04d}.ogg")
    found["one recording"] = folder / "one"
    (folder / "one").mkdir()
    with soundfile.SoundFile(folder / "one" / "night.ogg", "w", RATE, 1) as file:
        for _ in range(minutes):
            file.write(minute)
    return found


def command(run: Path, recordings: Path, out: Path) -> list[str]:
    options = ["--window", "5", "--hop", "2.5", "--device", "cpu", "--out", out]
    return [sys.executable, "-c", MEASURED, "predict", *map(str, (run, recordings, *options))]


def resume_after_kill(arguments: list[str], out: Path) -> float:
    """Kill a prediction after its first slice is stored, and resume it; return the seconds of the second start."""
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not list(out.with_name(f"{out.name}.parts").glob("*.npz")):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists(), "the prediction has a single slice: give more minutes"
    began = time.perf_counter()
    subprocess.run(arguments, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    minutes = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run = make_run(folder)
        print(f"{'':<18}{'rows':>7}{'wall s':>8}{'× real time':>13}{'peak MB':>9}{'of a worker':>13}")
        for name, recordings in make_recordings(folder, minutes).items():
            out = folder / f"{recordings.name}.csv"
            began = time.perf_counter()
            done = subprocess.run(command(run, recordings, out), check=True, capture_output=True, text=True)
            wall = time.perf_counter() - began
            main_peak, worker_peak = done.stdout.split()[-2:]
            n_rows = len(out.read_text().splitlines()) - 1
            print(
                f"{name:<18}{n_rows:>7}{wall:>8.1f}{5 * n_rows / wall:>13.0f}{main_peak:>9}{worker_peak:>13}",
                flush=True,
            )
        whole = folder / f"of_{minutes}.csv"
        killed = folder / "killed.csv"
        seconds = resume_after_kill(command(run, folder / f"of_{minutes}", killed), killed)
        is_same = killed.read_bytes() == whole.read_bytes()
        print(f"killed after its first slice, resumed in {seconds:.1f} s: bytes {'equal' if is_same else 'DIFFER'}")


if __name__ == "__main__":
    main()
