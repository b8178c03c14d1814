"""Rounds of pseudo-labels: what each run gains over the one before, which taught it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acoustic_kit.data.targets import TrainingSet
from acoustic_kit.errors import RunError
from acoustic_kit.metrics.bootstrap import score_and_gain_intervals
from acoustic_kit.metrics.names import get_metric
from acoustic_kit.metrics.scores import score
from acoustic_kit.runs.run import Run

Interval = tuple[float, float]


@dataclass(frozen=True)
class Round:
    """A run that learned from pseudo-labels, beside the round before on the same clips."""

    number: int
    run: Run
    score: float  # of the out-of-fold predictions
    interval: Interval | None = None  # 95 %, of the score
    gain: float | None = None  # over the round before, positive if better; None for the first
    gain_interval: Interval | None = None  # 95 %
    changed: float | None = None  # share of the out-of-fold predictions with another first label

    @property
    def share(self) -> float:
        """The share of pseudo-labeled clips among the training clips."""
        pseudo = self.run.record.pseudo
        return (pseudo and pseudo.share) or 0.0


def compare_round(run: Run, before: Round | None, clips: TrainingSet, metric: str) -> Round:
    """Return the next round, compared with the round before on the clips that both predicted.

    Raises RunError if there are none.
    """
    names, number = clips.task_spec.names, 1 if before is None else before.number + 1
    found = [one.predictions("oof", names) for one in (run, before.run if before else run)]
    parts = [one.found(clips.ids) for one in found if one is not None]
    known = np.logical_and.reduce([which for which, _ in parts]) if len(parts) == 2 else np.zeros(1, bool)
    if not known.any():
        raise RunError(f"{run.name} has no out-of-fold predictions to compare rounds by.")
    scored = clips.filter(known)
    own, other = (probabilities[known[which]] for which, probabilities in parts)
    value, last = score(metric, scored.targets, own), score(metric, scored.targets, other)
    intervals = score_and_gain_intervals(metric, scored.targets, own, other, scored.groups)
    if before is None:
        return Round(number, run, value, intervals[0])
    changed = float((own.argmax(axis=1) != other.argmax(axis=1)).mean())
    return Round(number, run, value, intervals[0], get_metric(metric).sign * (value - last), intervals[1], changed)
