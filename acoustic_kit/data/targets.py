"""Labels, groups and digests of clips of the manifest, as arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from acoustic_kit.data.schema import is_unlabeled, with_later_columns
from acoustic_kit.task import Task, TaskSpec

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The clips that out-of-fold predictions are made for and scored on: those of the split `train`."""

    rows: pl.DataFrame  # of the manifest, in its order
    task_spec: TaskSpec

    @staticmethod
    def of(manifest: pl.DataFrame, task_spec: TaskSpec) -> TrainingSet:
        """Return the training set of a manifest."""
        return TrainingSet(manifest.filter(manifest["split"] == "train"), task_spec)

    def __len__(self) -> int:
        return len(self.rows)

    def filter(self, chosen: np.ndarray) -> TrainingSet:
        """Return some of the clips, chosen by bool (clips,)."""
        return TrainingSet(self.rows.filter(chosen), self.task_spec)

    @cached_property
    def ids(self) -> list[str]:
        """Clip ids, in the order of the rows, as all that follow."""
        return self.rows["id"].to_list()

    @cached_property
    def targets(self) -> np.ndarray:
        """Targets that predictions are scored by, as `scored_targets` returns them."""
        return scored_targets(self.rows, self.task_spec.names, self.task_spec.task)

    @property
    def folds(self) -> np.ndarray:
        """Fold of each clip, int64 (clips,)."""
        return self.rows["fold"].to_numpy()

    @property
    def groups(self) -> np.ndarray:
        """Group of each clip, int64 (clips,), see `clip_groups`."""
        return self._groups[0]

    @property
    def n_groups(self) -> int:
        """Number of recordings or speakers that the manifest names; 0 if it names none."""
        return self._groups[1]

    @cached_property
    def _groups(self) -> tuple[np.ndarray, int]:
        return clip_groups(self.rows)


def encode_labels(labels: Sequence[Sequence[str]], classes: Sequence[str], task: Task) -> np.ndarray:
    """Return label lists as int64 (clips,) class positions, or for `task="multi"` as bool (clips, classes)."""
    position = {name: i for i, name in enumerate(classes)}
    if task == "single":
        return np.array([position[clip[0]] for clip in labels], dtype=np.int64)
    encoded = np.zeros((len(labels), len(classes)), dtype=bool)
    for i, clip in enumerate(labels):
        encoded[i, [position[name] for name in clip]] = True
    return encoded


def scored_targets(rows: pl.DataFrame, classes: Sequence[str], task: Task) -> np.ndarray:
    """Return what clips are scored by: labels as `encode_labels` returns them.

    If a clip of a multi-label task has unknown targets, float64 (clips, classes) of 0, 1 and NaN, which is unknown.
    """
    encoded = encode_labels(rows["label"].to_list(), classes, task)
    if task == "single":
        return encoded
    clips, columns, targets = _soft_cells(rows, classes)
    unknown = np.isnan(targets)
    if not unknown.any():
        return encoded
    known = encoded.astype(np.float64)
    known[clips[unknown], columns[unknown]] = np.nan
    return known


def loss_targets(rows: pl.DataFrame, classes: Sequence[str], task: Task) -> np.ndarray:
    """Return the probability of each class that losses compare with: float32 (clips, classes), NaN if unknown."""
    encoded = encode_labels(rows["label"].to_list(), classes, task)
    if task == "single":
        encoded = encoded[:, None] == np.arange(len(classes))
    found = encoded.astype(np.float32)
    clips, columns, targets = _soft_cells(rows, classes)
    found[clips, columns] = targets
    return found


def clip_weights(rows: pl.DataFrame) -> np.ndarray:
    """Return the weight of each clip in losses: float32 (clips,), 1 if none is given."""
    if "weight" not in rows.columns:
        return np.ones(len(rows), np.float32)
    return rows["weight"].fill_null(1.0).to_numpy().astype(np.float32)


def _soft_cells(rows: pl.DataFrame, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the row, the class position and the target of each soft or unknown target: int64, int64, float64."""
    import polars as pl

    if "soft" not in rows.columns or rows["soft"].null_count() == len(rows):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    cells = rows.select(pl.int_range(pl.len()).alias("row"), "soft").explode("soft").drop_nulls("soft").unnest("soft")
    position = {name: i for i, name in enumerate(classes)}
    columns = [position[label] for label in cells["label"]]
    return cells["row"].to_numpy(), np.array(columns, np.int64), cells["target"].fill_null(np.nan).to_numpy()


def clip_targets(manifest: pl.DataFrame, ids: Sequence[str], task_spec: TaskSpec) -> np.ndarray:
    """Return the targets of clips of the manifest, or of the truth, by id, as `scored_targets` does."""
    row_of = {id: row for row, id in enumerate(manifest["id"])}
    return scored_targets(manifest[[row_of[id] for id in ids]], task_spec.names, task_spec.task)


def clip_groups(rows: pl.DataFrame) -> tuple[np.ndarray, int]:
    """Return the group of each clip, int64 (clips,), from 0, and the number of named recordings or speakers.

    Clips of one recording or speaker form a group, and so do clips of equal content; any other clip is its own group.
    Selection and estimates never divide a group.
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


def label_digest(manifest: pl.DataFrame) -> str:
    """Return 16 hex digits of the ids and labels of all labeled clips, whatever their order."""
    manifest = with_later_columns(manifest)
    given = [name for name in ("weight", "soft") if manifest[name].null_count() < len(manifest)]
    rows = manifest.filter(~is_unlabeled()).select("id", "label", *given).sort("id").rows()
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
