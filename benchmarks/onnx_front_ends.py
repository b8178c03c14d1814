"""Front ends in ONNX Runtime, in three forms of the spectrum, beside akit's own kernels and a backbone.

Usage: python benchmarks/onnx_front_ends.py [batch size] [threads]. Times are processor time for one window of 5 s of
noise, the least of interleaved rounds, as other processes may share the cores; threads do not spin while they wait.
The backbone is tf_efficientnet_b0 with random weights, on the mel spectrogram of the same window. The shares are those
of the whole front end and of the kernels, which `akit predict` uses, in the time of front end and backbone together.

Goal: the front end takes at most 15 % of that time.
"""

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numba
import numpy as np
import onnx
import onnxruntime
import timm
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from acoustic_kit.dsp.filterbanks import mel_filters
from acoustic_kit.dsp.spectrum import hann
from acoustic_kit.features import AstInput, Feature, LogMel, Pcen, Wave

SECONDS, N_MELS, ROUNDS = 5, 128, 12
FEATURES: dict[str, Feature] = {
    "logmel, 32 kHz, n_fft 2048, hop 512": LogMel(Wave(32000, trim_top_db=None)),
    "logmel, 22.05 kHz, n_fft 2048, hop 512": LogMel(Wave(22050, trim_top_db=None)),
    "logmel, 22.05 kHz, trimmed": LogMel(Wave(22050)),
    "logmel, 16 kHz, n_fft 400, hop 160": LogMel(Wave(16000, trim_top_db=None), n_fft=400, hop_length=160),
    "pcen, 22.05 kHz, 2048 and 1024, hop 512": Pcen(Wave(22050, trim_top_db=None)),
    "ast_input, 16 kHz, 1024 frames": AstInput(Wave(16000, trim_top_db=None)),
}
Run = Callable[[], object]


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def exported(layer: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(layer.eval(), inputs, path, dynamo=True, verbose=False)
    return path


def built(nodes: list[Any], shape: tuple[int, ...], constants: dict[str, np.ndarray], path: Path) -> Path:
    """Save a graph of these nodes, from `x` to `mel`."""
    tensor, tensors = helper.make_tensor_value_info, [numpy_helper.from_array(a, name) for name, a in constants.items()]
    x, mel = tensor("x", onnx.TensorProto.FLOAT, shape), tensor("mel", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "spectrum", [x], [mel], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def stft_operator(feature: LogMel, waves: np.ndarray, path: Path) -> Path:
    """ONNX's STFT of padded waves, and the filters."""
    bank = mel_filters(feature.wave.sample_rate, feature.n_fft, N_MELS, 0.0, feature.wave.sample_rate / 2)
    nodes = [
        helper.make_node("Unsqueeze", ["x", "last"], ["signal"]),
        helper.make_node("STFT", ["signal", "hop", "window", "n"], ["spectrum"]),
        helper.make_node("Mul", ["spectrum", "spectrum"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "last"], ["power"], keepdims=0),
        helper.make_node("MatMul", ["power", "filters"], ["mel"]),
    ]
    constants = {
        "last": np.array([-1]),
        "hop": np.array(feature.hop_length),
        "n": np.array(feature.n_fft),
        "window": hann(feature.n_fft).astype(np.float32),
        "filters": np.ascontiguousarray(bank.weights.T),
    }
    return built(nodes, waves.shape, constants, path)


def one_product(feature: LogMel, waves: np.ndarray, path: Path) -> Path:
    """One product with a window and all bins that a filter needs, of frames that are given."""
    n, rate = feature.n_fft, feature.wave.sample_rate
    bank = mel_filters(rate, n, N_MELS, 0.0, rate / 2).weights
    bins = np.flatnonzero(bank.any(axis=0))
    angle = 2 * np.pi / n * (np.outer(np.arange(n), bins) % n)
    window = hann(n)[:, None]
    frames = (waves.shape[0], 1 + (waves.shape[1] - n) // feature.hop_length, n)
    nodes = [
        helper.make_node("MatMul", ["x", "cosine"], ["real"]),
        helper.make_node("MatMul", ["x", "sine"], ["imaginary"]),
        helper.make_node("Mul", ["real", "real"], ["real2"]),
        helper.make_node("Mul", ["imaginary", "imaginary"], ["imaginary2"]),
        helper.make_node("Add", ["real2", "imaginary2"], ["power"]),
        helper.make_node("MatMul", ["power", "filters"], ["mel"]),
    ]
    constants = {
        "cosine": (np.cos(angle) * window).astype(np.float32),
        "sine": (np.sin(angle) * window).astype(np.float32),
        "filters": np.ascontiguousarray(bank[:, bins].T),
    }
    return built(nodes, frames, constants, path)


def run_of(path: Path, threads: int, samples: int) -> Run:
    """Return a call of a graph with noise, or lengths, in all its inputs."""
    found, random = session(path, threads), np.random.default_rng(0)
    feeds = {
        one.name: np.full(one.shape, samples) if "int64" in one.type else random.normal(0, 0.1, one.shape).astype("f4")
        for one in found.get_inputs()
    }
    return lambda: found.run(None, feeds)


def least(runs: dict[str, Run], clips: int) -> dict[str, float]:
    """Milliseconds of processor time for a clip."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            times[name].append(1e3 * (time.process_time() - start) / clips)
    return {name: min(found[1:]) for name, found in times.items()}


def measure(name: str, feature: Any, clips: int, threads: int, folder: Path) -> None:
    rate = feature.wave.sample_rate
    waves, lengths = torch.zeros(clips, SECONDS * rate), torch.full((clips,), SECONDS * rate)
    layer = feature.torch_layer()
    with torch.no_grad():
        image = layer(waves, lengths)[0]
    image = image if image.ndim == 4 else image[:, None]
    backbone = timm.create_model("tf_efficientnet_b0", in_chans=image.shape[1], num_classes=10)
    paths = {
        "front end": exported(layer, (waves, lengths), folder / "layer.onnx"),
        "backbone": exported(backbone, (torch.zeros_like(image),), folder / "backbone.onnx"),
    }
    if isinstance(feature, LogMel) and feature.wave.trim_top_db is None:
        padded = np.zeros((clips, SECONDS * rate + feature.n_fft), np.float32)
        paths["STFT"] = stft_operator(feature, padded, folder / "stft.onnx")
        paths["one product"] = one_product(feature, padded, folder / "product.onnx")
        paths["two products"] = exported(layer.layer, (waves,), folder / "products.onnx")
    runs = {name: run_of(path, threads, SECONDS * rate) for name, path in paths.items()}
    noise = np.random.default_rng(0).normal(0, 0.1, (clips, SECONDS * rate)).astype("f4")
    found = least(runs | {"kernels": lambda: [feature.compute(wave) for wave in noise]}, clips)
    forms = " ".join(f"{found[form]:>13.2f}" if form in found else f"{'':>13}" for form in FORMS)
    shares = [found[form] / (found[form] + found["backbone"]) for form in ("front end", "kernels")]
    print(f"{name:<40} {forms} {shares[0]:>7.0%} {shares[1]:>7.0%}", flush=True)


FORMS = ("STFT", "one product", "two products", "front end", "kernels", "backbone")


def main() -> None:
    clips, threads = (int(argument) for argument in (*sys.argv[1:], *("1", "1")[len(sys.argv) - 1 :]))
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    torch.manual_seed(0)
    print(f"batches of {clips}, threads: {threads}")
    print(f"{'ms for one window':<40} {' '.join(f'{form:>13}' for form in FORMS)}   shares")
    with tempfile.TemporaryDirectory() as folder:
        for name, feature in FEATURES.items():
            measure(name, feature, clips, threads, Path(folder))


if __name__ == "__main__":
    main()
