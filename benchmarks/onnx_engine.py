"""`akit predict --engine onnx` against torch: processor time of the whole prediction, from files to probabilities.

Usage: python benchmarks/onnx_engine.py ESC-10 [minutes] [RECIPE …] (default: 10 minutes, all of RECIPES). Recordings of
a minute (FLAC, 32 kHz) made of the clips of ESC-10, in windows of 5 s; networks of one fold with nearly random weights,
which take as long as any. Both engines predict the same windows in one process on one core, interleaved; the first
round warms up (and exports), and the median of the others counts. The front end is what the graph computes before its
first convolution.
Limits: the probabilities differ by 1e-4 at most; 600 minutes take 20 minutes of two cores at most, and the front end
15 % of it.
"""
# ruff: noqa: E402 (the number of threads is set before numpy is imported)

import os
import sys

for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

os.sched_setaffinity(
    0, list(os.sched_getaffinity(0))[:1]
)  # threads of onnxruntime spin, which counts as processor time

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from acoustic_kit.data import read_dataset
from acoustic_kit.data.soundscapes import make_soundscapes
from acoustic_kit.data.synthetic import make_synthetic
from acoustic_kit.data.windows import Windows
from acoustic_kit.device import Compute
from acoustic_kit.prediction import RowPlan, clips_at, open_predictor, predict_rows
from acoustic_kit.prediction.models import Predictor
from acoustic_kit.prediction.onnx_graphs import OnnxGraphs, graphs_of
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.init import init_workspace

RECIPES: dict[str, dict[str, Any]] = {
    "logmel_cnn": {},
    "tiny_resnet_transformer": {},
    "sed_cnn": {"backbone": "tf_efficientnet_b0", "pretrained": False, "mixup": 0.0},
}
ROUNDS, PROFILED, RATE, WINDOW = 3, 10, 32000, 5.0


def make_run(name: str, folder: Path) -> Predictor:
    """Train a recipe for one epoch on a few generated clips."""
    if not (folder / "data").exists():
        make_synthetic(folder / "data", n_classes=10, clips_per_class=5, seconds=WINDOW, sample_rate=RATE)
    recipe = load_recipe(name)
    settings = recipe.settings({"epochs": 1, **RECIPES[name]})
    workspace = init_workspace(folder / name, folder / "data")
    run, _ = run_recipe(workspace, recipe, settings, folds=["1"], compute=Compute("cpu"))
    return open_predictor(run.path)


def front_end_share(graphs: OnnxGraphs, folder: Path) -> float:
    """Return the part of the time of a graph that passes before its first convolution."""
    import onnxruntime

    (graph,), options = graphs.graphs, onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = 1, True
    options.log_severity_level = 3  # errors
    options.profile_file_prefix = str(folder / "profile")
    session = onnxruntime.InferenceSession(graph.model.path, options, providers=["CPUExecutionProvider"])
    rng, (wave,) = np.random.default_rng(0), graph.model.waves
    for _ in range(PROFILED):
        session.run(None, {wave.name: 0.1 * rng.standard_normal((8, wave.samples)).astype(np.float32)})
    events = json.loads(Path(session.end_profiling()).read_text())
    nodes = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    first = next(i for i, event in enumerate(nodes) if "Conv" in event["args"]["op_name"])
    shortest = np.array([event["dur"] for event in nodes]).reshape(PROFILED, -1).min(axis=0)  # not interrupted
    return float(shortest[:first].sum() / shortest.sum())


def compare(predictor: Predictor, plan: RowPlan, minutes: int, folder: Path) -> None:
    graphs = graphs_of(predictor, plan.clips)
    seconds: dict[str, list[float]] = {"torch": [], "onnx": []}
    found = {}
    for _ in range(1 + ROUNDS):
        for engine, used in seconds.items():
            began = time.process_time()
            options = {"compute": Compute("cpu"), "graphs": graphs if engine == "onnx" else None}
            found[engine] = predict_rows(predictor, plan, **options).probabilities
            used.append(time.process_time() - began)
    by_torch, by_onnx = (statistics.median(used[1:]) for used in seconds.values())
    worst = abs(found["torch"] - found["onnx"]).max()
    of_600 = by_onnx * 600 / minutes / 60
    name, n = predictor.members[0].run.record.recipe, len(plan.clips)
    print(
        f"{name:<24}{n / by_torch:>9.1f}{n / by_onnx:>9.1f}"
        f"{by_torch / by_onnx:>8.2f}{front_end_share(graphs, folder):>11.1%}{of_600:>13.1f}{worst:>12.1e}",
        flush=True,
    )


def main() -> None:
    esc10, *more = sys.argv[1:]
    minutes = int(more[0]) if more else 10
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_soundscapes(read_dataset(Path(esc10)), folder / "soundscapes", n=minutes, test_fold=5)
        files = clips_at([folder / "soundscapes" / "data"])
        plan = RowPlan.of_windows(files, Windows(length=WINDOW, hop=WINDOW))
        columns = (("torch", 9), ("onnx", 9), ("ratio", 8), ("front end", 11), ("600 min in", 13), ("differ by", 12))
        print(f"{'windows per second':<24}" + "".join(f"{name:>{width}}" for name, width in columns))
        for name in more[1:] or RECIPES:
            compare(make_run(name, folder), plan, minutes, folder)
    print("600 min in: minutes of processor time, from files to probabilities; two cores have 40 in 20 minutes")


if __name__ == "__main__":
    main()
