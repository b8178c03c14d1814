"""Which class is taken: by the highest probability, or by the highest after a factor for each class.

For macro-F1 the most probable class need not be the best decision: a rare class gains by being named more often. Such
factors over-fit easily, on UrbanSound8K's twelve families they lose 0.014. So they go only half the way, and are taken
only where factors fitted on other folds gain beyond noise.
"""

from dataclasses import dataclass

import numpy as np

from acoustic_kit.blending.arrays import task_of
from acoustic_kit.blending.combine import decided
from acoustic_kit.blending.evidence import Judge
from acoustic_kit.metrics import score, score_ranked

STEPS = np.linspace(-1.5, 1.5, 13)  # of a factor's logarithm
ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Tuned:
    """Factors of the classes, where they gain, and what they gain on clips that they were not fitted on."""

    factors: np.ndarray | None  # float64 (classes,)
    gain: float


def tune_decision(judge: Judge, blend: np.ndarray, folds: np.ndarray) -> Tuned:
    """Factors for predictions that were made for folds by fits without them; none where they do not gain.

    - ``blend``: (clips, classes)
    - ``folds``: int (clips,); for each, factors are fitted on the others and judged on it
    """
    targets = judge.targets
    task = task_of(targets)
    moved = np.empty_like(blend)
    for fold in np.unique(folds):
        held = folds == fold
        moved[held] = decided(blend[held], class_factors(judge.metric, targets[~held], blend[~held]), task)
    gain, beyond_noise = judge.gains(moved, blend)
    return Tuned(class_factors(judge.metric, targets, blend) if beyond_noise else None, gain)


def class_factors(metric: str, targets: np.ndarray, blend: np.ndarray) -> np.ndarray:
    """Factors that raise a metric, float64 (classes,), halved in their logarithm: coordinate ascent over the classes.

    - ``targets``: int (clips,) or bool (clips, classes)
    - ``blend``: (clips, classes) probabilities; of several labels the factors are for the odds p / (1 - p)
    """
    ascend = _ascend_odds if targets.ndim == 2 else _ascend
    logs = ascend(metric, targets, blend)
    return np.asarray(np.exp((logs - logs.mean() if targets.ndim == 1 else logs) / 2))


def _ascend(metric: str, targets: np.ndarray, blend: np.ndarray) -> np.ndarray:
    values = np.log(np.maximum(blend, 1e-12))
    logs = np.zeros(blend.shape[1])
    best = score(metric, targets, values)
    for _ in range(ROUNDS):
        before = best
        for c in range(blend.shape[1]):
            shifted = values + logs
            shifted[:, c] = -np.inf
            others = np.argmax(shifted, axis=1)
            lead = values[:, c] - shifted.max(axis=1)
            for step in STEPS[np.argsort(abs(STEPS), kind="stable")]:  # of equal ones the smallest
                found = score_ranked(metric, targets, np.where(lead + step > 0, c, others)[:, None])
                if found > best + 1e-12:
                    best, logs[c] = found, step
        if best == before:
            break
    return logs


def _ascend_odds(metric: str, targets: np.ndarray, blend: np.ndarray) -> np.ndarray:
    logs = np.zeros(blend.shape[1])
    for c in range(blend.shape[1]):  # each class is its own question
        own = targets[:, [c]]
        moved = [score(metric, own, decided(blend[:, [c]], np.exp([step]), "multi")) for step in STEPS]
        equal = np.flatnonzero(np.array(moved) >= max(moved) - 1e-12)
        logs[c] = STEPS[equal[np.argmin(abs(STEPS[equal]))]]
    return logs
