"""What a prediction is worth: accuracy, macro-F1, MAP@3, macro average precision, and weighted sums of them.

Conventions, here and in ``blending`` and ``submission``:

- ``targets``: int64 (clips,), class positions, for single-label tasks; bool (clips, classes) for multi-label tasks.
  The task is read from the number of dimensions.
- ``probabilities``: float (clips, classes), classes in the manifest's order. Only the order within a row counts
  (within a column for ``map``), except for multi-label ``f1``, which cuts at 0.5.
- Of equal probabilities the class with the lower position goes first.

Scores lie in [0, 1], more is better. All equal scikit-learn's where scikit-learn has them; they are written with
``bincount`` because a blend calls them thousands of times.
"""

import difflib
import re
from functools import lru_cache

import numpy as np

from acoustic_kit.errors import UsageError

METRICS = {
    "accuracy": "share of clips whose first label is the true one (single-label)",
    "balanced_accuracy": "recall averaged over the true classes (single-label)",
    "f1": "macro-F1: F1 averaged over the classes; multi-label: of probabilities of at least 0.5",
    "map3": "MAP@3, Kaggle's: 1, 1/2 or 1/3 for the true label in first, second or third place (single-label)",
    "map": "macro average precision: averaged over the classes that have positive clips; needs probabilities",
}
MULTI_LABEL_METRICS = ("f1", "map")
MULTI_LABEL_THRESHOLD = 0.5

_TERM = re.compile(r"\s*(?:(\d+\.?\d*|\.\d+)\s*\*\s*)?([A-Za-z_@][\w@]*)\s*", re.ASCII)


@lru_cache
def terms(metric: str) -> tuple[tuple[float, str], ...]:
    """The (weight, name) pairs of a metric: ``0.8*accuracy+0.2*f1`` has two, ``f1`` one of weight 1.

    Raises UsageError for an unknown name, for what is not a sum, and for a weight of zero.
    """
    pairs = []
    for text in metric.split("+"):
        match = _TERM.fullmatch(text)
        if match is None or float(match[1] or 1) == 0:
            raise UsageError(f"cannot read the metric {metric!r}; write a name, or a sum such as 0.8*accuracy+0.2*f1")
        if match[2] not in METRICS:
            near = difflib.get_close_matches(match[2], METRICS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(f"unknown metric {match[2]!r}; {hint}There are: {', '.join(METRICS)}")
        pairs.append((float(match[1] or 1), match[2]))
    return tuple(pairs)


def validate_metric(metric: str, task: str) -> None:
    """Raise UsageError where the metric does not exist or does not fit the task (``single`` or ``multi``)."""
    if task not in ("single", "multi"):
        raise UsageError(f"unknown task {task!r}; it is 'single' or 'multi'")
    unfit = [name for _, name in terms(metric) if task == "multi" and name not in MULTI_LABEL_METRICS]
    if unfit:
        fitting = " and ".join(MULTI_LABEL_METRICS)
        raise UsageError(f"{unfit[0]!r} does not fit a task with several labels a clip; {fitting} do")


def needs_probabilities(metric: str) -> bool:
    """Whether labels alone do not tell a metric."""
    return any(name == "map" for _, name in terms(metric))


def highest(metric: str) -> float:
    """Return the highest value of a metric: 1, or the sum of the weights of a weighted sum."""
    return sum(weight for weight, _ in terms(metric))


def fitting_metrics(task: str) -> tuple[str, ...]:
    """The names of the metrics that fit a task (``single`` or ``multi``)."""
    return tuple(METRICS) if task == "single" else MULTI_LABEL_METRICS


def score(metric: str, targets: np.ndarray, probabilities: np.ndarray) -> float:
    """The value of a metric (see ``METRICS``, or a weighted sum of them).

    - ``metric``: a name or a sum such as ``0.8*accuracy+0.2*f1``
    - ``targets``: int (clips,) class positions, or bool (clips, classes)
    - ``probabilities``: float (clips, classes), finite

    Single-label ``f1`` averages over the classes that occur in targets or predictions (scikit-learn's default label
    set), multi-label ``f1`` over all. ``map`` of a single-label task scores each class against the rest.

    Raises ValueError for shapes, types or values that do not fit, UsageError for a metric that does not.
    """
    targets, probabilities = _checked(targets, probabilities)
    task = "multi" if targets.ndim == 2 else "single"
    validate_metric(metric, task)
    pairs = terms(metric)
    if task == "single":
        ranked = top_k(probabilities, 3 if any(name == "map3" for _, name in pairs) else 1)
    total = 0.0
    for weight, name in pairs:
        if name == "map":
            total += weight * _mean_average_precision(targets, probabilities)
        elif task == "multi":
            total += weight * _multi_label_f1(targets, probabilities >= MULTI_LABEL_THRESHOLD)
        else:
            total += weight * _single_label(name, targets, ranked)
    return total


def all_scores(targets: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """The value of every metric that fits the task, by name; arguments as in ``score``."""
    names = fitting_metrics("multi" if np.asarray(targets).ndim == 2 else "single")
    return {name: score(name, targets, probabilities) for name in names}


def score_ranked(metric: str, targets: np.ndarray, ranked: np.ndarray) -> float:
    """The value of a metric for predictions that are labels, best first, instead of probabilities.

    - ``metric``: as in ``score``, without ``map``
    - ``targets``: int (clips,) class positions, or bool (clips, classes)
    - ``ranked``: int (clips, k), class positions; -1 where there is no further label

    A single-label task looks at the first label, ``map3`` at the first three (a repeated label counts where it comes
    first). A clip without a label is a miss of its class and a false alarm of none. A multi-label task takes all labels
    of a row as the predicted set.

    Raises ValueError for shapes, types or values that do not fit, UsageError for a metric that does not.
    """
    targets, ranked = np.asarray(targets), np.asarray(ranked)
    if ranked.ndim != 2 or ranked.dtype.kind not in "iu" or ranked.shape[1] == 0 or (ranked < -1).any():
        raise ValueError(f"ranked must be int (clips, k), from -1; it is {ranked.dtype} {ranked.shape}")
    n_classes = targets.shape[1] if targets.ndim == 2 else int(max(targets.max(initial=0), ranked.max(initial=0))) + 1
    _check_targets(targets, len(ranked), n_classes)
    validate_metric(metric, "multi" if targets.ndim == 2 else "single")
    if needs_probabilities(metric):
        raise UsageError("'map' needs probabilities; these predictions are labels")
    if targets.ndim == 1:
        return sum(weight * _single_label(name, targets, ranked) for weight, name in terms(metric))
    if ranked.max() >= n_classes:
        raise ValueError(f"ranked holds class position {ranked.max()}; there are {n_classes} classes")
    predicted = np.zeros((len(ranked), n_classes + 1), dtype=bool)  # the last column takes what is "no label"
    np.put_along_axis(predicted, ranked, True, axis=1)
    return sum(weight * _multi_label_f1(targets, predicted[:, :-1]) for weight, _ in terms(metric))


def top_k(probabilities: np.ndarray, k: int) -> np.ndarray:
    """The k most probable classes of each row, best first; of equal ones the lower position first.

    ``probabilities``: finite float (clips, classes) → int64 (clips, min(k, classes)).
    """
    first = np.argmax(probabilities, axis=1)
    found = [first]
    if k > 1:
        rest = np.array(probabilities, dtype=float)
        for _ in range(min(k, rest.shape[1]) - 1):
            np.put_along_axis(rest, found[-1][:, None], -np.inf, axis=1)
            found.append(np.argmax(rest, axis=1))
    return np.stack(found, axis=1)


def _checked(targets: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays; ValueError where they are not what the module's conventions say."""
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
            raise ValueError(f"targets must lie in 0 … {n_classes - 1}; they reach {targets.min()} … {targets.max()}")
    elif targets.ndim == 2 and targets.dtype == bool:
        if targets.shape != (n_clips, n_classes):
            raise ValueError(f"targets are {targets.shape}, predictions {(n_clips, n_classes)}")
    else:
        raise ValueError(
            f"targets must be int (clips,) or bool (clips, classes); they are {targets.dtype} {targets.shape}"
        )


def _single_label(name: str, targets: np.ndarray, ranked: np.ndarray) -> float:
    """``accuracy``, ``balanced_accuracy``, ``f1`` or ``map3``; ``ranked`` int (clips, k), -1 for none."""
    if name == "map3":
        places = np.cumsum(ranked[:, :3] == targets[:, None], axis=1) > 0  # true from the hit onwards
        lost = (~places).sum(axis=1)
        return float(np.mean(np.where(places[:, -1], 1 / (lost + 1), 0.0)))
    predicted = ranked[:, 0]
    hit = predicted == targets
    if name == "accuracy":
        return float(np.mean(hit))
    n = int(max(targets.max(), predicted.max())) + 1
    true, hits = np.bincount(targets, minlength=n), np.bincount(targets[hit], minlength=n)
    if name == "balanced_accuracy":
        return float(np.mean(hits[true > 0] / true[true > 0]))
    both = true + np.bincount(predicted[predicted >= 0], minlength=n)
    return float(np.mean(2 * hits[both > 0] / both[both > 0]))


def _multi_label_f1(targets: np.ndarray, predicted: np.ndarray) -> float:
    """Macro-F1 over all classes of bool (clips, classes); 0 for a class neither true nor predicted anywhere."""
    both = targets.sum(axis=0) + predicted.sum(axis=0)
    return float(np.mean(2 * (targets & predicted).sum(axis=0) / np.maximum(both, 1)))


def _mean_average_precision(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of ``_average_precision`` over the classes with a positive clip."""
    if targets.ndim == 1:
        targets = targets[:, None] == np.arange(probabilities.shape[1])
    present = np.flatnonzero(targets.any(axis=0))
    if len(present) == 0:
        raise ValueError("no clip has a label: 'map' is undefined")
    return float(np.mean([_average_precision(targets[:, c], probabilities[:, c]) for c in present]))


def _average_precision(positive: np.ndarray, values: np.ndarray) -> float:
    """AP = Σ (R_n - R_{n-1}) P_n over the distinct thresholds, as scikit-learn's ``average_precision_score``."""
    order = np.argsort(-values)
    last_of_ties = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    found = np.cumsum(positive[order])[last_of_ties]
    precision = found / (last_of_ties + 1)
    return float(np.sum(np.diff(found, prepend=0) * precision) / found[-1])
