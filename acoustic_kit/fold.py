"""What a recipe trains on: clips with their features and labels, cut into one fold's training and validation part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from acoustic_kit.compute import AUTO, Compute
from acoustic_kit.leaks import is_equal, shares_group

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from acoustic_store import StoredFeature


Task = Literal["single", "multi"]  # one label a clip, or several
FULL = "full"  # the fold name of a model that is fitted on all training clips


@dataclass(frozen=True)
class Clips:
    """Some clips of the manifest, with the features that the recipe asked for."""

    rows: pl.DataFrame  # their rows of the manifest
    classes: tuple[str, ...]
    task: Task
    features: Mapping[str, StoredFeature]  # by the recipe's own name for them
    compute: Compute = AUTO  # where networks look at them

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> list[str]:
        """The clips' ids, in the order of everything else."""
        return self.rows["id"].to_list()

    def __getitem__(self, feature: str) -> np.ndarray:
        """A feature of one shape a clip, as one array: float32 (clips, *shape)."""
        return self.features[feature].stack(self.ids)

    @cached_property
    def labels(self) -> np.ndarray:
        """The classes: int64 (clips,), positions in `classes`; for several labels a clip, bool (clips, classes)."""
        return encode_labels(self.rows["label"].to_list(), self.classes, self.task)


@dataclass(frozen=True)
class Fold:
    """One fold's training and validation clips; `valid` is None when a model is fitted on all training clips."""

    name: str
    train: Clips
    valid: Clips | None
    seed: int  # differs by fold and by the run's seed
    metric: str  # the workspace's
    folder: Path  # for checkpoints: kept until the fold is done
    on_epoch: Callable[[str, int, int, Mapping[str, float]], None]  # stage, epochs done, epochs in all, figures
    optimistic: list[str] = field(default_factory=list)  # why the score flatters, a line each; training adds to it
    notes: list[str] = field(default_factory=list)  # what a reader of the run should know, likewise

    @property
    def compute(self) -> Compute:
        """On what networks are trained."""
        return self.train.compute

    @property
    def n_classes(self) -> int:
        """The number of classes of the data set, also where this fold lacks some."""
        return len(self.train.classes)


def training_rows(manifest: pl.DataFrame, fold: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows that a fold trains on, and those that it is validated on: none in the fold named `FULL`.

    Clips of the split `extra` are trained on in every fold, except for those that `left_out_extra` names; clips of the
    split `test` in none.
    """
    train, valid = _parts(manifest, fold)
    return train.join(left_out_extra(manifest, fold), on="id", how="anti", maintain_order="left"), valid


def left_out_extra(manifest: pl.DataFrame, fold: str) -> pl.DataFrame:
    """Return the extra clips that a fold must not train on: equal to a held-out or test clip, or of its group."""
    import polars as pl

    extra = manifest.filter(pl.col("split") == "extra")
    if not len(extra):
        return extra
    scored = pl.concat([_parts(manifest, fold)[1], manifest.filter(pl.col("split") == "test")])
    return extra.filter(is_equal(extra, scored) | shares_group(extra, scored))


def _parts(manifest: pl.DataFrame, fold: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The clips with labels outside a fold, extra ones included, and those in it."""
    import polars as pl

    trainable = manifest.filter(pl.col("split").is_in(["train", "extra"]))
    if fold == FULL:
        return trainable, trainable.clear()
    held_out = trainable["fold"].cast(pl.String).eq_missing(pl.lit(fold))
    return trainable.filter(~held_out), trainable.filter(held_out)


def fold_names(manifest: pl.DataFrame) -> list[str]:
    """The folds of a manifest, as the command line names them."""
    return [str(fold) for fold in manifest["fold"].drop_nulls().unique().sort()]


def encode_labels(labels: list[list[str]], classes: tuple[str, ...], task: Task) -> np.ndarray:
    """Label lists as int64 (clips,) class positions, or for `task="multi"` as bool (clips, classes)."""
    position = {name: i for i, name in enumerate(classes)}
    if task == "single":
        return np.array([position[clip[0]] for clip in labels], dtype=np.int64)
    encoded = np.zeros((len(labels), len(classes)), dtype=bool)
    for i, clip in enumerate(labels):
        encoded[i, [position[name] for name in clip]] = True
    return encoded


def clip_targets(manifest: pl.DataFrame, ids: Sequence[str], classes: tuple[str, ...], task: Task) -> np.ndarray:
    """The classes of clips of the manifest by id, as `encode_labels` gives them."""
    label = dict(zip(manifest["id"], manifest["label"].to_list(), strict=True))
    return encode_labels([label[id] for id in ids], classes, task)


def clip_groups(rows: pl.DataFrame) -> tuple[np.ndarray, int]:
    """Return the group of each clip, int64 (clips,), from 0, and how many recordings or speakers are named.

    Clips of one recording or speaker are a group, and so are clips of equal content; a clip without either is its own.
    Clips of one group are never divided if something is chosen or estimated.
    """
    import polars as pl

    own = pl.concat_str(pl.lit("clip "), "id")
    keys = rows.select(pl.coalesce(pl.concat_str(pl.lit("group "), "group"), own)).to_series()
    groups = keys.rank("dense").to_numpy().astype(np.int64) - 1
    n_named = rows["group"].drop_nulls().n_unique()
    copies = pl.DataFrame({"group": groups, "content": rows["content"]}).filter(pl.col("content") != "")
    linked = copies.filter(pl.col("content").is_duplicated())
    if not len(linked):
        return groups, n_named
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first = linked.select(pl.col("group").first().over("content")).to_series().to_numpy()
    n = groups.max() + 1
    links = coo_array((np.ones(len(linked), dtype=bool), (linked["group"].to_numpy(), first)), shape=(n, n))
    return connected_components(links, directed=False)[1][groups].astype(np.int64), n_named


def class_probabilities(model: Any, x: np.ndarray, n_classes: int) -> np.ndarray:
    """A scikit-learn classifier's `predict_proba(x)`, with zero for the classes it never saw: (clips, n_classes)."""
    found, classes = model.predict_proba(x), model.classes_
    if isinstance(found, list):  # forests give (clips, 2) for each of several labels, or (clips, 1) where all agree
        present = [c[-1] == 1 for c in classes]
        return np.stack(
            [p[:, -1] if there else np.zeros(len(x)) for p, there in zip(found, present, strict=True)], axis=1
        )
    probabilities = np.zeros((len(x), n_classes))
    probabilities[:, classes] = found
    return probabilities
