"""The training clips of a workspace, and what each run's out-of-fold predictions say of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from acoustic_kit.data.targets import clip_groups, encode_labels
from acoustic_kit.report.evaluation import errors, is_wrong
from acoustic_kit.runs.leaderboard import Standing
from acoustic_kit.workspace.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class TrainingClips:
    """The labelled clips that out-of-fold predictions are of."""

    rows: pl.DataFrame  # of the manifest
    classes: tuple[str, ...]
    targets: np.ndarray  # int (clips,), or bool (clips, classes)

    @staticmethod
    def of(workspace: Workspace) -> TrainingClips:
        """Those of a workspace."""
        rows = workspace.manifest.filter(workspace.manifest["split"] == "train")
        classes = tuple(workspace.config.classes)
        return TrainingClips(rows, classes, encode_labels(rows["label"].to_list(), classes, workspace.config.task))

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def ids(self) -> list[str]:
        """Their ids, in the order of everything else."""
        return self.rows["id"].to_list()

    @property
    def n_groups(self) -> int | None:
        """How many recordings or speakers there are; None where the manifest names none."""
        return clip_groups(self.rows)[1] or None


@dataclass(frozen=True)
class Scored:
    """A run that has out-of-fold predictions: of each clip only what the report needs of every run."""

    standing: Standing
    known: np.ndarray  # bool (clips,): predicted
    errors: np.ndarray  # float32 (clips,), see `evaluation.errors`; NaN where not predicted
    wrong: np.ndarray  # bool (clips,): the decision is wrong


class Scoring:
    """What the report needs of every run with a score, in the order in which it hears of them: one at a time."""

    def __init__(self, clips: TrainingClips) -> None:
        self.runs: dict[str, Scored] = {}
        self._clips = clips

    def add(self, standing: Standing, known: np.ndarray, probabilities: np.ndarray) -> None:
        """One run, as `leaderboard` tells of it."""
        targets = self._clips.targets[known]
        of_all, wrong = np.full(len(known), np.nan, np.float32), np.zeros(len(known), bool)
        of_all[known], wrong[known] = errors(targets, probabilities), is_wrong(targets, probabilities)
        self.runs[standing.run.name] = Scored(standing, known, of_all, wrong)
