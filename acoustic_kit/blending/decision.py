"""Thresholds of the classes of tasks with several labels.

For macro-F1 a probability of 0.5 need not be the best threshold. A threshold is written as a factor for the odds
p / (1 - p), so that 0.5 stays the threshold of the blend. Factors over-fit easily: their logarithms are halved, and
they are used only if factors fitted on other folds gain beyond noise. Factors for the classes of a single label are not
offered: on clips of other recordings they lose (docs/blending.md).
"""

from dataclasses import dataclass

import numpy as np

from acoustic_kit.blending.combine import apply_factors
from acoustic_kit.metrics.bootstrap import paired_scores
from acoustic_kit.metrics.names import get_metric
from acoustic_kit.metrics.scores import score

STEPS = np.linspace(-1.5, 1.5, 13)  # of a factor's logarithm
RESAMPLES = 200
BEYOND_NOISE = 2.0  # standard errors


@dataclass(frozen=True, eq=False)
class Tuned:
    """Factors of the classes if they gain, and their gain on clips to which they were not fitted."""

    factors: np.ndarray | None  # float64 (classes,)
    gain: float

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Return probabilities (clips, classes) with these factors applied."""
        return probabilities if self.factors is None else apply_factors(probabilities, self.factors, "multi")


def tune_thresholds(
    metric: str, targets: np.ndarray, groups: np.ndarray, blend: np.ndarray, folds: np.ndarray, seed: int
) -> Tuned:
    """Fit factors to nested predictions: those for each fold are by a fit to the other folds.

    - ``targets``: bool (clips, classes)
    - ``groups``: int (clips,), resampled as a whole to distinguish a gain from noise
    - ``blend``: (clips, classes) probabilities
    - ``folds``: int (clips,); each is scored with factors fitted on the others
    """
    if len(np.unique(folds)) < 2:
        return Tuned(None, 0.0)
    moved = np.empty_like(blend)
    for fold in np.unique(folds):
        held = folds == fold
        moved[held] = apply_factors(blend[held], class_factors(metric, targets[~held], blend[~held]), "multi")
    sign = get_metric(metric).sign
    gain = sign * (score(metric, targets, moved) - score(metric, targets, blend))
    draws = paired_scores(metric, targets, [moved, blend], groups, seed, RESAMPLES)
    beyond_noise = gain > BEYOND_NOISE * (draws[:, 0] - draws[:, 1]).std()
    return Tuned(class_factors(metric, targets, blend) if beyond_noise else None, gain)


def class_factors(metric: str, targets: np.ndarray, blend: np.ndarray) -> np.ndarray:
    """Return factors of the odds that maximize a metric, float64 (classes,), with halved logarithms.

    - ``targets``: bool (clips, classes)
    - ``blend``: (clips, classes) probabilities
    """
    logs, sign = np.zeros(blend.shape[1]), get_metric(metric).sign
    for c in range(blend.shape[1]):  # classes are independent
        own = targets[:, [c]]
        moved = [sign * score(metric, own, apply_factors(blend[:, [c]], np.exp([step]), "multi")) for step in STEPS]
        equal = np.flatnonzero(np.array(moved) >= max(moved) - 1e-12)
        logs[c] = STEPS[equal[np.argmin(abs(STEPS[equal]))]]  # of equal scores the smallest step
    return np.asarray(np.exp(logs / 2))
