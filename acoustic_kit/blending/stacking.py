"""Stacking: a multinomial model on log-probabilities, shrunk to the geometric mean of all runs.

    logits = a * g + b + Σ_r x_r W_r        g = mean of x_r,   x_r: a run's log-probabilities, less their mean in a row

Without b and W this is the geometric mean at a fitted temperature. b and W correct systematic confusions and unequal
skill, and are shrunk towards zero by

    s/2 * v * (R * Σ_r (|W_r|² + 9 |diag W_r|²) + 10 |b|²)    R: number of runs,   v: the mean square of g

added to the mean log-loss. The factor R makes the penalty independent of the number of runs: R copies of one run are
equivalent to that run, and hundreds of runs do not over-fit more than one. v makes the strength s free of units.
The penalty of b and the diagonals is higher: they make a class more probable by the evidence of its few recordings.
s is 0.001 times the number of classes, at most 0.1, or one over the number of groups if that is more: a single
recording has no more weight than the prior. Both were chosen on synthetic halves of 10 to 40 classes
(docs/blending.md), not on other folds of the same data: on data like UrbanSound8K's such a choice depends on a few
large recordings.

Several labels are independent: sigmoids instead of the softmax, log-odds instead of log-probabilities. The penalty of b
and the diagonals, which move the thresholds, is not higher, and s is 0.01.

For more than 100 classes W_r is diagonal: a class has one coefficient for each run, and confusions between classes are
not corrected.
"""

from collections.abc import Sequence

import numpy as np

from acoustic_kit.blending.arrays import checked, group_codes, known_targets, task_of
from acoustic_kit.blending.combine import Fit, features
from acoustic_kit.blending.lbfgs import minimum
from acoustic_kit.metrics.scores import score

STRENGTH = 0.01  # of several labels
STRENGTH_PER_CLASS, MAX_STRENGTH = 0.001, 0.1  # of a single label
OWN_CLASS = 10  # factor of the penalty of b and the diagonals
FULL_CLASSES = 100  # of more, W_r is diagonal: a matrix grows with the square
ITERATIONS = 100  # of L-BFGS; 10 to 20 suffice
ONE_THREAD = 1 << 22  # values in the design: with fewer, BLAS threads wait longer than they compute on busy cores


def stack(
    probabilities: np.ndarray | Sequence[np.ndarray],
    targets: np.ndarray,
    groups: Sequence | np.ndarray | None = None,
    metric: str = "f1",
    *,
    strength: float | None = None,
    seed: int = 0,
) -> Fit:
    """Fit a multinomial model on log-probabilities, shrunk to the geometric mean of all runs: see the module.

    - ``probabilities``: float (runs, clips, classes)
    - ``targets``: int (clips,) or bool (clips, classes)
    - ``groups``: (clips,), clips of one recording share a value; fewer groups make the prior stronger
    - ``metric``, ``seed``: ignored; all fitted methods have these parameters
    - ``strength``: s, for all coefficients and b; None is as described in the module

    The weight of a run is the norm of its coefficients, divided by the sum over runs.

    Raises ValueError for arrays that do not fit, UsageError for an unknown metric.

    >>> runs = np.random.default_rng(0).dirichlet(np.ones(3), size=(2, 30))  # 2 runs, 30 clips, 3 classes
    >>> stack(runs, np.arange(30) % 3).predict(runs[:, :5]).shape
    (5, 3)
    """
    runs, targets = checked(probabilities), np.asarray(targets)
    score(metric, targets, runs[0])  # raises if arrays do not fit
    codes = group_codes(groups, len(targets))
    return stack_fit(runs, targets, np.arange(len(targets)), codes, strength)


def stack_fit(
    runs: Sequence[np.ndarray],
    targets: np.ndarray,
    clips: np.ndarray,
    groups: np.ndarray,
    strength: float | None = None,
) -> Fit:
    """Fit ``stack`` of checked runs (clips, classes) to some of the clips; groups int (clips,)."""
    task = task_of(targets)
    own = 1
    if strength is None:
        by_classes = min(STRENGTH_PER_CLASS * runs[0].shape[1], MAX_STRENGTH)
        strength = max(STRENGTH if task == "multi" else by_classes, 1 / len(np.unique(groups[clips])))
        own = 1 if task == "multi" else OWN_CLASS
    objective = _Objective(design(runs, clips, task), targets[clips], runs[0].shape[1], strength, own)
    coefficients, bias = objective.minimum()
    size = np.sqrt((coefficients**2).reshape(len(runs), -1).sum(axis=1)) + 1e-12
    return Fit("stack", task, size / size.sum(), {"coefficients": coefficients, "bias": bias})


def design(runs: Sequence[np.ndarray], clips: np.ndarray, task: str) -> np.ndarray:
    """Return the input of the model for some clips, divided by the root of the number of runs: float32.

    (clips, runs * classes); (runs, clips, classes) if coefficients are diagonal.
    """
    n_classes = runs[0].shape[1]
    diagonal = n_classes > FULL_CLASSES
    x = np.empty((len(runs), len(clips), n_classes) if diagonal else (len(clips), len(runs), n_classes), np.float32)
    for number, run in enumerate(runs):
        x[number if diagonal else (slice(None), number)] = features(run[clips], task) / np.sqrt(len(runs))
    return x if diagonal else x.reshape(len(clips), -1)


class _Objective:
    """Penalized mean log-loss and its gradient, as L-BFGS needs them."""

    def __init__(self, x: np.ndarray, targets: np.ndarray, n_classes: int, strength: float, own: float = 1) -> None:
        self.x, self.n_classes, self.diagonal = x, n_classes, x.ndim == 3
        self.targets, self.known = (targets, None) if targets.ndim == 1 else known_targets(targets)
        self.n_runs = len(x) if self.diagonal else x.shape[1] // n_classes
        by_run = x if self.diagonal else x.reshape(len(x), self.n_runs, n_classes)
        self.average = by_run.sum(axis=0 if self.diagonal else 1, dtype=np.float64) / np.sqrt(self.n_runs)
        self.unit = float(np.sqrt(np.mean(self.average**2) + 1e-12))
        of_run = np.full((1, n_classes), own) if self.diagonal else 1 + (own - 1) * np.eye(n_classes)
        factors = np.tile(of_run, (self.n_runs, 1))
        self.penalty = strength * self.unit**2 * np.append(factors.ravel(), np.full(n_classes, own))

    def minimum(self) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients, (runs, classes, classes) or (runs, classes) if diagonal, and bias (classes,)."""
        n = self.n_classes
        theta = np.zeros(self.n_runs * n * (1 if self.diagonal else n) + n + 1)
        theta[-1] = 1
        found = minimum(self, theta, ITERATIONS, one_thread=self.x.size < ONE_THREAD)
        u, bias, scale = self.parts(found)
        coefficients = u.reshape(self.n_runs, n, -1) / np.sqrt(self.n_runs)
        one = np.ones((n, 1)) if self.diagonal else np.eye(n)
        coefficients = coefficients + scale / self.n_runs * one
        return (coefficients[:, :, 0] if self.diagonal else coefficients), bias * self.unit

    def parts(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the scaled W (runs * classes, classes), or (runs, classes) of its diagonals, b (classes,) and a."""
        return (
            theta[: -self.n_classes - 1].reshape(-1, self.n_classes),
            theta[-self.n_classes - 1 : -1],
            float(theta[-1]),
        )

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        u, bias, scale = self.parts(theta)
        logits = scale * self.average
        logits += self.unit * bias
        logits += self.logits_of(u.astype(self.x.dtype))
        if self.known is not None:
            logits = np.where(self.known, logits, -np.inf)  # of unknown targets, loss and gradient are 0
        value, residual = _log_loss(logits, self.targets)
        by_scale = np.vdot(residual, self.average)
        by_u = self.gradient_of(residual.astype(self.x.dtype))
        gradient = np.concatenate([by_u.ravel(), self.unit * residual.sum(axis=0), [by_scale]])
        shrunk = self.penalty * theta[:-1]
        gradient[:-1] += shrunk
        return value + float(shrunk @ theta[:-1]) / 2, gradient

    def logits_of(self, u: np.ndarray) -> np.ndarray:
        """Return Σ_r x_r W_r, (clips, classes)."""
        return np.asarray(np.einsum("rnc,rc->nc", self.x, u) if self.diagonal else self.x @ u)

    def gradient_of(self, residual: np.ndarray) -> np.ndarray:
        """Return the gradient with respect to W, from that by logits, in the shape of ``u`` in `parts`."""
        return np.asarray(np.einsum("rnc,nc->rc", self.x, residual) if self.diagonal else self.x.T @ residual)


def _log_loss(logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean over clips of the log-loss, summed over labels, and its gradient by logits (clips, classes)."""
    n = len(logits)
    if targets.ndim == 2:
        small = np.exp(-np.abs(logits))  # a third of the time of logaddexp
        value = float(np.maximum(logits, 0).sum() + np.log1p(small).sum() - logits[targets].sum()) / n
        p = np.where(logits >= 0, 1, small)
        p /= 1 + small
        p -= targets
        p /= n
        return value, p
    true = np.arange(n), targets
    logits -= logits.max(axis=1, keepdims=True)
    value = -float(logits[true].sum())
    p = np.exp(logits, out=logits)
    total = p.sum(axis=1, keepdims=True)
    value = (value + float(np.log(total).sum())) / n
    p /= total
    p[true] -= 1
    p /= n
    return value, p
