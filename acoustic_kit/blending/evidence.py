"""Whether one prediction is better than another beyond noise, and which method ``auto`` takes.

A metric such as macro-F1 is too coarse a witness: a gain of 0.01 on 800 clips is one standard error. Beside it stands
the Brier score, a proper and bounded one (a recording of sixty clips, all wrong and sure of it, does not decide alone),
after one temperature for each prediction, so that calibration alone is no gain. Both gains are taken in units of their
standard error over groups.

``auto`` starts from the mean and goes on to what is more complex:

- ``geometric``, ``weights``, ``greedy`` and ``stack`` replace what was taken so far where one of the gains is above two
  standard errors and the other not below minus one.
- ``stack_mean`` needs less: that the sum of the two gains is above zero, and neither below minus one. It is half the
  mean, and its other half is held to the geometric mean. Where there is nothing to mend, fitting costs, and evidence
  from other folds is then against it by itself; asking for more would mostly ask for luck, as the clips that speak for
  it here are missing where it is used.

``rank`` is left out: what it gives one clip depends on the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from acoustic_kit.blending.arrays import from_log_odds, log_odds, task_of
from acoustic_kit.bootstrap import paired_scores
from acoustic_kit.metrics import score

AUTO = ("mean", "geometric", "stack_mean", "weights", "greedy", "stack")  # simplest first
RESAMPLES = 200
BEYOND_NOISE = 2.0


@dataclass(eq=False)
class Judge:
    """Compares predictions (clips, classes) of the same clips."""

    metric: str
    targets: np.ndarray
    groups: np.ndarray
    seed: int

    def simplest_unbeaten(self, predictions: Mapping[str, np.ndarray]) -> str:
        """The method that ``auto`` takes; the predictions stand simplest first."""
        names = list(predictions)
        brier = [self.brier(prediction) for prediction in predictions.values()]
        draws = self.draws(list(predictions.values()))
        scores = [score(self.metric, self.targets, prediction) for prediction in predictions.values()]
        taken = 0
        for other in range(1, len(names)):
            by_brier = self.in_errors(brier[taken] - brier[other])
            by_metric = (scores[other] - scores[taken]) / max((draws[:, other] - draws[:, taken]).std(), 1e-9)
            if names[other] == "stack_mean":
                better = by_brier + by_metric > 0 and min(by_brier, by_metric) > -1
            else:
                better = max(by_brier, by_metric) > BEYOND_NOISE and min(by_brier, by_metric) > -1
            taken = other if better else taken
        return names[taken]

    def gains(self, prediction: np.ndarray, base: np.ndarray) -> tuple[float, bool]:
        """How much better a prediction scores than another, and whether that is beyond noise."""
        gain = score(self.metric, self.targets, prediction) - score(self.metric, self.targets, base)
        draws = self.draws([prediction, base])
        return gain, bool(gain > BEYOND_NOISE * (draws[:, 0] - draws[:, 1]).std())

    def draws(self, predictions: list[np.ndarray]) -> np.ndarray:
        """The scores of each when groups are drawn anew: float64 (draws, predictions)."""
        return paired_scores(self.metric, self.targets, predictions, self.groups, self.seed, RESAMPLES)

    def in_errors(self, gain: np.ndarray) -> float:
        """The mean over clips in units of its standard error, which takes groups for independent, not clips."""
        by_group = np.bincount(self.groups, weights=gain - gain.mean())
        return float(gain.sum() / max(np.sqrt((by_group**2).sum()), 1e-9))

    def brier(self, prediction: np.ndarray) -> np.ndarray:
        """The Brier score of each clip, float64 (clips,), after one temperature for all clips."""
        task = task_of(self.targets)
        logits = log_odds(prediction, task)
        truth = np.eye(logits.shape[1])[self.targets] if task == "single" else self.targets.astype(np.float64)
        p = from_log_odds(fitted_slope(logits, truth, task) * logits, task)
        return np.asarray(((p - truth) ** 2).sum(axis=1))


def fitted_slope(logits: np.ndarray, truth: np.ndarray, task: str) -> float:
    """The inverse temperature t for which t * logits has the smallest log-loss, by Newton's method."""
    t = 1.0
    for _ in range(30):
        p = from_log_odds(t * logits, task)
        slope = ((p - truth) * logits).sum(axis=1).mean()
        if task == "single":
            mean = (p * logits).sum(axis=1)
            curve = ((p * logits**2).sum(axis=1) - mean**2).mean()
        else:
            curve = (p * (1 - p) * logits**2).sum(axis=1).mean()
        step = float(np.clip(-slope / max(curve, 1e-12), -t / 2, t))
        t += step
        if abs(step) < 1e-4 * t:
            break
    return t
