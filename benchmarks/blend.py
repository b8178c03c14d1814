"""Greedy selection against a straightforward one in numpy, and what each way of blending is worth on held-out halves.

1. 100 runs × 10,000 clips × 41 classes, float32 (164 MB): `greedy` with 50 picks for macro-F1, all runs in one bag as
   its peer, which sums, takes argmax and scores anew for every candidate; interleaved rounds, medians. Then `greedy` as
   it comes (five bags), with the memory that it adds, and `choose` with its nested estimate.
2. 96 synthetic fold models of twelve families: half of the recordings choose and fit, the other half scores. Beside it
   what the real ones gave on UrbanSound8K (as issue 8 tells it).

Goals: greedy in under 5 s on two cores, memory below three times the input; `auto` above the mean of all, and its
nested estimate within 0.01 of the truth. Usage: blend.py [speed|story …], by default both.
"""

import os
import resource
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from acoustic_kit.blending import choose, greedy, mean, stack, stack_mean
from acoustic_kit.blending.decision import class_factors
from acoustic_kit.datasets.synthetic_predictions import make_predictions
from acoustic_kit.metrics import score

RUNS, CLIPS, CLASSES, PICKS, ROUNDS = 100, 10_000, 41, 50, 3
DATA_SETS = 6
REAL = {
    "best single run": "0.847",
    "mean of the best 12": "0.887",
    "greedy": "0.888",
    "mean of all": "0.894",
    "mean of all, classes tuned": "0.880",
    "weak stack, split at random": "0.962",
    "weak stack": "0.897",
    "stack_mean": "0.902",
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


def held_out_scores(seed: int) -> list[dict[str, float]]:
    p, targets, recordings = make_predictions(seed)
    one, other = halves(recordings, seed)
    found = []
    for fit, held in ((one, other), (other, one)):
        q, y, groups, new = p[:, fit], targets[fit], recordings[fit], p[:, held]

        def worth(blend: np.ndarray, held: np.ndarray = held) -> float:
            return score("f1", targets[held], blend)

        by_score = np.argsort([-score("f1", y, run) for run in q], kind="stable")
        blend = choose(q, y, groups, method="auto")
        a, b = halves(np.arange(len(targets)), seed)
        found.append(
            {
                "best single run": worth(new[by_score[0]]),
                "mean of the best 12": worth(mean(new[by_score[:12]])),
                "greedy": worth(greedy(q, y).predict(new)),
                "mean of all": worth(mean(new)),
                "mean of all, classes tuned": worth(mean(new) * class_factors("f1", y, mean(q)) ** 2),
                "weak stack, split at random": score(
                    "f1", targets[b], stack(p[:, a], targets[a], strength=1e-5).predict(p[:, b])
                ),
                "weak stack": worth(stack(q, y, strength=1e-5).predict(new)),
                "stack": worth(stack(q, y, groups).predict(new)),
                "stack_mean": worth(stack_mean(q, y, groups).predict(new)),
                "auto": worth(blend.predict(new)),
                "auto, nested estimate": blend.nested_score,
                "auto, on what chose it": blend.score,
                "auto took stack_mean": float(blend.method == "stack_mean"),
            }
        )
    return found


def story() -> None:
    found = [row for seed in range(DATA_SETS) for row in held_out_scores(seed)]
    print(f"\n{f'macro-F1 of {len(found)} held-out halves':32}{'synthetic':>10}{'± over them':>13}{'UrbanSound8K':>14}")
    for name in found[0]:
        values = [row[name] for row in found]
        print(f"{name:32}{np.mean(values):10.3f}{np.std(values):13.3f}{REAL.get(name, ''):>14}")


def main() -> None:
    for part in sys.argv[1:] or ["speed", "story"]:
        {"speed": speed, "story": story}[part]()


if __name__ == "__main__":
    main()
