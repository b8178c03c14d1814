"""Clips with features and labels, one fold's training and validation clips, and the result of a fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from acoustic_kit.data.targets import clip_groups, clip_weights, encode_labels, loss_targets, scored_targets
from acoustic_kit.device import AUTO, Compute
from acoustic_kit.task import Task

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from acoustic_store import StoredFeature


TargetKind = Literal["soft", "unknown", "weights"]  # soft targets, unknown targets, weights of clips
ALL_TARGETS: frozenset[TargetKind] = frozenset({"soft", "unknown", "weights"})


@dataclass(frozen=True)
class Clips:
    """Clips of the manifest with the features that the recipe reads.

    >>> fold.train["stats"], fold.train.labels  # float32 (clips, …), int64 (clips,) or bool (clips, classes)
    """

    rows: pl.DataFrame  # their rows of the manifest
    classes: tuple[str, ...]
    task: Task
    features: Mapping[str, StoredFeature]  # by the recipe's own name for them
    compute: Compute = AUTO  # device and precision of networks
    pseudo: frozenset[str] = frozenset()  # ids of clips whose only targets are pseudo-labels

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> list[str]:
        """The ids of the clips, in the order of all arrays."""
        return self.rows["id"].to_list()

    def __getitem__(self, feature: str) -> np.ndarray:
        """Return a feature of one shape per clip as an array: float32 (clips, *shape)."""
        return self.features[feature].stack(self.ids)

    @cached_property
    def labels(self) -> np.ndarray:
        """The classes: int64 (clips,), positions in `classes`; in multi-label tasks bool (clips, classes)."""
        return encode_labels(self.rows["label"].to_list(), self.classes, self.task)

    @cached_property
    def scored(self) -> np.ndarray:
        """What predictions are scored by, see `scored_targets`: `labels`, or float64 with NaN for unknown targets."""
        return scored_targets(self.rows, self.classes, self.task)

    @cached_property
    def targets(self) -> np.ndarray:
        """The probability of each class, soft targets included: float32 (clips, classes), NaN if unknown."""
        return loss_targets(self.rows, self.classes, self.task)

    @cached_property
    def weights(self) -> np.ndarray:
        """The weight of each clip in losses: float32 (clips,)."""
        return clip_weights(self.rows)

    @cached_property
    def is_pseudo(self) -> np.ndarray:
        """Whether the only targets of each clip are pseudo-labels: bool (clips,)."""
        return np.array([id in self.pseudo for id in self.ids], dtype=bool)

    @cached_property
    def groups(self) -> np.ndarray:
        """The group of each clip, which folds must not divide: int64 (clips,), see `clip_groups`."""
        return clip_groups(self.rows)[0]


@dataclass(frozen=True)
class Fold:
    """One fold's training and validation clips; `valid` is None when a model is fitted on all training clips.

    >>> def train(fold, s):
    ...     return LogisticRegression(C=s.C).fit(fold.train["x"], fold.train.labels)
    """

    name: str
    train: Clips
    valid: Clips | None
    seed: int  # differs by fold and by the run's seed
    metric: str  # the workspace's
    folder: Path  # for checkpoints: kept until the fold is done
    on_epoch: Callable[[str, int, int, Mapping[str, float]], None]  # stage, epochs done, epochs in all, figures

    @property
    def compute(self) -> Compute:
        """Device and precision of networks."""
        return self.train.compute

    @property
    def n_classes(self) -> int:
        """The number of classes of the data set, including those without clips in this fold."""
        return len(self.train.classes)


@dataclass(frozen=True)
class FitResult:
    """A model fitted on one fold, and what the record of the fold says about the fit.

    >>> return akit.FitResult(model, notes=("started from random weights",))

    Parameters
    ----------
    model : a torch module, or a scikit-learn estimator
    bias_warnings : reasons why the score of this fold is biased upward
    notes : what a reader of the run should know, such as the weights that training started from
    uses : what training used of the targets in addition to hard labels; if clips have others, a note of the run says so

    """

    model: Any
    bias_warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    uses: frozenset[TargetKind] = frozenset()

    @staticmethod
    def of(result: Any) -> FitResult:
        """Return a `FitResult` as it is, and a bare model as one without warnings and notes."""
        return result if isinstance(result, FitResult) else FitResult(result)

    def after(self, earlier: FitResult | None = None, *, notes: Iterable[str] = ()) -> FitResult:
        """Return this result with the warnings and notes of an earlier stage, then further notes, before its own."""
        before = earlier or FitResult(None)
        return replace(
            self,
            bias_warnings=before.bias_warnings + self.bias_warnings,
            notes=(*before.notes, *notes, *self.notes),
        )


def class_probabilities(model: Any, x: np.ndarray, n_classes: int) -> np.ndarray:
    """Return `predict_proba(x)` of a scikit-learn classifier, zero for classes not fitted on: (clips, n_classes).

    >>> def predict(model, clips, s):
    ...     return akit.class_probabilities(model, clips["x"], len(clips.classes))
    """
    found, classes = model.predict_proba(x), model.classes_
    if isinstance(found, list):  # forests give (clips, 2) for each label, or (clips, 1) if all clips agree
        present = [c[-1] == 1 for c in classes]
        return np.stack(
            [p[:, -1] if there else np.zeros(len(x)) for p, there in zip(found, present, strict=True)], axis=1
        )
    probabilities = np.zeros((len(x), n_classes))
    probabilities[:, classes] = found
    return probabilities


def slices_by_file(files: Sequence[str], most: int) -> Iterator[slice]:
    """Divide clips, given by their files, into consecutive slices of at most `most`.

    A slice ends between two files if possible, as a file that is divided is decoded in both slices.
    """
    start = 0
    while start < len(files):
        end = stop = min(start + most, len(files))
        while start < end < len(files) and files[end - 1] == files[end]:
            end -= 1
        end = end if end > start else stop
        yield slice(start, end)
        start = end
