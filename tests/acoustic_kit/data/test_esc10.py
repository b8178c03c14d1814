"""The 400 real clips of ESC-10."""

import polars as pl
import pytest

from acoustic_kit.data import make_manifest, odd_clips, read_dataset, summarize


@pytest.fixture(scope="module")
def dataset(esc10):
    return read_dataset(esc10)


@pytest.fixture(scope="module")
def manifest(dataset):
    return make_manifest(dataset)[0]


def test_layout_and_classes(dataset):
    assert dataset.layout == "esc50"
    assert list(dataset.classes.items()) == [
        ("dog", 0),
        ("rooster", 1),
        ("rain", 10),
        ("sea_waves", 11),
        ("crackling_fire", 12),
        ("crying_baby", 20),
        ("sneezing", 21),
        ("clock_tick", 38),
        ("helicopter", 40),
        ("chainsaw", 41),
    ]


def test_summary(dataset, manifest):
    summary = summarize(manifest, dataset.classes)
    assert summary.clips == {"train": 400}
    assert summary.folds == dict.fromkeys(range(1, 6), 80)
    assert summary.classes["train"].to_list() == [40] * 10
    assert summary.sample_rates == {44100: 400}
    assert summary.channels == {1: 400}
    assert summary.durations.min == pytest.approx(3.6, abs=0.1)
    assert summary.durations.median == pytest.approx(5.0, abs=0.01)
    assert summary.durations.max == pytest.approx(7.2, abs=0.1)
    assert summary.problems == []


def test_official_folds_and_groups(manifest):
    assert (manifest["fold"].cast(pl.String) == manifest["id"].str.slice(0, 1)).all()
    assert (manifest["group"] == manifest["id"].str.split("-").list.get(1)).all()
    per_group = manifest.group_by("group").agg(pl.col("fold").n_unique())
    assert (per_group["fold"] == 1).all()


def test_fold_5_kept_aside(dataset, manifest):
    hidden, truth = make_manifest(dataset, test_folds=[5])
    assert truth.equals(manifest.filter(pl.col("fold") == 5).select("id", "label"))
    assert len(truth) == 80
    assert hidden.filter(pl.col("split") == "test")["label"].list.len().sum() == 0


def test_odd_clips_are_only_loud_ones(manifest):
    odd = odd_clips(manifest)
    assert set(odd["what"]) == {"clipped"}
    loud = dict(manifest.select("id", "peak").iter_rows())
    assert all(loud[id] >= 0.999 for id in odd["id"])
