"""Predictions of fitted methods from those of runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from acoustic_kit.blending.arrays import checked, from_log_odds, log_odds
from acoustic_kit.blending.methods import geometric_of, mean_of, power_of, rank_of
from acoustic_kit.blending.ranks import as_probabilities, mean_rank

FIXED = {"mean": mean_of, "geometric": geometric_of, "rank": rank_of, "power": power_of}
WEIGHTED = ("weights", "greedy")  # weighted means of probabilities
AVERAGED = ("mean", "stack", *WEIGHTED)  # `auto` is their geometric mean, beyond a margin
RANKING = ("mean", "rank", "power")  # `auto` is their power mean if only the order of clips within classes counts
METHOD_NAMES = ("auto", *FIXED, *WEIGHTED, "stack")
NOT_OF_RUNS = ("bias", "margin", "scale")  # parameters; others have a row per run
Parameters = Mapping[str, np.ndarray]


def combine(
    method: str, runs: Sequence[np.ndarray], weights: np.ndarray, parameters: Parameters, task: str
) -> np.ndarray:
    """Return the blend of runs, each (clips, classes): float64 (clips, classes).

    - ``method``: one of ``METHOD_NAMES``, or ``stack_mean``, found in records of earlier versions
    - ``weights``: (runs,), of a weighted mean
    - ``parameters``: of a stack ``bias`` (classes,) and ``coefficients``, (runs, classes, classes) or, if each class
      has only one coefficient of its own, (runs, classes); of ``auto`` these, the weights of two weighted means,
      ``weights`` and ``greedy`` (runs,), and ``margin`` (), which records of earlier versions lack; of a fitted
      ``rank`` ``quantiles`` and ``scale`` (see `blending.ranks`); of an ``auto`` of `RANKING` these, and the weights
      ``rank`` and ``power`` (runs,)
    """
    if method == "rank" and "quantiles" in parameters:
        return _ranked(runs, weights, parameters)
    if method in FIXED:
        return power_of(runs, task, weights) if method == "power" else FIXED[method](runs, task)
    if method in WEIGHTED:
        return _weighted_mean(runs, weights)
    if method == "stack":
        return _stacked(runs, parameters, task)
    if method == "stack_mean":
        return geometric_of([_stacked(runs, parameters, task), mean_of(runs)], task)
    return joined(averaged_predictions(runs, parameters, task), parameters, task)


def joined(predictions: Mapping[str, np.ndarray], parameters: Parameters, task: str) -> np.ndarray:
    """Return the prediction of ``auto`` from those of the methods that it combines (`averaged_predictions`)."""
    if "power" in predictions:
        return power_of(list(predictions.values()), task)
    return averaged(predictions, float(parameters.get("margin", 0)), task)


def averaged(predictions: Mapping[str, np.ndarray], margin: float, task: str) -> np.ndarray:
    """Return the geometric mean of predictions, as far as it departs from one of them, ``mean``, beyond a margin.

    Of a single label, a class departs by what the geometric mean adds to its log-probability, less what it adds to that
    of the label that ``mean`` gives; of several labels, by what it adds to its log-odds. Departures are moved towards
    zero by the margin, and smaller ones are zero (soft thresholding). So another label has to be more probable by the
    factor exp(margin) than the label that ``mean`` gives.

    - ``predictions``: (clips, classes) each
    - ``margin``: >= 0; 0 returns the geometric mean, infinity ``mean``
    """
    if not margin:
        return geometric_of(list(predictions.values()), task)
    mean = log_odds(predictions["mean"], task)
    departure = sum(log_odds(one, task) for one in predictions.values()) / len(predictions) - mean
    if task == "single":
        departure -= np.take_along_axis(departure, mean.argmax(axis=1)[:, None], axis=1)
    return from_log_odds(mean + np.sign(departure) * np.maximum(abs(departure) - margin, 0), task)


def averaged_predictions(runs: Sequence[np.ndarray], parameters: Parameters, task: str) -> dict[str, np.ndarray]:
    """Return the predictions of the methods that ``auto`` combines, each float64 (clips, classes)."""
    if "power" in parameters:
        return {
            "mean": mean_of(runs),
            "rank": _ranked(runs, parameters["rank"], parameters),
            "power": power_of(runs, task, parameters["power"]),
        }
    return {
        "mean": mean_of(runs),
        "stack": _stacked(runs, parameters, task),
        "weights": _weighted_mean(runs, parameters["weights"]),
        "greedy": _weighted_mean(runs, parameters["greedy"]),
    }


def _weighted_mean(runs: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    total = np.zeros(runs[0].shape)
    for run, weight in zip(runs, weights, strict=True):
        if weight:
            total += weight * run
    return total


def _ranked(runs: Sequence[np.ndarray], weights: np.ndarray, parameters: Parameters) -> np.ndarray:
    return as_probabilities(mean_rank(runs, weights, parameters["quantiles"]), parameters["scale"])


def _stacked(runs: Sequence[np.ndarray], parameters: Parameters, task: str) -> np.ndarray:
    logits = np.tile(parameters["bias"], (len(runs[0]), 1))
    for run, coefficients in zip(runs, parameters["coefficients"], strict=True):
        x = features(run, task)
        logits += x @ coefficients if coefficients.ndim == 2 else x * coefficients
    return from_log_odds(logits, task)


def features(run: np.ndarray, task: str) -> np.ndarray:
    """Return the input of a stack for a run, float64 (clips, classes): log-odds, less the row's mean (single label)."""
    x = log_odds(run, task)
    return x if task == "multi" else np.asarray(x - x.mean(axis=1, keepdims=True))


def apply_factors(probabilities: np.ndarray, factors: np.ndarray, task: str) -> np.ndarray:
    """Return probabilities (clips, classes) with the odds of each class multiplied by its factor.

    Single label, only in records of earlier versions: the probabilities multiplied by the factors, normalized.
    """
    if task == "multi":
        return from_log_odds(log_odds(probabilities, task) + np.log(factors), task)
    weighed = probabilities * factors
    return np.asarray(weighed / np.maximum(weighed.sum(axis=1, keepdims=True), 1e-300))


@dataclass(frozen=True, eq=False)
class Fit:
    """A method fitted to some runs."""

    method: str
    task: str
    weights: np.ndarray  # float64 (runs,), not negative, sum to one
    parameters: dict[str, np.ndarray] = field(default_factory=dict)  # see `combine`

    def predict(self, probabilities: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """Return the blend for new clips: (runs, clips, classes) of the same runs in order → (clips, classes)."""
        runs = checked(probabilities)
        if len(runs) != len(self.weights):
            raise ValueError(f"fitted to {len(self.weights)} runs; here are {len(runs)}")
        return combine(self.method, runs, self.weights, self.parameters, self.task)

    def ordered(self, places: np.ndarray) -> "Fit":
        """Return the same fit with its runs in another order, or with some of them."""
        parameters = {
            name: values if name in NOT_OF_RUNS else values[places] for name, values in self.parameters.items()
        }
        return Fit(self.method, self.task, self.weights[places], parameters)
