"""Errors of each run's out-of-fold predictions of the training clips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acoustic_kit.data.targets import TrainingSet
from acoustic_kit.report.evaluation import errors, is_wrong
from acoustic_kit.runs.leaderboard import Standing


@dataclass(frozen=True)
class Scored:
    """Errors of a run with out-of-fold predictions: per clip only what the report needs of every run."""

    standing: Standing
    errors: np.ndarray  # float32 (clips,), see `evaluation.errors`; NaN if not predicted
    wrong: np.ndarray  # bool (clips,): the decision is wrong


class Scoring:
    """Collects the errors of scored runs, one run at a time, in the order of the calls of `add`."""

    def __init__(self, clips: TrainingSet) -> None:
        self.runs: dict[str, Scored] = {}
        self._clips = clips

    def add(self, standing: Standing, known: np.ndarray, probabilities: np.ndarray) -> None:
        """Add a run; `leaderboard` calls this with each scored run."""
        targets = self._clips.targets[known]
        of_all, wrong = np.full(len(known), np.nan, np.float32), np.zeros(len(known), bool)
        of_all[known], wrong[known] = errors(targets, probabilities), is_wrong(targets, probabilities)
        self.runs[standing.run.name] = Scored(standing, of_all, wrong)
