"""Features against a plain loop that computes the same with librosa: one process, one thread, ratios of medians.

Usage: python benchmarks/features.py [folder of ESC-10]. Without a folder, the one that the tests use; where that
is missing, generated sound. Both sides run interleaved, on the same clips; the first round warms up and is not counted.
"""
# ruff: noqa: E402 (the number of threads is set before numpy is imported)

import os

for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import scipy.stats
import soundfile

from acoustic_kit.dsp.decoding import decode, resample
from acoustic_kit.dsp.trimming import trim
from acoustic_kit.features import LogMel, Stats, Wave

CLIPS = 24
ROUNDS = 7
RATE = 22050


def find_clips(arguments: list[str], scratch: Path) -> list[Path]:
    beside = Path(__file__).parents[2] / "shared" / "data" / "esc10"
    folder = Path(arguments[0] if arguments else os.environ.get("AKIT_ESC10", beside))
    found = sorted((folder / "audio").glob("*.*"))
    if found:
        print(f"{CLIPS} of the {len(found)} clips of {folder.name}")
        return found[:: len(found) // CLIPS][:CLIPS]
    print(f"No clips in {folder / 'audio'}: {CLIPS} generated ones of 5 s, ogg, 44.1 kHz")
    random = np.random.default_rng(0)
    for i in range(CLIPS):
        soundfile.write(scratch / f"{i}.ogg", 0.1 * random.standard_normal(5 * 44100), 44100)
    return sorted(scratch.iterdir())


def librosa_wave(path: Path) -> np.ndarray:
    return librosa.effects.trim(librosa.load(path, sr=RATE)[0])[0]


def librosa_logmel(y: np.ndarray) -> np.ndarray:
    return librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=RATE))


def librosa_stats(y: np.ndarray) -> np.ndarray:
    feature = librosa.feature
    mfcc = feature.mfcc(y=y, sr=RATE)
    families = [
        librosa.power_to_db(feature.melspectrogram(y=y, sr=RATE)),
        mfcc,
        feature.delta(mfcc, mode="nearest"),
        feature.spectral_centroid(y=y, sr=RATE),
        feature.spectral_bandwidth(y=y, sr=RATE),
        feature.spectral_rolloff(y=y, sr=RATE),
        feature.spectral_flatness(y=y),
        feature.spectral_contrast(y=y, sr=RATE),
        feature.rms(y=y),
        feature.zero_crossing_rate(y),
        feature.chroma_stft(y=y, sr=RATE, tuning=0),
    ]
    return np.concatenate([statistics(rows).ravel() for rows in families])


def statistics(rows: np.ndarray) -> np.ndarray:
    skew, kurtosis = scipy.stats.skew(rows, axis=1), scipy.stats.kurtosis(rows, axis=1)
    order = [np.median(rows, axis=1), rows.min(axis=1), rows.max(axis=1)]
    return np.stack([rows.mean(axis=1), rows.std(axis=1), skew, kurtosis, *order], axis=1)


def seconds(work: Callable, clips: list) -> float:
    start = time.perf_counter()
    for clip in clips:
        work(clip)
    return time.perf_counter() - start


def compare(name: str, ours: Callable, theirs: Callable, clips: list) -> None:
    rounds = np.array([(seconds(ours, clips), seconds(theirs, clips)) for _ in range(ROUNDS + 1)])[1:]
    akit, other = len(clips) / np.median(rounds, axis=0)
    print(f"{name:<32} {akit:>10.1f} {other:>10.1f} {akit / other:>9.2f}x", flush=True)


def main() -> None:
    warnings.filterwarnings("ignore", message="Precision loss")
    wave, logmel, stats = Wave(RATE), LogMel(), Stats()
    with tempfile.TemporaryDirectory() as scratch:
        files = find_clips(sys.argv[1:], Path(scratch))
        decoded = [resample(*decode(path), RATE) for path in files]
        waves = [trim(y, 60.0)[0] for y in decoded]
        start = time.perf_counter()
        logmel.compute(waves[0])
        stats.compute(waves[0])
        print(f"kernels loaded or compiled in {time.perf_counter() - start:.1f} s\n")
        print(f"{'clips per second':<32} {'akit':>10} {'librosa':>10} {'ratio':>10}")

        def from_files(make_wave: Callable, make_logmel: Callable, make_stats: Callable) -> Callable:
            return lambda path: (make_logmel(y := make_wave(path)), make_stats(y))

        ours = from_files(wave.compute, logmel.compute, stats.compute)
        compare("wave + logmel + stats", ours, from_files(librosa_wave, librosa_logmel, librosa_stats), files)
        ours = from_files(lambda y: trim(y, 60.0)[0], logmel.compute, stats.compute)
        theirs = from_files(lambda y: librosa.effects.trim(y)[0], librosa_logmel, librosa_stats)
        compare("the same, already decoded", ours, theirs, decoded)
        compare("decode, resample, trim", wave.compute, librosa_wave, files)
        compare("trim", lambda y: trim(y, 60.0), librosa.effects.trim, decoded)
        compare("logmel", logmel.compute, librosa_logmel, waves)
        compare("stats", stats.compute, librosa_stats, waves)


if __name__ == "__main__":
    main()
