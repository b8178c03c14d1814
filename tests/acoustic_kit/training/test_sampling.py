"""Weights by which clips are drawn."""

import numpy as np
import polars as pl
import pytest

from acoustic_kit.data.clips import Clips
from acoustic_kit.training import class_balanced

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


def test_soft_targets_count_by_their_probability_and_unknown_ones_not() -> None:
    unknown, half = [{"label": "b", "target": None}], [{"label": "b", "target": 0.5}]
    weights = class_balanced(clips_of([["a"], ["a"], []], "multi", soft=[unknown, half, half]))
    assert np.isfinite(weights).all()
    assert weights == pytest.approx([0.5, 1.0, 0.5])
