"""ROC-AUC against scikit-learn's, class by class, and greedy selection by it; other metrics and bootstrap draws beside.

`score`: 7,200 clips × 234 classes, one label a clip, float32 and float64: `roc_auc` and the mean of scikit-learn's
`roc_auc_score` of each class, in interleaved rounds of one process, medians. Then every metric that fits, and 100
bootstrap draws of some.

`greedy`: 25 runs of that size, 50 picks, five bags: wall and processor time by each metric that reads all
probabilities.

Goals: `roc_auc` at least 20 times as fast; greedy by it in under 10 s on two cores. Other work on the machine makes
times longer: the load is printed, and the processor time divided by the number of cores is about that on idle ones.
Usage: metrics.py [score|greedy], by default both.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import roc_auc_score

from acoustic_kit.blending import greedy
from acoustic_kit.blending.combine import Fit
from acoustic_kit.metrics import fitting_metrics, score
from acoustic_kit.metrics.bootstrap import draw_weights, drawn_scores

CLIPS, CLASSES, RUNS, ROUNDS, DRAWS = 7_200, 234, 25, 5, 100


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return the wall and the processor time of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def many_runs(n_runs: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return probabilities, float32 (clips, classes) each, whose errors are alike, and targets, bool."""
    rng = np.random.default_rng(0)
    targets = rng.integers(CLASSES, size=CLIPS)[:, None] == np.arange(CLASSES)
    common = rng.standard_normal((CLIPS, CLASSES), np.float32)
    runs = []
    for run in range(n_runs):
        logits = common + rng.standard_normal((CLIPS, CLASSES), np.float32) * (1 + run / n_runs) + 2.5 * targets - 4
        runs.append((1 / (1 + np.exp(-logits))).astype(np.float32))
    return runs, targets


def by_scikit_learn(targets: np.ndarray, p: np.ndarray) -> float:
    return float(np.mean([roc_auc_score(targets[:, c], p[:, c]) for c in range(CLASSES)]))


def scores() -> None:
    (run,), targets = many_runs(1)
    for p in (run, run.astype(np.float64)):
        score("roc_auc", targets, p)
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(seconds(lambda p=p: score("roc_auc", targets, p)))
            theirs.append(seconds(lambda p=p: by_scikit_learn(targets, p)))
        (wall, cpu), (wall_of, cpu_of) = (np.median(found, axis=0) for found in (ours, theirs))
        difference = abs(score("roc_auc", targets, p) - by_scikit_learn(targets, p))
        print(
            f"roc_auc of {p.dtype}: {wall:.3f} s (processor {cpu:.3f}), scikit-learn {wall_of:.3f} s ({cpu_of:.3f}): "
            f"{statistics.median(b[0] / a[0] for a, b in zip(ours, theirs, strict=True)):.0f} times as fast, "
            f"{cpu_of / cpu:.0f} by processor time; they differ by {difference:.1e}"
        )
    for metric in fitting_metrics("multi"):
        wall, cpu = seconds(lambda metric=metric: score(metric, targets, run))
        print(f"{metric:10} {wall:7.3f} s (processor {cpu:.3f})")
    for metric in ("roc_auc", "cmap5", "micro_map", "lwlrap"):
        weights = draw_weights(np.arange(CLIPS), metric, CLASSES, resamples=DRAWS)
        wall, cpu = seconds(lambda metric=metric, w=weights: drawn_scores(metric, targets, run, w))
        print(f"{weights.shape[1]} draws of {metric:10} {wall:7.2f} s (processor {cpu:.2f})", flush=True)


def selection() -> None:
    runs, targets = many_runs(RUNS)
    print(f"{RUNS} runs, {sum(run.nbytes for run in runs) / 2**20:.0f} MiB")
    greedy([run[:50, :5] for run in runs[:2]], targets[:50, :5], metric="roc_auc", picks=2)  # compiles
    for metric in ("roc_auc", "map", "cmap5", "micro_map", "lwlrap", "log_loss"):
        fits: list[Fit] = []
        wall, cpu = seconds(lambda metric=metric, fits=fits: fits.append(greedy(runs, targets, metric=metric)))
        best = max(score(metric, targets, run) for run in runs)
        blended = score(metric, targets, fits[0].predict(runs))
        print(f"greedy by {metric:8} {wall:6.1f} s (processor {cpu:.1f}): {best:.4f} → {blended:.4f}", flush=True)


def main() -> None:
    print(f"{CLIPS:,} clips × {CLASSES} classes; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if "greedy" not in sys.argv:
        scores()
    if "score" not in sys.argv:
        selection()
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
