"""Pseudo-labels: targets that a teacher predicts for the clips that a fold is trained on.

The model of fold k learns from the teacher's model of fold k, which was trained without fold k. So no target that it
learns from depends on a label of fold k, and its out-of-fold predictions stay honest. This includes labeled clips: for
a clip of fold j, the teacher's out-of-fold prediction is that of its model j, which was trained on fold k, so it would
carry labels of fold k into the training of model k. The prediction of model k, which was trained on the clip, does not.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from acoustic_kit.data.folds import FoldRows
from acoustic_kit.data.leaks import is_equal, shares_group
from acoustic_kit.data.schema import is_unlabeled
from acoustic_kit.data.soft_targets import target_columns
from acoustic_kit.data.targets import loss_targets
from acoustic_kit.device import Compute
from acoustic_kit.errors import DataError, UsageError
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.recipe.settings import Settings
from acoustic_kit.tables import listed
from acoustic_kit.task import Task

if TYPE_CHECKING:
    import polars as pl

    from acoustic_kit.features import Feature

PREFIX = "pseudo."  # of the names of the settings, beside those of the recipe
PREDICTIONS_NAME = "pseudo.parquet"  # the teacher's predictions for a fold, beside its checkpoints
NEGLIGIBLE = 1e-4  # of a clip's largest target; smaller ones are 0, or hundreds of classes would fill the manifest


class PseudoSettings(Settings):
    """Settings of pseudo-labels."""

    weight: float = Field(1.0, gt=0, description="of a pseudo-labeled clip beside a labeled one, times its confidence")
    power: float = Field(1.0, gt=0, description="exponent of the teacher's probabilities; above 1 sharpens them")
    min: float = Field(0.0, ge=0, le=1, description="leave out clips whose largest probability is lower")
    on: Literal["unlabelled", "labelled", "both"] = Field("unlabelled", description="clips that the teacher labels")


class PseudoRecord(BaseModel):
    """Origin of a run's pseudo-labels, in its record."""

    model_config = ConfigDict(frozen=True)

    teacher: str  # as the user named it: a run, or a submission
    runs: dict[str, float]  # the runs whose fold models label, and their weights
    settings: PseudoSettings
    round: int  # 1; one more than that of the teacher if it learned from pseudo-labels itself
    share: float | None = None  # of pseudo-labeled clips among the training clips, over the folds that are done

    def __str__(self) -> str:
        """Describe the origin: `round 2, 31 % of the clips labeled by cnn-1a2b3c4d`."""
        kinds = {"labelled": "distilled from", "both": f"{self.share or 0:.0%} of the clips labeled by, all taught by"}
        how = kinds.get(self.settings.on, f"{self.share or 0:.0%} of the clips labeled by")
        return f"round {self.round}, {how} {self.teacher}"


class Teacher(Protocol):
    """Fold models that label clips."""

    def check(self, fold: str, held_out: Sequence[str], unlabeled: Sequence[str]) -> None:
        """Raise RunError if the model of a fold was trained on clips that the fold holds out, or that have no label."""

    def predict(
        self,
        fold: str,
        rows: pl.DataFrame,
        compute: Compute,
        workers: int,
        on_build: Callable[[Feature, int, int], None],
        on_clips: Callable[[int, int], None],
    ) -> Predictions:
        """Return the predictions of the model of a fold for rows of the manifest.

        `on_build` is called with a feature, `on_clips` without; then both with the clips done and in all.
        """


@dataclass(frozen=True)
class PseudoLabels:
    """Where the pseudo-labels of a job come from, and how it uses them."""

    settings: PseudoSettings
    name: str  # of the teacher, as the user named it
    runs: tuple[str, ...]  # names of its runs, of equal weight
    round: int
    bias_warnings: tuple[str, ...]  # reasons why the scores of the teacher are biased upward
    teacher: Teacher | None = field(compare=False)  # None on a cluster's worker, which is sent the predictions

    @property
    def identity(self) -> dict[str, Any]:
        """What of it determines the result of a run."""
        return {"runs": sorted(self.runs), **self.settings.model_dump(mode="json")}

    def record(self) -> PseudoRecord:
        """Return its record for a new run."""
        runs = {name: 1 / len(self.runs) for name in self.runs}
        return PseudoRecord(teacher=self.name, runs=runs, settings=self.settings, round=self.round)

    def clips(self, manifest: pl.DataFrame, rows: FoldRows) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the labeled and the unlabeled clips to which the teacher's model of a fold gives targets.

        Unlabeled clips that are equal to a held-out clip, or of its group, are left out.
        """
        unlabeled = manifest.filter(is_unlabeled())
        known = is_equal(unlabeled, rows.valid) | shares_group(unlabeled, rows.valid)
        return (
            rows.train.clear() if self.settings.on == "unlabelled" else rows.train,
            unlabeled.clear() if self.settings.on == "labelled" else unlabeled.filter(~known),
        )

    def label(
        self, manifest: pl.DataFrame, rows: FoldRows, found: Predictions, classes: Sequence[str], task: Task
    ) -> tuple[pl.DataFrame, frozenset[str], list[str]]:
        """Return the training rows of a fold with pseudo-labels, the ids of those without other labels, and remarks.

        The `weight` of such clips is `settings.weight` times the largest probability, and `soft` are the transformed
        probabilities. Targets of labeled clips become the mean of their own, of weight 1, and the teacher's, of
        `settings.weight`.

        - `found`: the predictions of the teacher's model of the fold for the clips of `clips`
        """
        import polars as pl

        labeled, unlabeled = self.clips(manifest, rows)
        train, ids, remarks = rows.train, frozenset[str](), list[str]()
        if len(labeled):
            train = self._blend_targets(train, found.aligned(labeled["id"].to_list()), classes, task)
        if self.settings.on != "labelled":
            probabilities = found.aligned(unlabeled["id"].to_list())
            confidence = probabilities.max(axis=1, initial=0)
            kept = (confidence >= self.settings.min) & (confidence > 0)
            if not kept.any():
                raise DataError(
                    f"None of {len(kept)} unlabeled clips reaches pseudo.min={self.settings.min:g}: the highest "
                    f"probability is {confidence.max(initial=0):.3f}. Lower pseudo.min."
                )
            label, soft = target_columns(self._targets(probabilities[kept], task), classes, task)
            added = unlabeled.filter(kept).with_columns(
                label=label, soft=soft, weight=self.settings.weight * confidence[kept]
            )
            train, ids = pl.concat([train, added]), frozenset(added["id"])
            remarks = _remarks(rows.train, added, len(unlabeled), classes)
        return train, ids, remarks

    def _targets(self, probabilities: np.ndarray, task: Task) -> np.ndarray:
        """Return probabilities (clips, classes) to the power of the setting, of one label normalized to a sum of 1."""
        targets = probabilities.clip(0, 1) ** self.settings.power
        if task == "single":
            targets = targets / targets.sum(axis=1, keepdims=True)
        targets[targets < NEGLIGIBLE * targets.max(axis=1, keepdims=True)] = 0
        return targets / targets.sum(axis=1, keepdims=True) if task == "single" else targets

    def _blend_targets(
        self, rows: pl.DataFrame, probabilities: np.ndarray, classes: Sequence[str], task: Task
    ) -> pl.DataFrame:
        """Return labeled rows with the mean of their targets and the teacher's; unknown ones become the teacher's."""
        own, weight = loss_targets(rows, classes, task).astype(np.float64), self.settings.weight
        taught = self._targets(probabilities, task)
        is_sure = probabilities.max(axis=1, keepdims=True) >= self.settings.min
        targets = np.where(np.isnan(own), taught, (own + weight * taught) / (1 + weight))
        if task == "single":
            targets /= targets.sum(axis=1, keepdims=True)
        label, soft = target_columns(np.where(is_sure, targets, own), classes, task)
        return rows.with_columns(label=label, soft=soft)


def _remarks(train: pl.DataFrame, added: pl.DataFrame, n_unlabeled: int, classes: Sequence[str]) -> list[str]:
    """Describe clips below `pseudo.min`, and classes of the training clips that no unlabeled clip is labeled as."""
    remarks = []
    if len(added) < n_unlabeled:
        remarks.append(f"{n_unlabeled - len(added)} of {n_unlabeled} unlabeled clips are below pseudo.min, left out")
    before, after = set(train["label"].explode()), set(added["label"].explode())
    if lost := [name for name in classes if name in before - after]:
        remarks.append(f"no unlabeled clip is labeled as {listed(lost)}, whose share of the training clips shrinks")
    return remarks


def split_settings(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return settings of a recipe, and those of pseudo-labels without `pseudo.`, by name."""
    own = {name: value for name, value in values.items() if not name.startswith(PREFIX)}
    return own, {name.removeprefix(PREFIX): value for name, value in values.items() if name.startswith(PREFIX)}


def pseudo_settings(values: Mapping[str, Any]) -> PseudoSettings:
    """Return settings of pseudo-labels from values by name. Raises UsageError for an unknown name or a wrong value."""
    known = PseudoSettings.model_fields
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {PREFIX}{near[0]}?" if near else f"There are {', '.join(PREFIX + k for k in known)}."
            raise UsageError(f"There is no setting {PREFIX}{name}. {hint}")
    try:
        return PseudoSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"Setting {PREFIX}{first['loc'][0]}: {first['msg']} (got {first['input']!r}).") from error
