"""Weights by which clips are drawn."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from acoustic_kit.data.clips import Clips
from acoustic_kit.training import Batches, class_balanced
from acoustic_kit.training.sampling import systematic_draws
from acoustic_store import FeatureStore

SOFT = pl.List(pl.Struct({"label": pl.String, "target": pl.Float64}))


def clips_of(labels: list[list[str]], task: str, soft: list | None = None) -> Clips:
    columns = {"id": [f"{i}" for i in range(len(labels))], "label": labels, "soft": soft or [None] * len(labels)}
    rows = pl.DataFrame(columns, schema={"id": pl.String, "label": pl.List(pl.String), "soft": SOFT})
    return Clips(rows, ("a", "b", "c"), task, {})  # type: ignore[arg-type]


def test_classes_come_equally_often() -> None:
    weights = class_balanced(clips_of([["a"], ["a"], ["a"], ["b"]], "single"))
    assert weights == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])


def test_clips_without_a_class_count_as_one_more() -> None:
    weights = class_balanced(clips_of([["a", "b"], ["a"], [], [], []], "multi"))
    assert weights == pytest.approx([1.5, 0.5, 1 / 3, 1 / 3, 1 / 3])


def test_soft_targets_count_by_their_probability() -> None:
    unknown, half = [{"label": "b", "target": None}], [{"label": "b", "target": 0.5}]
    weights = class_balanced(clips_of([["a"], ["a"], []], "multi", soft=[unknown, half, half]))
    assert np.isfinite(weights).all()
    assert weights == pytest.approx([0.5, 1.0, 0.5])


def test_pseudo_labeled_clips_are_drawn_by_weight() -> None:
    draws = np.array([1.0, 1.0, 1.0, 0.2, 0.9, 2.5, 0.4])
    random = np.random.default_rng(0)
    n = 7
    drawn = [systematic_draws(random.permutation(n), draws, n, random.random()) for _ in range(2000)]
    assert {len(order) for order in drawn} == {n}
    counts = np.array([np.bincount(order, minlength=n) for order in drawn])
    assert (counts[:, :3] == 1).all()
    assert (counts >= np.floor(draws)).all()
    assert (counts <= np.ceil(draws)).all()
    np.testing.assert_allclose(counts.mean(axis=0), draws, atol=0.05)


def test_epoch_has_as_many_clips_as_the_weights_say(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "features.zarr", create=True)
    with store.writer("x-1", "float32", {}) as writer:
        for block in writer.plan([(f"{i}", "") for i in range(10)]):
            block.write(np.full((1, 1), int(id), np.float32) for id, _ in block.clips)
    plain = clips_of([["a"]] * 10, "single")
    rows, pseudo = plain.rows.with_columns(weight=pl.Series([None] * 4 + [0.5] * 6)), frozenset("456789")
    clips = replace(plain, rows=rows, features={"x": store["x-1"]}, pseudo=pseudo)
    loader = Batches("x", 2).open(clips, torch.device("cpu"))
    assert len(loader) == 3  # of 7 clips: a single one joins the last batch
    epochs = [list(loader.training(str(epoch))) for epoch in range(40)]
    assert all(sum(map(len, batches)) == 7 for batches in epochs)
    seen = [Counter(int(v) for batch in batches for v in batch.x[:, 0, 0]) for batches in epochs]
    assert all(count[clip] == 1 for count in seen for clip in range(4))
    assert all(0 < sum(count[clip] for count in seen) < 40 for clip in range(4, 10))
    assert loader.weights is None  # in losses, drawn clips are equal
    again = [batch.x for batch in loader.training("3")]
    assert all(torch.equal(one, batch.x) for one, batch in zip(again, epochs[3], strict=True))
