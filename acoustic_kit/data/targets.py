"""Labels, groups and digests of clips of the manifest, as arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from acoustic_kit.task import Task

if TYPE_CHECKING:
    import polars as pl


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


def label_digest(manifest: pl.DataFrame) -> str:
    """Return 16 hex digits of the ids and labels of all labeled clips, whatever their order."""
    rows = manifest.filter(manifest["split"] != "test").select("id", "label").sort("id").rows()
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
