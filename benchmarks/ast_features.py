"""The input and the embeddings of AST against transformers, clip by clip: ratios of medians of process time.

Usage: python benchmarks/ast_features.py [folder of ESC-10]. Without a folder, the one that the tests use; where that is
missing, generated sound. One process and one thread; both sides run interleaved, on the same clips, and the first round
warms up and is not counted. Embeddings are of a model of full size with random weights, which takes as long as any; the
peer computes them clip by clip from the same input. Goal for the input: 2.8 at least; the FFT alone would reach 8.4.
"""
# ruff: noqa: E402 (the number of threads is set before numpy is imported)

import os

for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel
from transformers.utils import logging

from acoustic_kit.dsp.decoding import decode, resample
from acoustic_kit.features.ast import Ast
from acoustic_kit.features.ast_input import AstInput

CLIPS, EMBEDDED = 16, 8  # of the latter, the first ones
ROUNDS, EMBEDDING_ROUNDS = 9, 3


def find_waves(arguments: list[str]) -> list[np.ndarray]:
    """Waves of 5 s at 16 kHz."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "esc10"
    folder = Path(arguments[0] if arguments else os.environ.get("AKIT_ESC10", beside))
    found = sorted((folder / "audio").glob("*.*"))
    if found:
        print(f"{CLIPS} of the {len(found)} clips of {folder.name}")
        return [resample(*decode(path), 16000) for path in found[:: len(found) // CLIPS][:CLIPS]]
    print(f"No clips in {folder / 'audio'}: {CLIPS} generated ones of 5 s")
    return list(0.1 * np.random.default_rng(0).standard_normal((CLIPS, 80000)).astype(np.float32))


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(name: str, ours: Callable, theirs: Callable, clips: int, rounds: int) -> None:
    measured = np.array([(seconds(ours), seconds(theirs)) for _ in range(rounds + 1)])[1:]
    akit, peer = 1e3 * np.median(measured, axis=0) / clips
    print(f"{name:<44} {akit:>10.2f} {peer:>12.2f} {peer / akit:>7.2f}x", flush=True)


def compare_inputs(waves: list[np.ndarray]) -> list[np.ndarray]:
    feature, extractor = AstInput(), ASTFeatureExtractor()

    def extract(wave: np.ndarray) -> np.ndarray:
        return extractor(wave, sampling_rate=16000, return_tensors="np")["input_values"][0]

    inputs = [feature.compute(wave) for wave in waves]
    apart = max(np.abs(made - extract(wave)).max() for made, wave in zip(inputs, waves, strict=True))
    compare("ast_input", lambda: list(map(feature.compute, waves)), lambda: list(map(extract, waves)), CLIPS, ROUNDS)
    print(f"    largest difference {apart:.1e}")
    return inputs


def compare_embeddings(inputs: list[np.ndarray], folder: str) -> None:
    torch.manual_seed(0)
    ASTModel(ASTConfig()).save_pretrained(folder)
    model = ASTModel.from_pretrained(folder).eval()

    @torch.inference_mode()
    def embed(source: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(source)[None]).pooler_output[0].numpy()

    feature = Ast(weights=folder)
    apart = np.abs(np.stack(feature.compute_batch(inputs[:2])) - np.stack(list(map(embed, inputs[:2])))).max()
    batched = [inputs[i : i + Ast.batch_size] for i in range(0, len(inputs), Ast.batch_size)]
    name = f"ast, batches of {Ast.batch_size}, {torch.get_num_threads()} thread, CPU"
    ours, theirs = lambda: list(map(feature.compute_batch, batched)), lambda: list(map(embed, inputs))
    compare(name, ours, theirs, len(inputs), EMBEDDING_ROUNDS)
    print(f"    largest difference {apart:.1e}")


def main() -> None:
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    waves = find_waves(sys.argv[1:])
    print(f"{'ms a clip':<44} {'akit':>10} {'transformers':>12} {'ratio':>8}")
    inputs = compare_inputs(waves)
    with tempfile.TemporaryDirectory() as folder:
        compare_embeddings(inputs[:EMBEDDED], folder)


if __name__ == "__main__":
    main()
