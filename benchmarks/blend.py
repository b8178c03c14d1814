"""Greedy selection against a straightforward one in numpy, and what each way of blending is worth on held-out halves.

`speed`: 100 runs × 10,000 clips × 41 classes, float32 (164 MB): `greedy` with 50 picks for macro-F1, all runs in one
bag as its peer, which sums, takes argmax and scores anew for every candidate; interleaved rounds, medians. Then
`greedy` as it comes (five bags), with the memory that it adds, and `choose` with its nested estimate.

`story`: synthetic fold models; half of the recordings fit, the other half scores. Beside it the same of 96 real ones on
UrbanSound8K. For each number of runs and clips: the score of each method, how often `auto` is no worse than the mean of
all, the most that it loses, and how far its nested estimate is from the truth on average.

`ranking`: the same for tasks with several labels and metrics that compare clips within a class, for families of unequal
skill and confidence, and the geometric mean that `auto` is for other metrics (`four`).

Goals: greedy in under 5 s on two cores, memory below three times the input; `auto` no worse than the mean of all in
85 % of the halves and never by more than 0.01, its nested estimate within 0.01 of the truth on average.
Usage: blend.py [speed|story|ranking [data sets [part of a case's name]]], by default all, with six data sets each.
"""

import os
import resource
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from acoustic_kit.blending import Blend, choose, geometric, greedy, mean, stack, weights
from acoustic_kit.blending.arrays import from_log_odds, log_odds
from acoustic_kit.blending.combine import averaged_predictions
from acoustic_kit.metrics.scores import score
from benchmarks.synthetic_predictions import CLIPS_PER_CLASS, make_predictions

RUNS, CLIPS, CLASSES, PICKS, ROUNDS = 100, 10_000, 41, 50, 3
DATA_SETS = 6


def scaled(times: float) -> tuple[int, ...]:
    return tuple(max(2, round(times * n)) for n in CLIPS_PER_CLASS)


CASES = {  # name: families, fold models of each, clips of each class, recordings, task; half of the recordings fit
    "96 runs": (12, 8, CLIPS_PER_CLASS, 250, "single"),
    "20 runs": (5, 4, CLIPS_PER_CLASS, 250, "single"),
    "5 runs": (5, 1, CLIPS_PER_CLASS, 250, "single"),
    "20 runs, several labels": (5, 4, CLIPS_PER_CLASS, 250, "multi"),
    "20 runs, 600 clips": (5, 4, scaled(0.36), 90, "single"),
    "20 runs, 600 recordings": (5, 4, (60,) * 10, 600, "single"),  # a clip each, as without groups
    "20 runs, 300 recordings": (5, 4, (30,) * 10, 300, "single"),
    "20 runs, 20 classes": (5, 4, (80,) * 20, 160, "single"),  # of eight recordings
    "20 runs, 20,000 clips": (5, 4, scaled(12.1), 3025, "single"),
}
METHODS = ("mean", "stack", "weights", "greedy")
RANKING_CASES = {  # name: families, fold models of each, clips of each class, recordings, difficulty, inequality
    "20 runs, alike, easy": (5, 4, CLIPS_PER_CLASS, 250, 0.0, 0.0),
    "20 runs": (5, 4, CLIPS_PER_CLASS, 250, 2.0, 1.0),
    "5 runs": (5, 1, CLIPS_PER_CLASS, 250, 2.0, 3.0),
    "10 runs, 600 clips": (5, 2, scaled(0.36), 90, 2.0, 2.0),
    "10 runs, 40 classes": (5, 2, (40,) * 40, 320, 1.0, 2.0),
}


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def many_runs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, CLASSES, CLIPS)
    common = rng.standard_normal((CLIPS, CLASSES), np.float32)
    p = np.empty((RUNS, CLIPS, CLASSES), np.float32)
    for run in range(RUNS):
        p[run] = common + rng.standard_normal((CLIPS, CLASSES), np.float32) * (1 + run / RUNS)
        p[run, np.arange(CLIPS), targets] += 3
        np.exp(p[run], out=p[run])
        p[run] /= p[run].sum(axis=1, keepdims=True)
    return p, targets


def numpy_greedy(p: np.ndarray, targets: np.ndarray) -> np.ndarray:
    total, chosen = np.zeros(p.shape[1:], np.float32), []
    for _ in range(PICKS):
        chosen.append(int(np.argmax([score("f1", targets, total + run) for run in p])))
        total += p[chosen[-1]]
    return np.bincount(chosen, minlength=len(p)) / PICKS


def speed() -> None:
    p, targets = many_runs()
    greedy(p[:2, :50], targets[:50], picks=2)  # compiles
    print(f"{RUNS} runs × {CLIPS:,} clips × {CLASSES} classes, {p.nbytes / 2**20:.0f} MiB, {os.cpu_count()} cores")
    before = peak_megabytes()
    bagged = [seconds(lambda: greedy(p, targets, picks=PICKS)) for _ in range(ROUNDS)]
    added = peak_megabytes() - before
    print(f"greedy, {PICKS} picks, five bags: {statistics.median(bagged):.2f} s, peak memory + {added:.0f} MiB")
    own, peer = [], []
    for _ in range(ROUNDS):
        own.append(seconds(lambda: greedy(p, targets, picks=PICKS, bags=1)))
        peer.append(seconds(lambda: numpy_greedy(p[: RUNS // 2], targets)))  # a bag is half of the runs
    ours, theirs = statistics.median(own), statistics.median(peer)
    print(f"one bag: {ours:.2f} s; numpy: {theirs:.2f} s; {theirs / ours:.1f} times as fast")
    for method in ("greedy", "auto"):
        print(f"choose, {method}: {seconds(lambda method=method: choose(p, targets, method=method)):.0f} s", flush=True)


def halves(groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.isin(groups, np.random.default_rng(seed).permutation(groups.max() + 1)[::2])
    return np.flatnonzero(first), np.flatnonzero(~first)


def predictions(case: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (runs, clips, classes), targets and recordings."""
    families, folds, clips, n_recordings, task = CASES[case]
    if task == "multi":
        return mixed(seed, families, folds, clips, n_recordings)
    return make_predictions(seed, families=families, folds=folds, clips_per_class=clips, recordings=n_recordings)


def mixed(
    seed: int, families: int, folds: int, clips: tuple[int, ...], n_recordings: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mix recordings in pairs, which are then whole: labels of both, each as likely as in either."""
    p, targets, recordings = make_predictions(
        seed, families=families, folds=folds, clips_per_class=clips, recordings=n_recordings
    )
    rng, n = np.random.default_rng(seed), recordings.max() + 1
    order, other = rng.permutation(n), np.empty(n, np.int64)
    other[order] = order.reshape(-1, 2)[:, ::-1].ravel()
    partner = np.array([rng.choice(np.flatnonzero(recordings == other[recording])) for recording in recordings])
    labels = np.eye(p.shape[2], dtype=bool)[targets]
    return 1 - (1 - 0.9 * p) * (1 - 0.9 * p[:, partner]), labels | labels[partner], np.argsort(order)[recordings] // 2


def unequal(p: np.ndarray, folds: int, difficulty: float, inequality: float, seed: int) -> np.ndarray:
    """Add noise to the log-odds of all runs, and more to later families; change each family's confidence."""
    rng = np.random.default_rng([seed, 1])  # not that of the predictions
    noise = difficulty * rng.standard_normal(p.shape[1:])
    found = np.empty(p.shape)
    families = len(p) // folds
    for family in range(families if inequality else 0):
        own = noise + inequality * family / (families - 1) * rng.standard_normal(p.shape[1:])
        factor, bias = np.exp(0.5 * rng.standard_normal()), rng.standard_normal()
        for run in range(family * folds, (family + 1) * folds):
            found[run] = from_log_odds(factor * (log_odds(p[run], "multi") + own) + bias, "multi")
    return found if inequality else p


def four(p: np.ndarray, targets: np.ndarray, groups: np.ndarray, metric: str, new: np.ndarray) -> np.ndarray:
    """Return the geometric mean of the predictions of `mean`, `stack`, `weights` and `greedy`."""
    fits = [fit(p, targets, groups, metric).predict(new) for fit in (stack, weights, greedy)]
    return geometric([mean(new), *fits], "multi")


def ranking(data_sets: int, part: str) -> None:
    names = ("mean", "rank", "power", "four", "auto", "nested")
    print(f"\n{2 * data_sets} held-out halves of tasks with several labels; auto against the mean of all\n")
    print(f"{'':30}", *(f"{name:>8}" for name in names), "  no worse  worst  seconds")
    for case, (families, folds, clips, recordings, *noise) in RANKING_CASES.items():
        for metric in ("map", "roc_auc"):
            if part not in case:
                continue
            rows, took = [], []
            for seed in range(data_sets):
                p, targets, groups = mixed(seed, families, folds, clips, recordings)
                p = unequal(p, folds, *noise, seed)
                one, other = halves(groups, seed)
                for fit, held in ((one, other), (other, one)):
                    began = time.process_time()
                    blend = choose(p[:, fit], targets[fit], groups[fit], metric)
                    took.append(time.process_time() - began)
                    new = p[:, held]
                    parts = averaged_predictions(list(new[list(blend.members)]), blend.parameters, "multi")
                    parts["four"] = four(p[:, fit], targets[fit], groups[fit], metric, new)
                    parts["auto"] = blend.predict(new)
                    row = {name: score(metric, targets[held], found) for name, found in parts.items()}
                    rows.append(row | {"nested": blend.nested_score})
            report(f"{case}, {metric}", [{name: row[name] for name in names} for row in rows], took, 30)


def held_out(blend: Blend, new: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Return the score of a blend by `auto` on other clips, and of each method that it averages."""
    parts = averaged_predictions(list(new[list(blend.members)]), blend.parameters, blend.task)
    found = {name: score("f1", targets, parts[name]) for name in METHODS}
    return found | {"auto": score("f1", targets, blend.predict(new)), "nested": blend.nested_score}


def story(data_sets: int, part: str) -> None:
    print(f"\nmacro-F1 of {2 * data_sets} held-out halves; auto against the mean of all\n")
    print(f"{'':26}", *(f"{name:>8}" for name in (*METHODS, "auto", "nested")), "  no worse  worst  seconds")
    for case in (name for name in CASES if part in name):
        rows, took = [], []
        for seed in range(data_sets):
            p, targets, recordings = predictions(case, seed)
            one, other = halves(recordings, seed)
            for fit, held in ((one, other), (other, one)):
                began = time.process_time()
                blend = choose(p[:, fit], targets[fit], recordings[fit])
                took.append(time.process_time() - began)
                rows.append(held_out(blend, p[:, held], targets[held]))
        report(case, rows, took, 26)


def report(case: str, rows: list[dict[str, float]], took: list[float], width: int) -> None:
    gains = np.array([row["auto"] - row["mean"] for row in rows])
    figures = " ".join(f"{np.mean([row[name] for row in rows]):8.4f}" for name in rows[0])
    print(f"{case:{width}} {figures} {(gains >= 0).mean():10.0%} {gains.min():+.4f} {np.mean(took):6.1f}", flush=True)


def main() -> None:
    arguments = sys.argv[1:]
    part, *rest = arguments or [""]
    data_sets, case = int(rest[0]) if rest else DATA_SETS, rest[1] if len(rest) > 1 else ""
    if part in ("", "speed"):
        speed()
    if part in ("", "story"):
        story(data_sets, case)
    if part in ("", "ranking"):
        ranking(data_sets, case)


if __name__ == "__main__":
    main()
