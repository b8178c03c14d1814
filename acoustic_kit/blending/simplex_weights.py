"""Weights of a mean of probabilities, fitted to a smooth surrogate of the metric.

The surrogate losses, each of the weighted mean q (clips, classes):

- ``accuracy``, ``map3``: log-loss
- ``balanced_accuracy``, single-label ``map``: log-loss, averaged over classes
- ``f1``: 1 - macro-F1 of soft labels: hits and false alarms are counted as fractions q³, normalized in each row (with q
  itself, linear in the weights, a mean would hardly ever beat the best run); of several labels q³ / (q³ + (1 - q)³)
- multi-label ``map``: log-loss of every label

A penalty is added to the loss, 0.03 times the relative entropy of the weights to equal ones, so that weights without an
effect on the loss stay equal.
"""

from collections.abc import Callable, Sequence

import numpy as np

from acoustic_kit.blending.arrays import FLOOR, checked, known_targets, task_of
from acoustic_kit.blending.combine import Fit
from acoustic_kit.blending.lbfgs import minimum
from acoustic_kit.metrics import get_metric, score

SurrogateLoss = Callable[[np.ndarray], tuple[float, np.ndarray]]

ENTROPY_PENALTY = 0.03
ITERATIONS = 60


def weights(
    probabilities: np.ndarray | Sequence[np.ndarray],
    targets: np.ndarray,
    groups: Sequence | np.ndarray | None = None,
    metric: str = "f1",
    *,
    seed: int = 0,
) -> Fit:
    """Fit the weights on the simplex that minimize the surrogate loss of the metric; the blend is the weighted mean.

    - ``probabilities``: float (runs, clips, classes)
    - ``targets``: int (clips,) or bool (clips, classes)
    - ``groups``, ``seed``: ignored; all fitted methods have these parameters
    - ``metric``: see ``metrics.METRICS``

    Raises ValueError for arrays that do not fit, UsageError for an unknown metric.

    >>> runs = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.4, 0.6], [0.6, 0.4]]])
    >>> weights(runs, np.array([0, 1])).weights.round(1).tolist()
    [1.0, 0.0]
    """
    runs, targets = checked(probabilities), np.asarray(targets)
    score(metric, targets, runs[0])  # raises if arrays do not fit
    found = simplex_weights(runs, targets, np.arange(len(targets)), metric)
    return Fit("weights", task_of(targets), found)


def simplex_weights(runs: Sequence[np.ndarray], targets: np.ndarray, clips: np.ndarray, metric: str) -> np.ndarray:
    """Return the weights of ``weights``, float64 (runs,), of checked runs (clips, classes), fitted to some clips."""
    parts = np.empty((len(runs), len(clips) * runs[0].shape[1]), np.float32)
    for part, run in zip(parts, runs, strict=True):
        part[:] = run[clips].ravel()
    surrogate = _surrogate_loss(metric, targets[clips], runs[0].shape[1])

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        w = np.exp(theta - theta.max())
        w /= w.sum()
        value, gradient = surrogate((w.astype(np.float32) @ parts).reshape(len(clips), -1))
        entropy = np.log(np.maximum(w, 1e-300) * len(w))
        by_weight = (parts @ gradient.ravel()).astype(np.float64) + ENTROPY_PENALTY * (entropy + 1)
        return value + ENTROPY_PENALTY * (w @ entropy), w * (by_weight - w @ by_weight)

    theta = minimum(loss, np.zeros(len(runs)), ITERATIONS)
    w = np.exp(theta - theta.max())
    return np.asarray(w / w.sum())


def _surrogate_loss(metric: str, targets: np.ndarray, n_classes: int) -> SurrogateLoss:
    """Return a function from q, float32 (clips, classes), to its loss and the gradient with respect to q, float32."""
    single = targets.ndim == 1
    truth, known = (targets[:, None] == np.arange(n_classes), None) if single else known_targets(targets)
    equal = np.full(n_classes, 1 / len(truth))
    present = truth.any(axis=0)
    balanced = present / (np.maximum(truth.sum(axis=0), 1) * max(present.sum(), 1))

    def loss(q: np.ndarray) -> tuple[float, np.ndarray]:
        q = np.clip(q, np.float32(FLOOR), np.float32(1 - FLOOR))
        value, gradient = 0.0, np.zeros_like(q)
        for weight, term in get_metric(metric).terms:
            if term.name == "f1":
                part, by_q = _soft_f1_loss(q, truth, single, known)
            else:
                class_weights = balanced if single and term.macro else equal
                part, by_q = _log_loss(q, truth, class_weights, single, known)
            value += weight * part
            gradient += np.float32(weight) * by_q
        return value, gradient

    return loss


def _log_loss(
    q: np.ndarray, truth: np.ndarray, class_weights: np.ndarray, single: bool, known: np.ndarray | None
) -> tuple[float, np.ndarray]:
    if single:
        weight, true_probability, gradient = np.broadcast_to(class_weights, q.shape)[truth], q[truth], np.zeros_like(q)
        gradient[truth] = -weight / true_probability
        return -float(weight @ np.log(true_probability)), gradient
    weight, true_probability = class_weights.astype(q.dtype), np.where(truth, q, 1 - q)
    if known is not None:
        weight = weight * known
    value = -float((weight * np.log(true_probability)).sum(dtype=np.float64))
    return value, np.where(truth, -weight, weight) / true_probability


def _soft_f1_loss(q: np.ndarray, truth: np.ndarray, single: bool, known: np.ndarray | None) -> tuple[float, np.ndarray]:
    soft = q * q * q  # np.power is twenty times slower
    soft /= soft.sum(axis=1, keepdims=True) if single else soft + (1 - q) * (1 - q) * (1 - q)
    true = truth.sum(axis=0)
    hits, both = _class_sums(soft * truth), _class_sums(soft if known is None else soft * known) + true
    counted, scale = true > 0, 2 / max((true > 0).sum(), 1)
    value = 1 - (2 * hits / both)[counted].mean() if counted.any() else 1.0
    by_hits = (scale * counted / both).astype(np.float32)
    by_soft = (scale * counted * hits / both**2).astype(np.float32) - truth * by_hits
    if single:
        gradient = 3 * soft / q * (by_soft - (by_soft * soft).sum(axis=1, keepdims=True))
    else:
        gradient = 3 * by_soft * soft * (1 - soft) / (q * (1 - q))
    return float(value), gradient if known is None else gradient * known


def _class_sums(values: np.ndarray) -> np.ndarray:
    return np.asarray(values.sum(axis=0, dtype=np.float64))
