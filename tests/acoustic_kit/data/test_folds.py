import shutil

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.data import make_manifest, read_dataset
from acoustic_kit.data.folds import make_folds
from acoustic_kit.errors import AkitError


def clips_of(labels, groups):
    n = len(labels)
    return pl.DataFrame(
        {"id": [f"clip{i:04d}" for i in range(n)], "label": [[label] for label in labels], "group": groups},
        schema={"id": pl.String, "label": pl.List(pl.String), "group": pl.String},
    )


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(2, 5), st.integers(0, 3))
def test_folds_are_a_partition_with_whole_groups(data, n_folds, seed):
    n_groups = data.draw(st.integers(0, 12))
    members = st.tuples(st.sampled_from("xyz"), st.none() | st.integers(0, n_groups).map(str))
    rows = data.draw(st.lists(members, min_size=20, max_size=60))
    clips = clips_of([label for label, _ in rows], [group for _, group in rows])
    units = clips.with_columns(unit=pl.coalesce("group", "id")).explode("label").group_by("label")
    enough = units.agg(pl.col("unit").n_unique())["unit"].min() >= n_folds
    if not enough:
        with pytest.raises(AkitError, match=f"for {n_folds} folds"):
            make_folds(clips, n_folds, seed)
        return
    folds = make_folds(clips, n_folds, seed)
    assert set(folds) == set(clips["id"])
    assert set(folds.values()) == set(range(1, n_folds + 1))
    placed = clips.with_columns(fold=pl.col("id").replace_strict(folds))
    assert (placed.drop_nulls("group").group_by("group").agg(pl.col("fold").n_unique())["fold"] == 1).all()
    assert make_folds(clips.reverse(), n_folds, seed) == folds


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from("xyz"), min_size=30, max_size=90), st.integers(2, 4))
def test_without_groups_every_class_is_spread_evenly(labels, n_folds):
    labels = [*labels, *("xyz" * n_folds)]
    folds = make_folds(clips_of(labels, [None] * len(labels)), n_folds, seed=0)
    counts = pl.DataFrame({"label": labels, "fold": list(folds.values())}).group_by("label", "fold").len()
    for (_label,), of_class in counts.group_by("label"):
        assert len(of_class) == n_folds
        assert of_class["len"].max() - of_class["len"].min() <= 1


def test_a_group_named_like_an_ungrouped_clip_is_not_its_group():
    clips = clips_of(["x", "y"] * 4, [None] * 6 + ["clip0000", "clip0001"])
    assert len(make_folds(clips, 4, seed=0)) == 8  # four clips and four units a class: not three


def test_multi_label_folds_with_a_label_that_is_rarely_first():
    clips = pl.DataFrame(
        {
            "id": [str(i) for i in range(9)],
            "label": [["rare", "x"], ["x", "rare"], ["x", "rare"], *([["x"]] * 3), *([["y"]] * 3)],
            "group": [None] * 9,
        },
        schema={"id": pl.String, "label": pl.List(pl.String), "group": pl.String},
    )
    assert sorted(make_folds(clips, 3, seed=0).values()) == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_multi_label_class_too_rare_for_all_folds():
    labels = [["rare", "x"], *([["x", "y"]] * 8)]
    clips = clips_of(["x"] * 9, [None] * 9).with_columns(label=pl.Series(labels))
    assert set(make_folds(clips, 3, seed=0, task="multi").values()) == {1, 2, 3}
    with pytest.raises(AkitError, match="too few clips"):
        make_folds(clips.head(2), 3, seed=0, task="multi")


@pytest.mark.parametrize("groups", [[None] * 24, [f"g{i % 12}" for i in range(24)]])
def test_clips_of_equal_content_share_a_fold(groups):
    clips = clips_of(["x", "y"] * 12, groups).with_columns(content=pl.Series([f"{i // 2 % 6}" for i in range(24)]))
    folds = make_folds(clips, 3, seed=0)
    placed = clips.with_columns(fold=pl.col("id").replace_strict(folds))
    for column in ("content", "group"):
        per = placed.drop_nulls(column).group_by(column).agg(pl.col("fold").n_unique())
        assert (per["fold"] == 1).all()
    assert set(folds.values()) == {1, 2, 3}


def test_content_that_is_unknown_is_not_equal():
    clips = clips_of(["x", "y"] * 6, [None] * 12)
    assert make_folds(clips.with_columns(content=pl.lit("")), 3, seed=0) == make_folds(clips, 3, seed=0)


def test_copies_are_divided_if_a_class_has_few_distinct_files():
    clips = clips_of(["x", "x", "x", *(["y"] * 6)], [None] * 9).with_columns(content=pl.Series(list("aaabbccdd")))
    folds = make_folds(clips, 2, seed=0)
    placed = clips.with_columns(fold=pl.col("id").replace_strict(folds)).group_by("content").agg("fold")
    assert {content: len(set(of)) for content, of in placed.iter_rows()} == {"a": 2, "b": 1, "c": 1, "d": 1}


def test_init_puts_copies_into_one_fold(tmp_path, write_clip):
    for clip in range(12):
        path = tmp_path / "xy"[clip % 2] / f"{clip}.wav"
        write_clip(path)
        shutil.copy(path, path.with_name(f"copy{clip}.wav"))
    manifest, _ = make_manifest(read_dataset(tmp_path), n_folds=3)
    assert (manifest.group_by("content").agg(pl.col("fold").n_unique())["fold"] == 1).all()
    hidden, truth = make_manifest(read_dataset(tmp_path), n_folds=3, test_folds=[3])
    test = hidden.filter(hidden["split"] == "test")
    assert test["id"].to_list() == truth["id"].to_list()
    assert set(test["content"]).isdisjoint(hidden.filter(hidden["split"] == "train")["content"])
