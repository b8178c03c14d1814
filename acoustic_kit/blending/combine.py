"""How each method turns runs into one prediction, once it is fitted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from acoustic_kit.blending.arrays import checked, from_log_odds, log_odds
from acoustic_kit.blending.methods import geometric_of, mean_of, rank_of

FIXED = {"mean": mean_of, "geometric": geometric_of, "rank": rank_of}
WEIGHTED = ("greedy", "weights")  # weighted means of probabilities
STACKED = ("stack", "stack_mean")  # multinomial models on log-probabilities
METHOD_NAMES = (*FIXED, *WEIGHTED, *STACKED)


def combine(
    method: str,
    runs: Sequence[np.ndarray],
    weights: np.ndarray,
    parameters: Mapping[str, np.ndarray],
    task: str,
) -> np.ndarray:
    """One prediction of runs, each (clips, classes): float64 (clips, classes).

    - ``weights``: (runs,), each run's share
    - ``parameters``: of a stack ``coefficients`` (runs, classes, classes) and ``bias`` (classes,)
    """
    if method in FIXED:
        return FIXED[method](runs, task)
    if method in WEIGHTED:
        total = np.zeros(runs[0].shape)
        for run, weight in zip(runs, weights, strict=True):
            if weight:
                total += weight * run
        return total
    logits = np.tile(parameters["bias"], (len(runs[0]), 1))
    for run, coefficients in zip(runs, parameters["coefficients"], strict=True):
        logits += features(run, task) @ coefficients
    stacked = from_log_odds(logits, task)
    return stacked if method == "stack" else halfway(stacked, mean_of(runs), task)


def features(run: np.ndarray, task: str) -> np.ndarray:
    """What a stack sees of a run, float64 (clips, classes): log-odds, less their mean over a row (single label)."""
    x = log_odds(run, task)
    return x if task == "multi" else np.asarray(x - x.mean(axis=1, keepdims=True))


def halfway(one: np.ndarray, other: np.ndarray, task: str) -> np.ndarray:
    """The geometric mean of two predictions (clips, classes)."""
    return from_log_odds((log_odds(one, task) + log_odds(other, task)) / 2, task)


def decided(probabilities: np.ndarray, factors: np.ndarray, task: str) -> np.ndarray:
    """Probabilities (clips, classes) times a factor a class, normalised; of several labels the odds times it."""
    if task == "multi":
        return from_log_odds(log_odds(probabilities, task) + np.log(factors), task)
    weighed = probabilities * factors
    return np.asarray(weighed / np.maximum(weighed.sum(axis=1, keepdims=True), 1e-300))


@dataclass(frozen=True, eq=False)
class Fit:
    """A method fitted to some runs."""

    method: str
    task: str
    weights: np.ndarray  # float64 (runs,), each run's share, not negative, sums to one
    parameters: dict[str, np.ndarray] = field(default_factory=dict)  # see `combine`

    def predict(self, probabilities: np.ndarray) -> np.ndarray:
        """The blend of new clips: (runs, clips, classes) of the same runs in the same order → (clips, classes)."""
        probabilities = checked(probabilities)
        if len(probabilities) != len(self.weights):
            raise ValueError(f"fitted to {len(self.weights)} runs; here are {len(probabilities)}")
        return combine(self.method, list(probabilities), self.weights, self.parameters, self.task)

    def ordered(self, places: np.ndarray) -> "Fit":
        """The same fit of its runs in another order, or of some of them."""
        parameters = dict(self.parameters)
        if "coefficients" in parameters:
            parameters["coefficients"] = parameters["coefficients"][places]
        return Fit(self.method, self.task, self.weights[places], parameters)
