"""Extra clips without labels, from the folder to the manifest."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from acoustic_kit.data import Dataset, check_manifest, make_manifest, read_dataset, summarize
from acoustic_kit.data.extra import read_extra
from acoustic_kit.data.folds import fold_names, training_rows
from acoustic_kit.data.targets import label_digest
from acoustic_kit.data.windows import Windows
from acoustic_kit.errors import DataError
from acoustic_kit.recipe.job import make_job
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.workspace.init import init_workspace


@pytest.fixture
def dataset(tmp_path: Path, write_clip: Callable[..., object]) -> Dataset:
    for clip in range(8):
        write_clip(tmp_path / "data" / "xy"[clip % 2] / f"{clip}.wav")
    return read_dataset(tmp_path / "data")


@pytest.mark.parametrize("folder", [".", "site 1"])
def test_files_without_labels_are_unlabeled_clips(
    dataset: Dataset, tmp_path: Path, write_clip: Callable[..., object], folder: str
) -> None:
    write_clip(tmp_path / "more" / folder / "a.wav")
    write_clip(tmp_path / "more" / folder / "b.wav")
    extra = read_extra(tmp_path / "more", dataset, None)
    assert "2 audio files without labels" in extra.notes[0]
    manifest, _ = make_manifest(dataset, n_folds=2, extra=extra)
    check_manifest(manifest, dataset.classes)
    added = manifest.filter(pl.col("split") == "extra")
    assert added["label"].to_list() == [[], []]
    assert summarize(manifest, dataset.classes).clips == {"train": 8, "unlabeled": 2}
    alone, _ = make_manifest(dataset, n_folds=2)
    assert label_digest(manifest) == label_digest(alone)
    for fold in [*fold_names(manifest), "full"]:
        rows, without = training_rows(manifest, fold), training_rows(alone, fold)
        assert rows.train["id"].to_list() == without.train["id"].to_list()
        assert rows.valid["id"].to_list() == without.valid["id"].to_list()


def test_recordings_without_labels_are_divided(
    dataset: Dataset, tmp_path: Path, write_clip: Callable[..., object]
) -> None:
    write_clip(tmp_path / "more" / "long.wav", seconds=3.0)
    extra = read_extra(tmp_path / "more", dataset, Windows.checked(1.0))
    assert extra.clips.select("id", "start").rows() == [("long_1", 0.0), ("long_2", 1.0), ("long_3", 2.0)]


def test_folder_called_like_a_class_has_labels(
    dataset: Dataset, tmp_path: Path, write_clip: Callable[..., object]
) -> None:
    write_clip(tmp_path / "more" / "x" / "1.wav")
    write_clip(tmp_path / "more" / "whale" / "2.wav")
    with pytest.raises(DataError, match="whale"):
        make_manifest(dataset, n_folds=2, extra=read_extra(tmp_path / "more", dataset, None))
    (tmp_path / "more" / "whale" / "2.wav").rename(tmp_path / "more" / "x" / "2.wav")
    (tmp_path / "more" / "whale").rmdir()
    assert read_extra(tmp_path / "more", dataset, None).clips["label"].to_list() == [["x"], ["x"]]


def test_test_clips_of_another_data_set_are_unlabeled(
    dataset: Dataset, tmp_path: Path, write_clip: Callable[..., object]
) -> None:
    for path in ("train/x/1.wav", "train/y/2.wav", "test/3.wav"):
        write_clip(tmp_path / "more" / path)
    manifest, _ = make_manifest(dataset, n_folds=2, extra=read_extra(tmp_path / "more", dataset, None))
    assert summarize(manifest, dataset.classes).clips == {"train": 8, "extra": 2, "unlabeled": 1}


def test_unlabeled_clips_do_not_change_the_names_of_runs(
    dataset: Dataset, tmp_path: Path, write_clip: Callable[..., object]
) -> None:
    recipe, root = load_recipe("stats_pca_linear"), tmp_path / "data"
    workspace = init_workspace(tmp_path / "alone", root, n_folds=2)
    write_clip(tmp_path / "more" / "a.wav")
    others = init_workspace(tmp_path / "with", root, n_folds=2, extra=tmp_path / "more")
    jobs = [make_job(one, recipe, recipe.settings()) for one in (workspace, others)]
    assert len(others.manifest) == len(workspace.manifest) + 1
    assert jobs[0].name == jobs[1].name
