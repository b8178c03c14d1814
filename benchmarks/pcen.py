"""PCEN against librosa and against a loop over time in torch: one thread, interleaved rounds, medians of CPU time.

Usage: python benchmarks/pcen.py [folder of ESC-10]. Without a folder, the one that the tests use; where that is
missing, generated sound. The first round warms up and is not counted.

Goals: mel and PCEN at both resolutions at least 3.55 times as fast as librosa, PCEN alone 3.8 times, trainable PCEN
forward and backward 12.5 times as fast as the loop.
"""
# ruff: noqa: E402 (the number of threads is set before numpy is imported)

import os

for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import sys
import time
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import torch
from torch import Tensor

from acoustic_kit.features.pcen import Pcen
from acoustic_kit.features.wave import Wave
from acoustic_kit.nn.pcen import TrainablePcen

RATE, CLIPS, ROUNDS, CALLS = 22050, 16, 9, 5
SHAPE = (CLIPS, 1, 128, 173)
B = 1 / 6


def find_waves(arguments: list[str]) -> list[np.ndarray]:
    beside = Path(__file__).parents[2] / "shared" / "data" / "esc10"
    folder = Path(arguments[0] if arguments else os.environ.get("AKIT_ESC10", beside))
    found = sorted((folder / "audio").glob("*.*"))
    if found:
        print(f"{CLIPS} of the {len(found)} clips of {folder.name}")
        return [Wave(RATE, trim_top_db=None).compute(path) for path in found[:: len(found) // CLIPS][:CLIPS]]
    print(f"No clips in {folder / 'audio'}: {CLIPS} generated ones of 5 s")
    random = np.random.default_rng(0)
    return [0.1 * random.standard_normal(5 * RATE).astype(np.float32) for _ in range(CLIPS)]


def librosa_mel_pcen(y: np.ndarray, power: int) -> np.ndarray:
    mels = [librosa.feature.melspectrogram(y=y, sr=RATE, n_fft=n_fft, power=power) for n_fft in (2048, 1024)]
    return np.stack([librosa.pcen(mel * 2**31, sr=RATE) for mel in mels])


def time_loop(energy: Tensor, gain: Tensor, bias: Tensor, power: Tensor) -> Tensor:
    smooth = [energy[..., 0]]
    for t in range(1, energy.shape[-1]):
        smooth.append((1 - B) * smooth[-1] + B * energy[..., t])
    return (energy / (1e-6 + torch.stack(smooth, dim=-1)) ** gain + bias) ** power - bias**power


def training_step(layer: Callable[[Tensor], Tensor], energy: Tensor, grad_out: Tensor) -> None:
    energy.grad = None
    layer(energy).backward(grad_out)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    for _ in range(CALLS):
        work()
    return (time.process_time() - start) / CALLS


def compare(name: str, peer: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
    rounds = np.array([(seconds(ours), seconds(theirs)) for _ in range(ROUNDS + 1)])[1:]
    akit, other = 1e3 * np.median(rounds, axis=0)
    print(f"{name:<38} {akit:>9.2f} {other:>9.2f} {other / akit:>8.2f}x  {peer}", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    waves = find_waves(sys.argv[1:])
    print(f"\n{f'ms for {CLIPS} clips':<38} {'akit':>9} {'peer':>9} {'ratio':>9}")
    for spectrum, power in (("magnitude", 1), ("power", 2)):
        feature = Pcen(Wave(RATE), n_fft=(2048, 1024), spectrum=spectrum)
        compare(
            f"mel + PCEN at 2048 and 1024, {spectrum}",
            "librosa, both resolutions",
            lambda feature=feature: [feature.compute(y) for y in waves],
            lambda power=power: [librosa_mel_pcen(y, power) for y in waves],
        )

    random = torch.Generator().manual_seed(0)
    energy = torch.rand(SHAPE, generator=random) ** 4
    grad_out = torch.randn(SHAPE, generator=random)
    layer = TrainablePcen(B)
    arrays = energy[:, 0].numpy()
    with torch.no_grad():
        compare("PCEN", "librosa, clip by clip", lambda: layer(energy), lambda: [librosa.pcen(x, b=B) for x in arrays])

    energy.requires_grad_()
    scalars = [x.detach().requires_grad_() for x in (layer.gain, layer.bias, layer.power)]
    compare(
        "trainable PCEN, forward and backward",
        "loop over time, torch",
        lambda: training_step(layer, energy, grad_out),
        lambda: training_step(lambda x: time_loop(x, *scalars), energy, grad_out),
    )


if __name__ == "__main__":
    main()
