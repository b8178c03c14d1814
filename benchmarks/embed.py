"""Embeddings of transformers' audio models against transformers clip by clip: ratios of medians of process time.

Usage: python benchmarks/embed.py [--tiny] [--cuda] [FAMILY …]. Checkpoints have random weights, which take as long as
any: of base size, or tiny, where what surrounds the network counts. Both sides begin with waves of 5 s (every fourth:
3 s) and end with the mean over frames; they run interleaved, on the same clips, and the first round warms up and is not
counted. The peer calls the feature extractor and the network of transformers for one clip at a time, as its
documentation does. On a CPU, one process and one thread; with --cuda, wall time and a GPU.
"""
# ruff: noqa: E402 (the number of threads is set before numpy is imported)

import os
import sys

CUDA = "--cuda" in sys.argv
if not CUDA:
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM"):
        os.environ[f"{library}_NUM_THREADS"] = "1"

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.utils import logging

from acoustic_kit.features.embed.embed import Embed

CLIPS, ROUNDS = 4, 2
SMALL: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
}  # fmt: skip
TINY: dict[str, dict[str, Any]] = {
    "wave": {**SMALL, "conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2},
    "AST": SMALL,
    "Whisper": {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 16},
    "ClapAudio": {
        "patch_embeds_hidden_size": 8,
        "num_attention_heads": [1, 1, 1, 1],
        "hidden_size": 64,
        "depths": [1] * 4,
    },
}
BASE: dict[str, dict[str, Any]] = {
    "wave": {},
    "AST": {},
    "Whisper": {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048},
    "ClapAudio": {"num_attention_heads": [4, 8, 16, 32], "hidden_size": 768, "depths": [2, 2, 6, 2]},
}
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}


def checkpoint(folder: Path, family: str, sizes: dict[str, dict[str, Any]]) -> tuple[Any, Any, Callable]:
    """Save a checkpoint; return transformers' network and extractor, and how it computes frames (1, frames, d)."""
    torch.manual_seed(0)
    t = transformers
    if family == "AST":
        extractor, model = t.ASTFeatureExtractor(), t.ASTModel(t.ASTConfig(**sizes["AST"]))
        frames = lambda net, x: net(**x).pooler_output[:, None]  # noqa: E731
    elif family == "CLAP":
        extractor = t.ClapFeatureExtractor(truncation="rand_trunc")
        model = t.ClapAudioModelWithProjection(t.ClapAudioConfig(**sizes["ClapAudio"]))
        frames = lambda net, x: net(**x).audio_embeds[:, None]  # noqa: E731
    elif family == "Whisper":
        extractor = t.WhisperFeatureExtractor()
        config = t.WhisperConfig(**sizes["Whisper"], decoder_layers=1, decoder_attention_heads=1, vocab_size=100,
                                 pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
                                 suppress_tokens=None, begin_suppress_tokens=None)  # fmt: skip
        model = t.WhisperModel(config)
        frames = lambda net, x: net.get_encoder()(**x).last_hidden_state  # noqa: E731
    else:
        extractor = t.Wav2Vec2FeatureExtractor(return_attention_mask="large" in family)
        prefix, _, kind = family.partition(" ")
        config = getattr(t, f"{prefix}Config")(**sizes["wave"], **(LAYER_NORM if kind else {}))
        model = getattr(t, f"{prefix}Model")(config)
        frames = lambda net, x: net(**x).last_hidden_state  # noqa: E731
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return model.eval(), extractor, frames


def measure(family: str, folder: Path, sizes: dict[str, dict[str, Any]], n: int) -> None:
    device = torch.device("cuda" if CUDA else "cpu")
    model, extractor, frames = checkpoint(folder, family, sizes)
    model, feature = model.to(device), Embed(str(folder))
    rate = feature.source.sample_rate  # type: ignore[attr-defined]
    random = np.random.default_rng(0)
    waves = [0.1 * random.standard_normal(rate * (3 if i % 4 == 3 else 5)).astype(np.float32) for i in range(n)]

    def ours() -> list[np.ndarray]:
        return feature.compute_on(device, [(wave, None) for wave in waves])

    @torch.inference_mode()
    def theirs() -> list[np.ndarray]:
        found = []
        for wave in waves:
            x = extractor(wave, sampling_rate=rate, return_tensors="pt").to(device)
            length = -(-len(wave) // 320) if family == "Whisper" else None
            found.append(frames(model, x)[0, :length].mean(dim=0).cpu().numpy())
        return found

    clock = time.perf_counter if CUDA else time.process_time
    seconds, apart = [], 0.0
    for _ in range(ROUNDS + 1):
        start = clock()
        a = ours()
        middle = clock()
        b = theirs()
        seconds.append((middle - start, clock() - middle))
        apart = max(np.abs(np.stack(a) - np.stack(b)).max() / np.abs(np.stack(b)).max(), apart)
    akit, peer = np.median(seconds[1:], axis=0) / n
    print(f"{family:<16} {1 / akit:>10.1f} {1 / peer:>12.1f} {peer / akit:>7.2f}x {apart:>10.0e}", flush=True)


def main() -> None:
    chosen = [name for name in sys.argv[1:] if not name.startswith("--")]
    families = chosen or ["AST", "CLAP", "Whisper", "Wav2Vec2", "Wav2Vec2 large", "Hubert", "WavLM"]
    sizes = TINY if "--tiny" in sys.argv else BASE
    torch.set_num_threads(torch.get_num_threads() if CUDA else 1)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    print(f"{'clips a second':<16} {'akit':>10} {'transformers':>12} {'ratio':>8} {'apart':>10}")
    for family in families:
        with tempfile.TemporaryDirectory() as folder:
            measure(family, Path(folder), sizes, 64 if CUDA else CLIPS)


if __name__ == "__main__":
    main()
