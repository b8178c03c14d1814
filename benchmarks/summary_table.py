"""The Freesound table of 1,133 numbers against librosa 0.11, and where its time goes; statistics against scipy.stats.

Usage: python benchmarks/summary_table.py [folder of ESC-10]. Without a folder, the one that the tests use. Times are of
the process's CPU, one thread, medians of interleaved rounds, on clips of 5 s at 44.1 kHz; the first round warms up.

The peers: librosa is given one short-time Fourier transform wherever it accepts one, and akit's own blocks B to D (so
that only block A, nearly all of the work, is compared). numpy and scipy.stats are called once a family.
Goals: the table at least 10 times librosa, the seven statistics of (175, 216) at least 15 times (21 was measured for a
prototype). The limit of the table is its three Fourier transforms, given as a stage.
"""
# ruff: noqa: E402 (the number of threads is set before numpy is imported)

import os

for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import scipy.fft
import scipy.stats

from acoustic_kit.dsp.spectrum import power_blocks
from acoustic_kit.dsp.statistics import summarize
from acoustic_kit.features import Stats, Wave
from acoustic_kit.features.freesound2018 import table as freesound_table
from acoustic_kit.features.freesound2018.clip_parts import part_statistics
from acoustic_kit.features.freesound2018.constant_q import constant_q_chroma
from acoustic_kit.features.freesound2018.envelope import envelope_statistics
from acoustic_kit.features.freesound2018.harmonic import harmonic_mask
from acoustic_kit.features.freesound2018.mean_spectrum import spectrum_statistics
from acoustic_kit.features.freesound2018.stft import istft, stft
from acoustic_kit.features.freesound2018.tuning import estimate_tuning

RATE = 44100
FRAMES = {"n_fft": 2048, "hop_length": 512}
BLOCKS = (envelope_statistics, spectrum_statistics, part_statistics)
CLIPS, ROUNDS = 8, 5
FAMILY_SIZES = (128, 20, 12, 7, 1, 1, 1, 1, 1, 1, 2)  # 175 rows


def find_waves(arguments: list[str]) -> list[np.ndarray]:
    beside = Path(__file__).parents[2] / "shared" / "data" / "esc10"
    folder = Path(arguments[0] if arguments else os.environ.get("AKIT_ESC10", beside))
    found = sorted((folder / "audio").glob("*.*"))
    if not found:
        sys.exit(f"There are no clips in {folder / 'audio'}; name the folder of ESC-10.")
    return [Wave(RATE).compute(path) for path in found[:: len(found) // CLIPS][:CLIPS]]


def librosa_table(y: np.ndarray) -> np.ndarray:
    feature = librosa.feature
    spectra = librosa.stft(y, pad_mode="reflect", **FRAMES)
    S = np.abs(spectra)
    harmonic = librosa.istft(librosa.decompose.hpss(spectra)[0], length=len(y))
    chroma = feature.chroma_cqt(y=harmonic, sr=RATE, bins_per_octave=12)
    families = [
        feature.melspectrogram(S=S, sr=RATE),
        feature.mfcc(S=S, sr=RATE, n_mfcc=40),
        feature.chroma_stft(S=S, sr=RATE),
        feature.spectral_contrast(S=S, sr=RATE),
        feature.spectral_rolloff(S=S, sr=RATE),
        feature.spectral_centroid(S=S, sr=RATE),
        feature.spectral_bandwidth(S=S, sr=RATE),
        feature.tonnetz(chroma=chroma, sr=RATE),
        feature.zero_crossing_rate(y),
    ]
    frames = [
        np.concatenate([x.mean(axis=1), x.std(axis=1), scipy.stats.skew(x, axis=1), x.max(axis=1), x.min(axis=1)])
        for x in families
    ]
    return np.concatenate([*frames, *(block(y) for block in BLOCKS)])


def scipy_statistics(families: list[np.ndarray]) -> np.ndarray:
    def seven(x: np.ndarray) -> np.ndarray:
        shape = [scipy.stats.skew(x, axis=1), scipy.stats.kurtosis(x, axis=1)]
        order = [np.median(x, axis=1), x.min(axis=1), x.max(axis=1)]
        return np.stack([x.mean(axis=1), x.std(axis=1), *shape, *order], axis=1)

    return np.concatenate([seven(rows) for rows in families])


def medians(works: list[Callable], inputs: list) -> list[float]:
    """Milliseconds of CPU an input, of each."""
    rounds = np.empty((ROUNDS + 1, len(works)))
    for times in rounds:
        for i, work in enumerate(works):
            start = time.process_time()
            for value in inputs:
                work(value)
            times[i] = (time.process_time() - start) / len(inputs) * 1e3
    return list(np.median(rounds[1:], axis=0))


def compare(item: str, peer: str, ours: Callable, theirs: Callable, inputs: list) -> None:
    akit, other = medians([ours, theirs], inputs)
    print(f"{item:<34} {peer:<14} {akit:>8.2f} {other:>8.2f} {other / akit:>7.1f}x", flush=True)


def print_stages(y: np.ndarray) -> None:
    spectra, magnitude = stft(y, 2048, 512)
    mask = harmonic_mask(magnitude)
    harmonic = istft(spectra, mask, 512, len(y))
    rows = np.concatenate(list(freesound_table.freesound_rows(y, RATE).values()))
    frames = np.zeros((magnitude.shape[1], 2048))
    stages: dict[str, Callable] = {
        "(limit: the Fourier transforms)": lambda _: (
            scipy.fft.rfft(frames),
            scipy.fft.irfft(spectra.T, 2048),
            scipy.fft.rfft(frames.astype(np.float32)),
        ),
        "stft in float64": lambda _: stft(y, 2048, 512),
        "mel, mfcc, chroma, contrast, ...": lambda _: freesound_table._spectral_rows(magnitude, RATE),
        "harmonic mask (running medians)": lambda _: harmonic_mask(magnitude),
        "inverse stft of the harmonic part": lambda _: istft(spectra, mask, 512, len(y)),
        "its tuning": lambda _: estimate_tuning(
            (np.sqrt(p) for _, p in power_blocks(harmonic, 2048, 512, "reflect")), RATE, 2048
        ),
        "its constant-Q chroma": lambda _: constant_q_chroma(harmonic, RATE, 512, 0.0),
        "zero crossings": lambda _: freesound_table._zero_crossing_rate(y),
        "statistics of the rows": lambda _: summarize(rows),
        "envelope": lambda _: envelope_statistics(y),
        "mean spectrum": lambda _: spectrum_statistics(y),
        "parts": lambda _: part_statistics(y),
    }
    print(f"\n{f'stage, for {len(y) / RATE:.1f} s':<34} {'ms':>8}")
    for stage, milliseconds in zip(stages, medians(list(stages.values()), [None] * 3), strict=True):
        print(f"{stage:<34} {milliseconds:>8.2f}", flush=True)


def main() -> None:
    warnings.filterwarnings("ignore", message="Precision loss|n_fft=256 is too large")
    waves = find_waves(sys.argv[1:])
    table = Stats(Wave(RATE), "freesound")
    print(f"{'item':<34} {'peer':<14} {'akit ms':>8} {'peer ms':>8} {'ratio':>8}")
    compare("table of 1,133 numbers", "librosa 0.11", table.compute, librosa_table, waves)
    random = np.random.default_rng(0)
    families = [random.standard_normal((size, 216)).astype(np.float32) for size in FAMILY_SIZES]
    ours = lambda parts: summarize(np.concatenate(parts))  # noqa: E731
    compare("seven statistics over (175, 216)", "scipy.stats", ours, scipy_statistics, [families] * 5)
    print_stages(max(waves, key=len))


if __name__ == "__main__":
    main()
