"""The result of a blend of runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from acoustic_kit.blending.blend import Blend
from acoustic_kit.ensemble.candidates import Candidate

By = Literal["run", "fold"]


@dataclass(frozen=True)
class BlendResult:
    """A blend of runs, and the submission written from it."""

    name: str
    metric: str
    method: str  # as requested
    by: By
    seed: int
    candidates: tuple[Candidate, ...]  # best first
    members: tuple[Candidate, ...]  # the chosen ones, best first
    left_out: dict[str, str]  # run → why it is not a candidate
    blend: Blend  # of the candidates
    mean_of_all: float | None = None  # the score of the plain mean of all candidates
    own_scores: dict[str, float] = field(default_factory=dict)  # fold model → score on its held-out fold; {} for runs
    by_group: bool = False  # the nested folds do not divide recordings or speakers
    scored_on: str = ""  # the training clips for which all candidates have predictions, if not all
    submission: Path | None = None
    no_submission: str = ""  # why there is none
    record: Path | None = None  # the JSON; exists without the CSV if there are no test clips

    @property
    def scored(self) -> bool:
        """Whether the blend has a score: all members have out-of-fold predictions."""
        return math.isfinite(self.blend.score)
