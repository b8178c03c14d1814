"""Classification metrics: accuracy, macro-F1, MAP@3, macro average precision, and weighted sums of them.

Conventions, here and in ``blending`` and ``submission``:

- ``targets``: int64 (clips,), class positions, for single-label tasks; bool (clips, classes) for multi-label tasks.
  The task is read from the number of dimensions.
- ``probabilities``: float (clips, classes), classes in the manifest's order. Only the order within a row counts
  (within a column for ``map``), except for multi-label ``f1``, which cuts at 0.5.
- Of equal probabilities the class with the lower position goes first.

Scores are in [0, 1], those of weighted sums between 0 and the sum of the weights; greater is better. All equal
scikit-learn's where scikit-learn has them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from acoustic_kit.errors import UsageError
from acoustic_kit.metrics.counts import Counts, PredictionCounts

_TERM = re.compile(r"\s*(?:(\d+\.?\d*|\.\d+)\s*\*\s*)?([A-Za-z_@][\w@]*)\s*", re.ASCII)


@dataclass(frozen=True)
class Metric:
    """A metric, or a weighted sum of metrics.

    All of ``score``, the bootstrap and the greedy selection of blends compute ``value`` from counts.
    """

    name: str
    description: str
    value: Callable[[Counts], np.ndarray]  # counts of clips, or of weighted draws → float, or (draws,)
    tasks: tuple[str, ...] = ("single", "multi")
    n_labels: int = 1  # how many of a clip's ranked labels it reads; 0 for none
    needs_probabilities: bool = False  # labels alone do not determine it
    ranks_clips: bool = False  # it compares the probabilities of a class between clips
    macro: bool = False  # it averages over classes
    scores_absent_classes: bool = False  # among them classes that are predicted only
    greater_is_better: bool = True
    highest: float = 1.0  # possible value; of a weighted sum, the sum of the weights
    parts: tuple[tuple[float, Metric], ...] = ()  # of a weighted sum

    @property
    def terms(self) -> tuple[tuple[float, Metric], ...]:
        """Weights and metrics of a weighted sum; the metric itself if it is none."""
        return self.parts or ((1.0, self),)

    def score(self, targets: np.ndarray, probabilities: np.ndarray) -> float:
        """Return the metric of probabilities; see the function ``score``."""
        targets, probabilities = _checked(targets, probabilities)
        self.require_task("multi" if targets.ndim == 2 else "single")
        return self.of(PredictionCounts(targets, probabilities))

    def of(self, counts: Counts) -> float:
        """Return the metric of the counts of clips. Raises ValueError if no clip has a label."""
        found = float(self.value(counts))
        if np.isnan(found):
            raise ValueError(f"no clip has a label: {self.name!r} is undefined")
        return found

    def require_task(self, task: str) -> None:
        """Raise UsageError if the metric does not fit the task (``single`` or ``multi``)."""
        if task not in ("single", "multi"):
            raise UsageError(f"unknown task {task!r}; it is 'single' or 'multi'")
        unfit = [metric.name for _, metric in self.terms if task not in metric.tasks]
        if unfit:
            labels = "several labels" if task == "multi" else "one label"
            fitting = " and ".join(fitting_metrics(task))
            raise UsageError(f"{unfit[0]!r} does not fit a task with {labels} a clip; {fitting} do")


def _accuracy(counts: Counts) -> np.ndarray:
    return np.asarray(counts.hits.sum(axis=0) / counts.n_clips)


def _balanced_accuracy(counts: Counts) -> np.ndarray:
    return _mean_of(counts.hits / np.maximum(counts.true, 1), counts.true > 0)


def _f1(counts: Counts) -> np.ndarray:
    both = counts.true + counts.predicted
    f1 = 2 * counts.hits / np.maximum(both, 1)
    return np.asarray(f1.mean(axis=0)) if counts.multi_label else _mean_of(f1, both > 0)


def _map3(counts: Counts) -> np.ndarray:
    return np.asarray(np.array([1, 1 / 2, 1 / 3]) @ counts.places / counts.n_clips)


def _mean_average_precision(counts: Counts) -> np.ndarray:
    found = counts.average_precision
    return _mean_of(found, np.isfinite(found))


def _mean_of(values: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Return the mean over those of the classes that are taken, (classes, …) → (…): NaN if none is."""
    n = taken.sum(axis=0)
    return np.asarray(np.where(n > 0, values.sum(axis=0, where=taken) / np.maximum(n, 1), np.nan))


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "fraction of clips whose first label is the true one", _accuracy, ("single",)),
        Metric(
            "balanced_accuracy", "recall averaged over the true classes", _balanced_accuracy, ("single",), macro=True
        ),
        Metric(
            "f1",
            "macro-F1: F1 averaged over the classes; multi-label: of probabilities of at least 0.5",
            _f1,
            macro=True,
            scores_absent_classes=True,
        ),
        Metric(
            "map3",
            "MAP@3, Kaggle's: 1, 1/2 or 1/3 for the true label in first, second or third place",
            _map3,
            ("single",),
            n_labels=3,
        ),
        Metric(
            "map",
            "macro average precision: averaged over the classes that have positive clips",
            _mean_average_precision,
            n_labels=0,
            needs_probabilities=True,
            ranks_clips=True,
            macro=True,
        ),
    )
}


@lru_cache
def get_metric(text: str) -> Metric:
    """Return the metric of a name, or of a sum such as ``0.8*accuracy+0.2*f1``.

    Raises UsageError for an unknown name, for a text that is not a sum, and for a weight of zero.
    """
    parts = tuple(_read_term(term, text) for term in text.split("+"))
    if len(parts) == 1 and parts[0][0] == 1:
        return parts[0][1]
    metrics = [metric for _, metric in parts]
    return Metric(
        text,
        "weighted sum",
        lambda counts: np.asarray(sum(weight * metric.value(counts) for weight, metric in parts)),
        tuple(task for task in ("single", "multi") if all(task in metric.tasks for metric in metrics)),
        n_labels=max(metric.n_labels for metric in metrics),
        needs_probabilities=any(metric.needs_probabilities for metric in metrics),
        ranks_clips=any(metric.ranks_clips for metric in metrics),
        macro=any(metric.macro for metric in metrics),
        scores_absent_classes=any(metric.scores_absent_classes for metric in metrics),
        greater_is_better=all(metric.greater_is_better for metric in metrics),
        highest=sum(weight * metric.highest for weight, metric in parts),
        parts=parts,
    )


def _read_term(term: str, text: str) -> tuple[float, Metric]:
    match = _TERM.fullmatch(term)
    if match is None or float(match[1] or 1) == 0:
        raise UsageError(f"cannot read the metric {text!r}; write a name, or a sum such as 0.8*accuracy+0.2*f1")
    if match[2] not in METRICS:
        near = difflib.get_close_matches(match[2], METRICS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"unknown metric {match[2]!r}; {hint}There are: {', '.join(METRICS)}")
    return float(match[1] or 1), METRICS[match[2]]


def validate_metric(metric: str, task: str) -> None:
    """Raise UsageError if the metric does not exist or does not fit the task (``single`` or ``multi``)."""
    get_metric(metric).require_task(task)


def fitting_metrics(task: str) -> tuple[str, ...]:
    """Return the names of the metrics that fit a task (``single`` or ``multi``)."""
    return tuple(name for name, metric in METRICS.items() if task in metric.tasks)


def score(metric: str, targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the value of a metric (see ``METRICS``, or a weighted sum of them).

    - ``metric``: a name or a sum such as ``0.8*accuracy+0.2*f1``
    - ``targets``: int (clips,) class positions, or bool (clips, classes)
    - ``probabilities``: float (clips, classes), finite

    Single-label ``f1`` averages over the classes that occur in targets or predictions (scikit-learn's default label
    set), multi-label ``f1`` over all, with 0 for a class in neither. ``map`` of a single-label task scores each class
    against the rest.

    Raises ValueError for shapes, types or values that do not fit, UsageError for a metric that does not.

    >>> score("accuracy", np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]]))
    0.6666666666666666
    """
    return get_metric(metric).score(targets, probabilities)


def all_scores(targets: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return the value of every metric that fits the task, by name; arguments as in ``score``."""
    counts = PredictionCounts(*_checked(targets, probabilities))
    return {name: METRICS[name].of(counts) for name in fitting_metrics("multi" if counts.multi_label else "single")}


def score_ranked(metric: str, targets: np.ndarray, ranked: np.ndarray) -> float:
    """Return the value of a metric for predictions that are labels, best first, instead of probabilities.

    - ``metric``: as in ``score``, without ``map``
    - ``targets``: int (clips,) class positions, or bool (clips, classes)
    - ``ranked``: int (clips, k), class positions; -1 where there is no further label

    A single-label task reads the first label, ``map3`` the first three (a repeated label counts where it comes first).
    A clip without a label is a miss of its class and a false alarm of none. A multi-label task takes all labels of a
    row as the predicted set.

    Raises ValueError for shapes, types or values that do not fit, UsageError for a metric that does not.
    """
    targets, ranked = np.asarray(targets), np.asarray(ranked)
    if ranked.ndim != 2 or ranked.dtype.kind not in "iu" or ranked.shape[1] == 0 or (ranked < -1).any():
        raise ValueError(f"ranked must be int (clips, k), from -1; it is {ranked.dtype} {ranked.shape}")
    counts = PredictionCounts(targets, ranked=ranked)
    _check_targets(targets, len(ranked), counts.n_classes)
    validate_metric(metric, "multi" if targets.ndim == 2 else "single")
    if get_metric(metric).needs_probabilities:
        raise UsageError(f"{metric!r} needs probabilities; these predictions are labels")
    if ranked.max() >= counts.n_classes:
        raise ValueError(f"ranked holds class position {ranked.max()}; there are {counts.n_classes} classes")
    return float(get_metric(metric).value(counts))


def _checked(targets: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both as arrays. Raises ValueError if they do not follow the module's conventions."""
    targets, probabilities = np.asarray(targets), np.asarray(probabilities)
    if probabilities.ndim != 2 or probabilities.dtype.kind not in "fiu" or probabilities.shape[1] == 0:
        raise ValueError(
            f"probabilities must be float (clips, classes); they are {probabilities.dtype} {probabilities.shape}"
        )
    if not np.isfinite(probabilities).all():
        bad = np.argwhere(~np.isfinite(probabilities))
        clip, column = (int(i) for i in bad[0])
        raise ValueError(f"probabilities hold {len(bad)} non-finite values, the first in clip {clip}, class {column}")
    _check_targets(targets, *probabilities.shape)
    return targets, probabilities if probabilities.dtype.kind == "f" else probabilities.astype(np.float64)


def _check_targets(targets: np.ndarray, n_clips: int, n_classes: int) -> None:
    if n_clips == 0:
        raise ValueError("there are no clips to score")
    if targets.ndim == 1 and targets.dtype.kind in "iu":
        if len(targets) != n_clips:
            raise ValueError(f"{len(targets)} targets for {n_clips} predicted clips")
        if targets.min() < 0 or targets.max() >= n_classes:
            raise ValueError(f"targets must be in 0 … {n_classes - 1}; they reach {targets.min()} … {targets.max()}")
    elif targets.ndim == 2 and targets.dtype == bool:
        if targets.shape != (n_clips, n_classes):
            raise ValueError(f"targets are {targets.shape}, predictions {(n_clips, n_classes)}")
    else:
        raise ValueError(
            f"targets must be int (clips,) or bool (clips, classes); they are {targets.dtype} {targets.shape}"
        )
