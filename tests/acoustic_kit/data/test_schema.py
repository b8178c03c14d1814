"""Columns that later versions added to the manifest."""

import polars as pl
import pytest

from acoustic_kit.data.schema import as_before_later_columns, manifest_schema, with_later_columns
from acoustic_kit.data.targets import clip_weights, label_digest, loss_targets, scored_targets


def earlier_manifest() -> pl.DataFrame:
    """Return a manifest as earlier versions wrote it, with an own column that is called `start`."""
    columns = {"id": ["a", "b"], "path": ["a.wav", "b.wav"], "label": [["dog"], ["cat"]], "fold": [1, 2]}
    columns |= {"group": ["g", None], "split": ["train", "train"], "start": [0.5, 1.0], "salience": [1, 2]}
    return pl.DataFrame(columns)


def test_earlier_manifests_get_the_new_columns() -> None:
    found = with_later_columns(earlier_manifest())
    assert [name for name in manifest_schema() if name in found.columns] == found.columns[: len(found.columns) - 2]
    assert found["start"].to_list() == [None, None]
    assert found["own_start"].to_list() == [0.5, 1.0]
    assert found["soft"].dtype == manifest_schema()["soft"]
    assert with_later_columns(found).equals(found)


def test_unused_columns_do_not_rename_runs() -> None:
    before = earlier_manifest()
    after = as_before_later_columns(with_later_columns(before))
    assert after.select(sorted(after.columns)).equals(before.select(sorted(before.columns)))
    assert label_digest(with_later_columns(before)) == label_digest(before)


def test_soft_and_unknown_targets() -> None:
    soft = [[{"label": "cat", "target": 0.3}], [{"label": "dog", "target": None}]]
    rows = with_later_columns(earlier_manifest()).with_columns(soft=pl.Series(soft), weight=pl.Series([2.0, None]))
    targets = loss_targets(rows, ("cat", "dog"), "multi")
    assert targets[0].tolist() == pytest.approx([0.3, 1.0])
    assert targets[1, 0] == 1
    assert targets[1, 1] != targets[1, 1]
    scored = scored_targets(rows, ("cat", "dog"), "multi")
    assert scored[0].tolist() == [0, 1]
    assert scored[1, 1] != scored[1, 1]
    assert clip_weights(rows).tolist() == [2, 1]
    assert label_digest(rows) != label_digest(earlier_manifest())
