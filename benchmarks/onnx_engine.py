"""`akit predict --engine onnx` against torch: the whole prediction, from files to probabilities.

Usage: python benchmarks/onnx_engine.py ESC-10 [minutes] [RECIPE …] (default: 30 minutes, all of RECIPES). Recordings of
a minute (FLAC, 32 kHz) made of the clips of ESC-10, in windows of 5 s; networks of one fold with nearly random weights,
which take as long as any. Both engines predict the same windows on all cores, as the command does by default,
interleaved; the first round warms up (and exports), and the median of the others counts. Times are wall time, so the
machine must be quiet. The front end is the features, and what the networks compute before their first convolution.
Limits: the probabilities differ by 1e-4 at most; 600 minutes take 20 minutes at most, and the front end 15 % of it.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from acoustic_kit.data import read_dataset
from acoustic_kit.data.soundscapes import make_soundscapes
from acoustic_kit.data.synthetic import make_synthetic
from acoustic_kit.data.windows import Windows
from acoustic_kit.device import Compute
from acoustic_kit.features.build.worker import worker_count, workers
from acoustic_kit.prediction import RowPlan, clips_at, open_predictor, predict_rows
from acoustic_kit.prediction.forecast import measure_costs
from acoustic_kit.prediction.models import Predictor
from acoustic_kit.prediction.onnx_graphs import ExportedNetworks, networks_of
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.init import init_workspace

RECIPES: dict[str, dict[str, Any]] = {
    "logmel_cnn": {},
    "tiny_resnet_transformer": {},
    "sed_cnn": {"backbone": "tf_efficientnet_b0", "pretrained": False, "mixup": 0.0},
}
ROUNDS, PROFILED, RATE, WINDOW = 3, 20, 32000, 5.0


def make_run(name: str, folder: Path) -> Predictor:
    """Train a recipe for one epoch on a few generated clips."""
    if not (folder / "data").exists():
        make_synthetic(folder / "data", n_classes=10, clips_per_class=5, seconds=WINDOW, sample_rate=RATE)
    recipe = load_recipe(name)
    settings = recipe.settings({"epochs": 1, **RECIPES[name]})
    workspace = init_workspace(folder / name, folder / "data")
    run, _ = run_recipe(workspace, recipe, settings, folds=["1"], compute=Compute("cpu"))
    return open_predictor(run.path)


def first_layers(networks: ExportedNetworks) -> float:
    """Return the part of the time of a graph that passes before its first convolution."""
    import onnxruntime

    (network,), options = networks.graphs, onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling, options.log_severity_level = 1, True, 3
    rng, inputs = np.random.default_rng(0), {}
    for one in network.session.get_inputs():
        key, _, part = one.name.rpartition(".")
        noise = 0.1 * rng.standard_normal([1, *one.shape[1:]])
        inputs[one.name] = noise.astype(np.float32) if part == "values" else np.array([network.frames[key]])
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = f"{folder}/profile"
        session = onnxruntime.InferenceSession(network.path, options, providers=["CPUExecutionProvider"])
        for _ in range(PROFILED):
            session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text())
    nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    first = next(i for i, event in enumerate(nodes) if "Conv" in event["args"]["op_name"])
    shortest = np.array([event["dur"] for event in nodes]).reshape(PROFILED, -1).min(axis=0)  # not interrupted
    return float(shortest[:first].sum() / shortest.sum())


def compare(predictor: Predictor, plan: RowPlan, minutes: int) -> None:
    networks = networks_of(predictor, plan.clips)
    seconds: dict[str, list[float]] = {"torch": [], "onnx": []}
    found = {}
    with workers(worker_count(None)) as processes:
        for _ in range(1 + ROUNDS):
            for engine, used in seconds.items():
                began = time.perf_counter()
                graphs = networks if engine == "onnx" else None
                found[engine] = predict_rows(
                    predictor, plan, compute=Compute("cpu"), workers=processes, graphs=graphs
                ).probabilities
                used.append(time.perf_counter() - began)
        costs = measure_costs(predictor, plan.clips, None, processes, Compute("cpu"), 5.0, lambda *_: None, networks)
    by_torch, by_onnx = (statistics.median(used[1:]) for used in seconds.values())
    worst = abs(found["torch"] - found["onnx"]).max()
    features, network = sum(costs.features.values()), costs.models[0]
    share = (features + first_layers(networks) * network) / (features + network)
    name, n = predictor.members[0].run.record.recipe, len(plan.clips)
    print(
        f"{name:<24}{n / by_torch:>9.1f}{n / by_onnx:>9.1f}{by_torch / by_onnx:>8.2f}"
        f"{share:>11.1%}{by_onnx * 600 / minutes / 60:>13.1f}{worst:>12.1e}",
        flush=True,
    )


def main() -> None:
    esc10, *more = sys.argv[1:]
    minutes = int(more[0]) if more else 30
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_soundscapes(read_dataset(Path(esc10)), folder / "soundscapes", n=minutes, test_fold=5)
        files = clips_at([folder / "soundscapes" / "data"])
        plan = RowPlan.of_windows(files, Windows(length=WINDOW, hop=WINDOW))
        columns = (("torch", 9), ("onnx", 9), ("ratio", 8), ("front end", 11), ("600 min in", 13), ("differ by", 12))
        print(f"{'windows per second':<24}" + "".join(f"{name:>{width}}" for name, width in columns))
        for name in more[1:] or RECIPES:
            compare(make_run(name, folder), plan, minutes)
    print("600 min in: minutes, from files to probabilities, on all cores")


if __name__ == "__main__":
    main()
