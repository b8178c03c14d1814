"""What holds for every layout. A new layout joins by one more `Tree` in conftest.py."""

from dataclasses import replace

import polars as pl
import pytest

from acoustic_kit.data import LAYOUTS, check_manifest, detect_layout, file_digest, make_manifest, summarize
from acoustic_kit.data.layouts.detect import ADAPTERS
from acoustic_kit.data.manifest import manifest_schema
from acoustic_kit.errors import UsageError


def test_every_layout_has_a_tree(trees):
    assert {tree.layout for tree in trees.values()} == set(LAYOUTS)


@pytest.fixture(scope="module")
def manifest(tree):
    return make_manifest(tree.read(), n_folds=3)[0] if tree.folds is None else make_manifest(tree.read())[0]


def of_split(manifest, split):
    return manifest.filter(pl.col("split") == split)


def fold_by_id(manifest):
    train = of_split(manifest, "train")
    return dict(zip(train["id"], train["fold"], strict=True))


def test_layout_is_detected(tree):
    assert detect_layout(tree.root) == tree.layout
    assert tree.read().layout == tree.layout


def test_only_one_layout_claims_it_by_its_own_files(tree):
    """So the order in which they are tried does not matter, but for csv and folder, which are last."""
    claims = [name for name, adapter in ADAPTERS.items() if adapter.found(tree.root)]
    assert LAYOUTS[-2:] == ("csv", "folder")
    assert [name for name in claims if name not in {"csv", "folder"}] == [tree.layout] * (
        tree.layout not in {"csv", "folder"}
    )


def test_classes_task_and_template(tree):
    dataset = tree.read()
    assert list(dataset.classes.items()) == list(tree.classes.items())
    assert dataset.task == tree.task
    assert (dataset.label_separator is not None) == (tree.task == "multi")
    assert (dataset.template is not None) == (tree.root / "sample_submission.csv").exists()
    assert dataset.official_folds == (tree.folds is not None)
    assert dataset.metric == tree.metric


def test_columns_and_dtypes(tree, manifest):
    expected = manifest_schema()
    assert dict(list(manifest.schema.items())[: len(expected)]) == expected
    assert tuple(manifest.columns[len(expected) :]) == tree.own_columns


def test_a_written_manifest_reads_back_the_same(tree, manifest, tmp_path):
    manifest.write_parquet(tmp_path / "manifest.parquet")
    back = pl.read_parquet(tmp_path / "manifest.parquet")
    assert back.equals(manifest)
    assert back.schema == manifest.schema
    check_manifest(back, tree.classes, tree.task)


def test_clips_and_splits(tree, manifest):
    assert manifest["id"].is_unique().all()
    assert manifest["path"].is_unique().all()
    assert len(of_split(manifest, "train")) == tree.n_train
    assert of_split(manifest, "test")["id"].to_list() == tree.test_ids
    assert len(of_split(manifest, "extra")) == tree.n_extra
    assert len(manifest) == tree.n_train + tree.n_extra + len(tree.test_ids)


def test_labels(tree, manifest):
    train = of_split(manifest, "train")
    assert set(train["label"].explode()) == set(tree.classes)
    assert (of_split(manifest, "test")["label"].list.len() == 0).all()
    several = train["label"].list.len() > 1
    assert several.any() if tree.task == "multi" else not several.any()


def test_audio_was_looked_at(tree, manifest):
    assert manifest["problem"].null_count() == len(manifest)
    for path, size, mtime_ns, content in manifest.select("path", "size", "mtime_ns", "content").iter_rows():
        stat = (tree.root / path).stat()
        assert (size, mtime_ns, content) == (stat.st_size, stat.st_mtime_ns, file_digest(tree.root / path))
    assert manifest["duration"].to_list() == [0.2] * len(manifest)
    assert set(manifest["sample_rate"]) == {8000}
    assert set(manifest["channels"]) == {1}
    assert manifest["peak"].is_between(0.499, 0.501).all()
    assert manifest["rms"].is_between(0.2, 0.4).all()  # 0.5 / sqrt(3) = 0.29 for uniform noise


def test_folds(tree, manifest):
    assert (manifest["fold"].is_not_null() == (manifest["split"] == "train")).all()
    folds = summarize(manifest, tree.classes).folds
    if tree.folds is not None:
        assert folds == tree.folds
    else:
        assert set(folds) == {1, 2, 3}
        assert max(folds.values()) - min(folds.values()) <= 3  # the size of a group, the number of classes


def test_official_folds_are_only_replaced_on_insisting(tree):
    dataset = tree.read()
    if tree.folds is not None:
        with pytest.raises(UsageError, match=r"official folds(.|\n)*--unofficial"):
            make_manifest(dataset, n_folds=4)
    made, _ = make_manifest(dataset, n_folds=4, unofficial=tree.folds is not None)
    assert set(fold_by_id(made).values()) == {1, 2, 3, 4}


def test_made_folds_keep_groups_whole(tree):
    made, _ = make_manifest(tree.read(), n_folds=3, unofficial=True)
    folds_of_group = made.drop_nulls(["group", "fold"]).group_by("group").agg(pl.col("fold").n_unique())
    assert (len(folds_of_group) > 0) == tree.grouped
    assert (folds_of_group["fold"] == 1).all()


def test_made_folds_hold_every_class(tree):
    made, _ = make_manifest(tree.read(), n_folds=3, unofficial=True)
    for (_fold,), clips in of_split(made, "train").group_by("fold"):
        assert set(clips["label"].explode()) == set(tree.classes)


def test_made_folds_depend_on_the_seed_not_on_row_order(tree):
    dataset = tree.read()
    shuffled = replace(dataset, clips=dataset.clips.sample(fraction=1, shuffle=True, seed=1))
    folds = [
        fold_by_id(make_manifest(found, n_folds=3, fold_seed=seed, unofficial=True)[0])
        for found, seed in ((dataset, 0), (dataset, 0), (shuffled, 0), (dataset, 1))
    ]
    assert folds[0] == folds[1] == folds[2]
    assert folds[0] != folds[3]


def test_test_folds_hide_the_truth(tree, manifest):
    dataset = tree.read()
    n_folds = 3 if tree.folds is None else None
    kept_aside = max(manifest["fold"].drop_nulls())
    if tree.test_ids:
        with pytest.raises(UsageError, match="test clips of its own"):
            make_manifest(dataset, n_folds=n_folds, test_folds=[kept_aside])
        return
    hidden, truth = make_manifest(dataset, n_folds=n_folds, test_folds=[kept_aside])
    test = of_split(hidden, "test")
    assert set(test["id"]) == {id for id, fold in fold_by_id(manifest).items() if fold == kept_aside}
    assert (test["label"].list.len() == 0).all()
    assert test["fold"].null_count() == len(test)
    assert truth.equals(manifest.filter(pl.col("fold") == kept_aside).select("id", "label"))
    assert kept_aside not in fold_by_id(hidden).values()


def test_truth_is_the_labels_of_the_own_test_clips(tree):
    _, truth = make_manifest(tree.read(), n_folds=3, unofficial=True)
    assert truth.schema == {"id": pl.String, "label": pl.List(pl.String)}
    labels = [label.split("+") for label in tree.truth]
    assert truth.rows() == list(zip(tree.test_ids if tree.truth else [], labels, strict=True))


def test_notes(tree):
    assert tree.read().notes == tree.notes


def test_progress_counts_every_file(tree):
    calls = []
    make_manifest(tree.read(), n_folds=3, unofficial=True, on_progress=lambda *call: calls.append(call))
    n = tree.n_train + tree.n_extra + len(tree.test_ids)
    assert calls == [(done, n) for done in range(1, n + 1)]
