"""Classification metrics: accuracy, F1, MAP@k, average precision, ROC-AUC, log-loss, …, and weighted sums of them.

Conventions, here and in ``blending`` and ``submission``:

- ``targets``: int64 (clips,), class positions, for single-label tasks; for multi-label tasks bool (clips, classes), or
  float of 0, 1 and NaN: an unknown target is left out of the score of its class. The task is read from the number of
  dimensions.
- ``probabilities``: float (clips, classes), classes in the manifest's order. Only the order within a row counts, or
  within a column (``ranks_clips``), except for multi-label ``f1`` and ``micro_f1``, which cut at 0.5, and ``log_loss``.
- Of equal probabilities the class with the lower position goes first.

Most scores are in [0, 1], those of weighted sums between 0 and the sum of the weights; greater is better, except for
``log_loss``. All equal scikit-learn's where scikit-learn has them.
"""

from __future__ import annotations

import math

import numpy as np

from acoustic_kit.errors import UsageError
from acoustic_kit.metrics.counts import PredictionCounts
from acoustic_kit.metrics.metric import METRICS, fitting_metrics
from acoustic_kit.metrics.names import get_metric
from acoustic_kit.task import TaskSpec


def score(metric: str, targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the value of a metric (see ``METRICS``, or a weighted sum of them).

    - ``metric``: a name or a sum such as ``0.8*accuracy+0.2*f1``
    - ``targets``: int (clips,) class positions, or bool (clips, classes), or float of 0, 1 and NaN, unknown
    - ``probabilities``: float (clips, classes), finite

    Single-label ``f1`` averages over the classes that occur in targets or predictions (scikit-learn's default label
    set), multi-label ``f1`` over all, with 0 for a class in neither. ``map`` of a single-label task scores each class
    against the rest.

    Raises ValueError for shapes, types or values that do not fit, UsageError for a metric that does not.

    >>> score("accuracy", np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]]))
    0.6666666666666666
    """
    counts, measured = _counts(targets, probabilities), get_metric(metric)
    measured.require_task("multi" if counts.multi_label else "single")
    return measured.of(counts)


def score_or_nan(metric: str, targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Return ``score``, or NaN if the metric is undefined, as without any label."""
    counts, measured = _counts(targets, probabilities), get_metric(metric)
    measured.require_task("multi" if counts.multi_label else "single")
    return float(measured.value(counts))


def all_scores(
    targets: np.ndarray,
    probabilities: np.ndarray | None = None,
    *,
    ranked: np.ndarray | None = None,
    task_spec: TaskSpec | None = None,
) -> dict[str, float]:
    """Return the value of each metric that fits the task and is defined for these predictions, by name.

    - ``targets``, ``probabilities``: as in ``score``
    - ``ranked``: labels instead of probabilities, as in ``score_ranked``
    - ``task_spec``: its metric is added, such as a weighted sum; ``kappa`` only then, or if its classes are ordered
    """
    counts = _counts(targets, probabilities) if ranked is None else _counts_of_labels(targets, ranked)
    fitting = fitting_metrics("multi" if counts.multi_label else "single")
    is_ordered = task_spec is not None and task_spec.has_ordered_classes
    names = [name for name in fitting if is_ordered or not METRICS[name].needs_order]
    found = dict[str, float]()
    for name in dict.fromkeys((*names, *([task_spec.metric] if task_spec else []))):
        if ranked is None or not get_metric(name).needs_probabilities:
            found[name] = float(get_metric(name).value(counts))
    return {name: value for name, value in found.items() if not math.isnan(value)}


def score_ranked(metric: str, targets: np.ndarray, ranked: np.ndarray) -> float:
    """Return the value of a metric for predictions that are labels, best first, instead of probabilities.

    - ``metric``: as in ``score``, without ``map``
    - ``targets``: int (clips,) class positions, or bool (clips, classes)
    - ``ranked``: int (clips, k), class positions; -1 where there is no further label

    A single-label task reads the first label, ``map3`` the first three (a repeated label counts where it comes first).
    A clip without a label is a miss of its class and a false alarm of none; for ``kappa`` it has the farthest class. A
    multi-label task takes all labels of a row as the predicted set.

    Raises ValueError for shapes, types or values that do not fit, UsageError for a metric that does not.
    """
    counts, measured = _counts_of_labels(targets, ranked), get_metric(metric)
    measured.require_task("multi" if counts.multi_label else "single")
    if measured.needs_probabilities:
        raise UsageError(f"{metric!r} needs probabilities; these predictions are labels")
    return measured.of(counts)


def _counts_of_labels(targets: np.ndarray, ranked: np.ndarray) -> PredictionCounts:
    """Return the counts of ranked labels. Raises ValueError if the arrays do not follow the conventions."""
    targets, ranked = np.asarray(targets), np.asarray(ranked)
    if ranked.ndim != 2 or ranked.dtype.kind not in "iu" or ranked.shape[1] == 0 or (ranked < -1).any():
        raise ValueError(f"ranked must be int (clips, k), from -1; it is {ranked.dtype} {ranked.shape}")
    counts = PredictionCounts(targets, ranked=ranked)
    _check_targets(targets, len(ranked), counts.n_classes)
    if ranked.max() >= counts.n_classes:
        raise ValueError(f"ranked holds class position {ranked.max()}; there are {counts.n_classes} classes")
    return counts


def _counts(targets: np.ndarray, probabilities: np.ndarray | None) -> PredictionCounts:
    """Return the counts of probabilities. Raises ValueError if the arrays do not follow the module's conventions."""
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
    return PredictionCounts(
        targets, probabilities if probabilities.dtype.kind == "f" else probabilities.astype(np.float64)
    )


def _check_targets(targets: np.ndarray, n_clips: int, n_classes: int) -> None:
    if n_clips == 0:
        raise ValueError("there are no clips to score")
    if targets.ndim == 1 and targets.dtype.kind in "iu":
        if len(targets) != n_clips:
            raise ValueError(f"{len(targets)} targets for {n_clips} predicted clips")
        if targets.min() < 0 or targets.max() >= n_classes:
            raise ValueError(f"targets must be in 0 … {n_classes - 1}; they reach {targets.min()} … {targets.max()}")
    elif targets.ndim == 2 and (targets.dtype == bool or targets.dtype.kind == "f"):
        if targets.shape != (n_clips, n_classes):
            raise ValueError(f"targets are {targets.shape}, predictions {(n_clips, n_classes)}")
        if targets.dtype.kind == "f" and not ((targets == 0) | (targets == 1) | np.isnan(targets)).all():
            raise ValueError("targets of float must be 0, 1 or NaN, unknown")
    else:
        raise ValueError(
            f"targets must be int (clips,), or bool or float (clips, classes); they are {targets.dtype} {targets.shape}"
        )
