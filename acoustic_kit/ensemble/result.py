"""The result of a blend of runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from acoustic_kit.blending.blend import Blend
from acoustic_kit.ensemble.candidates import Candidate

By = Literal["run", "fold"]


@dataclass(frozen=True)
class BlendResult:
    """A blend of runs, and what became of it."""

    name: str
    metric: str
    method: str  # that was asked for
    by: By
    seed: int
    candidates: tuple[Candidate, ...]  # what the blend could choose from
    members: tuple[Candidate, ...]  # what it chose, best first
    left_out: dict[str, str]  # run → why it was no candidate
    blend: Blend  # of the candidates
    mean_of_all: float | None  # the score of the plain mean of all candidates
    own_scores: dict[str, float]  # fold model → its score on its own held-out fold; empty for whole runs
    by_group: bool  # the nested folds keep recordings or speakers whole
    scored_on: str = ""  # the training clips that all candidates predicted, if these are not all
    submission: Path | None = None
    no_submission: str = ""  # why there is none

    @property
    def scored(self) -> bool:
        """Whether anything is known of the blend: not where a member has no out-of-fold predictions."""
        return math.isfinite(self.blend.score)
