"""Blends of some members of a blend, fitted and estimated anew on the runs' out-of-fold predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from acoustic_kit.blending import Blend, choose
from acoustic_kit.blending.combine import METHOD_NAMES
from acoustic_kit.blending.recordings import Recordings
from acoustic_kit.data.targets import TrainingSet
from acoustic_kit.ensemble.candidates import common_clips
from acoustic_kit.errors import RunError
from acoustic_kit.metrics.names import recorded_metric
from acoustic_kit.prediction.models import Predictor
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.runs.labels import labeled_clips


@dataclass(frozen=True, eq=False)
class ReducedBlends:
    """Blends of some of a predictor's members.

    Each is fitted again, with the method, the metric and the options of the whole blend: what a fitted method learned
    of all members does not apply to some. Its nested estimate is of that fit. Only the choice of members is not nested.
    """

    predictor: Predictor
    clips: TrainingSet  # that all members have out-of-fold predictions for
    runs: tuple[np.ndarray, ...]  # those predictions, float64 (clips, classes) each
    _found: dict[tuple[int, ...], Blend] = field(default_factory=dict)

    @staticmethod
    def of(predictor: Predictor) -> ReducedBlends:
        """Return the blends of some of a predictor's members.

        Raises RunError, with the reason, if they cannot be estimated: members that are models of single folds or were
        trained on all clips, and runs without out-of-fold predictions or labels.
        """
        blend, members = predictor.blend, predictor.members
        assert blend is not None
        if recorded_metric(blend.metric) is None:
            raise RunError(f"its metric, {blend.metric}, is defined in its workspace only")
        oofs = list[Predictions]()
        for member in members:
            run = member.run
            if len(member.folds) < len(run.done):
                raise RunError(f"it blends models of single folds ({run.name}/{member.folds[0]})")
            if run.record.full:
                raise RunError(f"{run.name} was trained on all clips (--full), so it has no out-of-fold predictions")
            if (oof := run.predictions("oof", run.record.classes)) is None:
                raise RunError(f"{run.path} lacks oof.parquet, its out-of-fold predictions")
            oofs.append(oof)
        first = members[0].run
        clips = labeled_clips(first, predictor.task_spec)
        if clips is None:
            raise RunError(
                f"{first.path} lacks labels.parquet, which earlier versions did not store. In the run's workspace, "
                "they are known"
            )
        scored = common_clips(clips, oofs, whole_folds=not first.record.fast)
        if not scored.any():
            raise RunError("its runs have out-of-fold predictions for no clips in common")
        clips = clips.filter(scored)
        return ReducedBlends(predictor, clips, tuple(oof.aligned(clips.ids) for oof in oofs))

    def estimate(self, members: Sequence[int]) -> float:
        """Return the nested estimate of a blend of some members. Raises RunError if there are too few clips for one."""
        nested = self.blend(members).nested_score
        if math.isnan(nested):
            raise RunError("there are too few labeled clips or groups for a nested estimate")
        return nested

    def blend(self, members: Sequence[int]) -> Blend:
        """Return the blend of some members, by position."""
        key, whole = tuple(members), self.predictor.blend
        assert whole is not None
        if key not in self._found:
            self._found[key] = choose(
                [self.runs[member] for member in key],
                self.clips.targets,
                self.clips.groups if self.clips.n_groups else None,
                whole.metric,
                whole.asked if whole.asked in METHOD_NAMES else "auto",
                decision="argmax" if whole.decision_gain is None else "tuned",
                recordings=Recordings.of(self.clips.rows["path"], self.clips.rows["start"]),
            )
        return self._found[key]

    def predictor_of(self, members: Sequence[int]) -> Predictor:
        """Return the predictor of a blend of some members: of those with a weight."""
        blend, predictor = self.blend(members), self.predictor
        chosen = tuple(predictor.members[members[position]] for position in blend.members)
        return replace(predictor, members=chosen, blend=blend.of_members())
