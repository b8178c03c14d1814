"""Heads on embeddings against scikit-learn's `LogisticRegressionCV` and `RidgeCV`, by the same inner folds.

10,000 clips × 1,024 columns of 50 classes, float32, in five folds, as `embedding_linear` trains them: standardize,
choose the strength by three inner folds, fit. The columns are correlated as those of networks are, with variances that
fall as a power of their rank, and classes overlap. One fold of each head in this process, or all five with `--whole`;
the peers get the same standardized rows, strengths and inner folds, and float32. `--peers` runs them too, on one fold,
which takes minutes.

Times are those of the processor: on two idle cores a fold takes about half of it, as inner folds are computed at once.
Goal: five folds of logistic regression, single or multi-label, in a minute on two cores.
Usage: heads.py [single|multi] [logistic|ridge|knn] [clips columns classes] [--whole] [--peers]
"""

import resource
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.model_selection import PredefinedSplit
from sklearn.multiclass import OneVsRestClassifier
from threadpoolctl import threadpool_limits

from acoustic_kit.recipe.heads import Examples, Logistic, Neighbors, Ridge, choose, probabilities
from acoustic_kit.task import Task

CLIPS, COLUMNS, CLASSES, FOLDS, INNER = 10_000, 1024, 50, 5, 3
HEADS = {"logistic": Logistic, "ridge": Ridge, "knn": Neighbors}


def embeddings(n: int, columns: int, n_classes: int, task: Task) -> Examples:
    """Return clips whose classes differ in few of the directions, and of which a tenth has a wrong label."""
    rng = np.random.default_rng(0)
    labels = rng.integers(n_classes, size=n)
    spread = (1 + np.arange(columns, dtype=np.float32)) ** -0.75
    centers = rng.standard_normal((n_classes, columns), np.float32) * (np.arange(columns) < 100)
    x = (rng.standard_normal((n, columns), np.float32) + 0.7 * centers[labels]) * spread
    x = x @ np.linalg.qr(rng.standard_normal((columns, columns)))[0].astype(np.float32)
    given = np.where(rng.random(n) < 0.1, rng.integers(n_classes, size=n), labels)
    targets = given[:, None] == np.arange(n_classes)
    if task == "multi":
        targets |= rng.random(targets.shape) < 0.01
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return Examples(x.clip(-3, 3), targets.astype(np.float32), np.ones(n, np.float32), task)


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return processor and wall time of a call, and its result."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = work()
    return time.process_time() - cpu, time.perf_counter() - wall, found


def loss(p: np.ndarray, targets: np.ndarray, task: Task) -> float:
    p = np.clip(p, 1e-7, 1 - 1e-7)
    found = targets * np.log(p) + ((1 - targets) * np.log1p(-p) if task == "multi" else 0)
    return -float(found.sum(axis=1).mean())


def main() -> None:
    sizes = [int(argument) for argument in sys.argv[1:] if argument.isdecimal()] or [CLIPS, COLUMNS, CLASSES]
    tasks: list[Task] = ["single", "multi"]
    for task in [task for task in tasks if task in sys.argv] or tasks:
        clips = embeddings(*sizes, task)
        folds = np.arange(len(clips)) % FOLDS
        for name, head in [item for item in HEADS.items() if item[0] in sys.argv] or HEADS.items():
            cpus, walls, strengths, losses = zip(
                *(one_fold(head, clips, folds == fold) for fold in range(FOLDS if "--whole" in sys.argv else 1)),
                strict=True,
            )
            print(
                f"{task} {name:8} {np.mean(cpus):6.1f} s of processor time a fold ({np.mean(walls):.1f} s), of "
                f"{len(cpus)}; {FOLDS * np.mean(cpus) / 2:6.1f} s for {FOLDS} folds on two cores; strengths "
                f"{', '.join(f'{one:.3g}' for one in strengths)}, log loss {np.mean(losses):.4f}, "
                f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB",
                flush=True,
            )
        if "--peers" in sys.argv:
            train = clips.filter(folds != 0)
            peers(train, clips.filter(folds == 0), np.arange(len(train)) % INNER, task)


def one_fold(
    head: type[Logistic] | type[Ridge] | type[Neighbors], clips: Examples, held: np.ndarray
) -> tuple[float, float, float, float]:
    """Return the processor and the wall time, the chosen strength, and the log loss on the held-out clips."""
    train, new = clips.filter(~held), clips.filter(held)
    cpu, wall, (chosen, model) = timed(partial(fitted, head, train, np.arange(len(train)) % INNER))
    return cpu, wall, chosen.strength, loss(probabilities(model.logits(new.x), clips.task), new.targets, clips.task)


def fitted(head: type[Logistic] | type[Ridge] | type[Neighbors], train: Examples, inner: np.ndarray) -> tuple[Any, Any]:
    """Return the chosen strength, and the model, as `embedding_linear` trains it."""
    chosen = choose(head, train, head.STRENGTHS, inner)
    return chosen, head(train).model(chosen.strength, chosen.slope, chosen.offset)


def peers(train: Examples, new: Examples, inner: np.ndarray, task: Task) -> None:
    split = PredefinedSplit(inner)
    logistic = LogisticRegressionCV(
        Cs=Logistic.STRENGTHS,
        l1_ratios=(0,),
        cv=split,
        scoring="neg_log_loss",
        max_iter=1000,
        use_legacy_attributes=False,
    )
    ridge = RidgeCV(alphas=Ridge.STRENGTHS, cv=split)
    labels = train.targets.argmax(axis=1) if task == "single" else train.targets > 0
    estimator = logistic if task == "single" else OneVsRestClassifier(logistic)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for name, peer, y in (("RidgeCV", ridge, train.targets), ("LogisticRegressionCV", estimator, labels)):
            cpu, wall, _ = timed(lambda peer=peer, y=y: peer.fit(train.x, y))
            result = ""
            if peer is estimator:
                result = f", log loss {loss(peer.predict_proba(new.x), new.targets, task):.4f}"
                result += f", C {peer.C_:g}" if task == "single" else ""
            print(f"{task} {name}: {cpu:.1f} s of processor time a fold ({wall:.1f} s){result}", flush=True)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
