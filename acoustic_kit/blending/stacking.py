"""Stacking: a multinomial model on log-probabilities, held to the geometric mean of all runs.

    logits = a * g + b + Σ_r x_r W_r        g = mean of x_r,   x_r: a run's log-probabilities, less their mean in a row

Without b and W this is the geometric mean at a fitted temperature. b and W are what systematic confusions and unequal
skill call for, and are shrunk towards nothing by

    s/2 * v * (R * Σ_r |W_r|² + |b|²)       R: number of runs,   v: the mean square of g

added to the mean log-loss. The factor R makes the penalty that of what the runs do together: R copies of one run are
treated as that run, and hundreds of runs do not over-fit more easily than one. v makes the strength s free of units.
s is 0.01, or one over the number of groups where these are fewer than a hundred: what a single recording says weighs no
more than the expectation that there is nothing to mend. 0.01 to 0.03 was best for 800 and for 4,000 clips, for 20 and
for 96 runs. It is not chosen by the predictions for other folds, though that would be possible: on data like
UrbanSound8K's that choice follows a few large recordings, and was worse than this fixed prior (docs/blending.md).

Of several labels each is its own question: sigmoids instead of the softmax, log-odds instead of log-probabilities.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from acoustic_kit.blending.arrays import checked, from_log_odds, group_codes, task_of
from acoustic_kit.blending.combine import Fit, features
from acoustic_kit.blending.lbfgs import minimum
from acoustic_kit.metrics import score

STRENGTH = 0.01
ITERATIONS = 100  # of L-BFGS; a dozen or two suffice


def stack(
    probabilities: np.ndarray,
    targets: np.ndarray,
    groups: Sequence | np.ndarray | None = None,
    metric: str = "f1",
    *,
    strength: float | None = None,
    seed: int = 0,
) -> Fit:
    """A multinomial model on log-probabilities, shrunk to the geometric mean of all runs: see the module.

    - ``probabilities``: float (runs, clips, classes)
    - ``targets``: int (clips,) or bool (clips, classes)
    - ``groups``: (clips,), clips of one recording share a value; they make the prior stronger than as many clips alone
    - ``metric``, ``seed``: not looked at; here because every method that is fitted takes them
    - ``strength``: s; None is 0.01, or one over the number of groups where that is more

    A run's weight is the size of its coefficients, the root of the sum of their squares, as a share of all runs'.

    Raises ValueError for arrays that do not fit, UsageError for an unknown metric.
    """
    probabilities, targets = checked(probabilities), np.asarray(targets)
    score(metric, targets, probabilities[0])  # says what does not fit
    codes = group_codes(groups, len(targets))
    return stack_fit("stack", list(probabilities), targets, np.arange(len(targets)), codes, strength)


def stack_mean(
    probabilities: np.ndarray,
    targets: np.ndarray,
    groups: Sequence | np.ndarray | None = None,
    metric: str = "f1",
    *,
    strength: float | None = None,
    seed: int = 0,
) -> Fit:
    """The geometric mean of a ``stack`` and the mean of all runs; arguments as there."""
    fit = stack(probabilities, targets, groups, metric, strength=strength, seed=seed)
    return replace(fit, method="stack_mean")


def stack_fit(
    method: str,
    runs: Sequence[np.ndarray],
    targets: np.ndarray,
    clips: np.ndarray,
    groups: np.ndarray,
    strength: float | None = None,
) -> Fit:
    """The fit of ``stack`` for runs (clips, classes) that are checked, to some of the clips; groups int (clips,)."""
    task = task_of(targets)
    if strength is None:
        strength = max(STRENGTH, 1 / len(np.unique(groups[clips])))
    objective = _Objective(design(runs, clips, task), targets[clips], len(runs), strength)
    coefficients, bias = objective.minimum()
    size = np.sqrt((coefficients**2).sum(axis=(1, 2))) + 1e-12
    return Fit(method, task, size / size.sum(), {"coefficients": coefficients, "bias": bias})


def design(runs: Sequence[np.ndarray], clips: np.ndarray, task: str) -> np.ndarray:
    """What the model sees of some clips: float32 (clips, runs * classes), divided by the root of the number of runs."""
    classes = runs[0].shape[1]
    x = np.empty((len(clips), len(runs) * classes), np.float32)
    for number, run in enumerate(runs):
        x[:, number * classes : (number + 1) * classes] = features(run[clips], task) / np.sqrt(len(runs))
    return x


class _Objective:
    """The penalised mean log-loss and its slope, as L-BFGS takes them."""

    def __init__(self, x: np.ndarray, targets: np.ndarray, n_runs: int, strength: float) -> None:
        self.x, self.n_runs, self.n_classes = x, n_runs, x.shape[1] // n_runs
        self.single = targets.ndim == 1
        self.truth = (np.eye(self.n_classes)[targets] if self.single else targets).astype(np.float64)
        self.average = x.reshape(len(x), n_runs, -1).sum(axis=1, dtype=np.float64) / np.sqrt(n_runs)
        self.unit = float(np.sqrt(np.mean(self.average**2) + 1e-12))
        self.penalty = strength * self.unit**2

    def minimum(self) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (runs, classes, classes) and bias (classes,)."""
        theta = np.zeros((self.x.shape[1] + 1) * self.n_classes + 1)
        theta[-1] = 1
        u, bias, scale = self.parts(minimum(self, theta, ITERATIONS))
        coefficients = u.reshape(self.n_runs, self.n_classes, self.n_classes) / np.sqrt(self.n_runs)
        return coefficients + scale / self.n_runs * np.eye(self.n_classes), bias * self.unit

    def parts(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """The scaled W (runs * classes, classes), b (classes,) and a."""
        split = self.x.shape[1] * self.n_classes
        return theta[:split].reshape(-1, self.n_classes), theta[split:-1], float(theta[-1])

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        u, bias, scale = self.parts(theta)
        logits = self.x @ u.astype(np.float32) + scale * self.average + self.unit * bias
        if self.single:
            top = logits.max(axis=1)
            p = np.exp(logits - top[:, None])
            total = p.sum(axis=1)
            p, log_total = p / total[:, None], top + np.log(total)
        else:
            p, log_total = from_log_odds(logits, "multi"), np.logaddexp(0, logits).sum(axis=1)
        value = float(np.mean(log_total - (self.truth * logits).sum(axis=1)))
        residual = (p - self.truth) / len(self.x)
        by_u = self.x.T @ residual.astype(np.float32)
        by_scale = (residual * self.average).sum()
        slope = np.concatenate([by_u.ravel(), self.unit * residual.sum(axis=0), [by_scale]])
        slope[:-1] += self.penalty * theta[:-1]
        return value + self.penalty / 2 * float(theta[:-1] @ theta[:-1]), slope
