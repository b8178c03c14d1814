"""Weights, secondary labels and tables of soft targets of a data set, in the manifest and its checks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from acoustic_kit.data import CsvOptions, Dataset, check_manifest, make_manifest, read_dataset, summarize
from acoustic_kit.data.soft_targets import target_columns
from acoustic_kit.data.target_summary import summarize_targets
from acoustic_kit.data.targets import loss_targets, scored_targets
from acoustic_kit.errors import DataError, UsageError

NAMES = "abcdefgh"
CLASSES = ["dog", "owl", "rain"]


@pytest.fixture
def root(tmp_path: Path, write_clip: Callable[[Path], None]) -> Path:
    for name in NAMES:
        write_clip(tmp_path / "clips" / f"{name}.wav")
    others = ["\"['rain', 'elk']\"", "[]"]
    lines = [f"{name},{CLASSES[i % 3]},{0.5 + i},{others[i % 2]}" for i, name in enumerate(NAMES)]
    (tmp_path / "train.csv").write_text("id,label,weight,secondary_labels\n" + "\n".join(lines) + "\n")
    return tmp_path


def of(dataset: Dataset, column: str) -> dict:
    return dict(dataset.clips.select("id", column).iter_rows())


def write(root: Path, text: str) -> str:
    (root / "soft.csv").write_text(text)
    return "soft.csv"


def test_column_called_weight_is_weights(root: Path) -> None:
    dataset = read_dataset(root)
    assert of(dataset, "weight") == {name: 0.5 + i for i, name in enumerate(NAMES)}
    assert "own_weight" not in dataset.clips.columns
    assert any("0.5 – 7.5" in note for note in dataset.notes)
    without = read_dataset(root, options=CsvOptions(weight_column=""))
    assert without.clips["weight"].null_count() == len(NAMES)
    assert of(without, "own_weight")["b"] == 1.5


def test_another_column_of_weights(root: Path) -> None:
    table = (root / "train.csv").read_text().replace("weight", "quality")
    (root / "train.csv").write_text(table)
    assert read_dataset(root).clips["weight"].null_count() == len(NAMES)
    dataset = read_dataset(root, options=CsvOptions(weight_column="quality"))
    assert of(dataset, "weight") == of(dataset, "quality")
    with pytest.raises(DataError, match="rating"):
        read_dataset(root, options=CsvOptions(weight_column="rating"))


@pytest.mark.parametrize("cell", ["0", "-1", "heavy", "inf"])
def test_invalid_weight_is_an_error_only_if_named(root: Path, cell: str) -> None:
    table = (root / "train.csv").read_text().replace("1.5", cell)
    (root / "train.csv").write_text(table)
    assert read_dataset(root).clips["weight"].null_count() == len(NAMES)
    with pytest.raises(DataError, match=cell):
        read_dataset(root, options=CsvOptions(weight_column="weight"))


@pytest.mark.parametrize(
    ("option", "task", "labels", "target"),
    [
        ("positive", "multi", ["dog", "rain"], 1.0),
        ("soft=0.3", "multi", ["dog"], 0.3),
        ("mask", "multi", ["dog"], np.nan),
        ("ignore", "single", ["dog"], 0.0),
    ],
)
def test_secondary_labels(root: Path, option: str, task: str, labels: list[str], target: float) -> None:
    dataset = read_dataset(root, options=CsvOptions(secondary=option))
    manifest, _ = make_manifest(dataset, n_folds=2)
    assert dataset.task == task
    assert (dataset.label_separator is None) == (task == "single")
    assert of(dataset, "label")["a"] == labels
    assert list(dataset.classes) == CLASSES
    found = loss_targets(manifest, CLASSES, dataset.task)
    np.testing.assert_array_equal(found[0], np.float32([1, 0, target]))
    np.testing.assert_array_equal(found[1], [0, 1, 0])  # without secondary labels
    scored = scored_targets(manifest, CLASSES, dataset.task)
    if task == "multi":
        expected = target if np.isnan(target) else float(target >= 0.5)
        np.testing.assert_array_equal(scored[0].astype(float), [1, 0, expected])


def test_unused_secondary_labels_are_noted(root: Path) -> None:
    assert any("4 clips" in note and "--secondary" in note for note in read_dataset(root).notes)
    noted = read_dataset(root, options=CsvOptions(secondary="mask")).notes
    assert any("4 clips" in note and "1 of their names are not classes" in note for note in noted)
    with pytest.raises(UsageError, match="--secondary"):
        CsvOptions(secondary_column="others")
    with pytest.raises(DataError, match="'others'"):
        read_dataset(root, options=CsvOptions(secondary="mask", secondary_column="others"))


def test_damaged_list_names_the_clip(root: Path) -> None:
    table = (root / "train.csv").read_text().replace("[]", "['dog'")
    (root / "train.csv").write_text(table)
    with pytest.raises(DataError, match=r"clips/b\.wav.*secondary_labels"):
        read_dataset(root, options=CsvOptions(secondary="mask"))


def test_soft_targets_of_one_label(root: Path) -> None:
    soft = write(root, "name,rain,dog,owl\na,0.7,0.3,0\nc,1,0,0\nzzz,1,0,0\n")
    dataset = read_dataset(root, options=CsvOptions(soft_targets=soft))
    assert of(dataset, "label")["a"] == ["rain"]
    assert of(dataset, "label")["b"] == ["owl"]
    assert of(dataset, "soft")["c"] is None
    np.testing.assert_allclose(loss_targets(dataset.clips, CLASSES, "single")[0], [0.3, 0, 0.7])
    assert any("2 clips" in note and "1 of its rows" in note for note in dataset.notes)
    make_manifest(dataset, n_folds=2)


def test_soft_targets_of_several_labels(root: Path) -> None:
    soft = write(root, "id,rain,dog\na,0.7,\nb,0.2,0.5\n")
    dataset = read_dataset(root, options=CsvOptions(soft_targets=soft, secondary="soft=0.4"))
    manifest, _ = make_manifest(dataset, n_folds=2)
    assert of(dataset, "label")["a"] == ["rain"]
    assert of(dataset, "label")["b"] == ["dog", "owl"]
    found = loss_targets(manifest, CLASSES, "multi")
    np.testing.assert_array_equal(found[0], np.float32([np.nan, 0, 0.7]))
    np.testing.assert_array_equal(found[1], np.float32([0.5, 1, 0.2]))
    np.testing.assert_array_equal(found[6], np.float32([1, 0, 0.4]))  # without a row: as secondary labels say
    summary = summarize_targets(manifest)
    assert (summary.soft, summary.soft_clips, summary.unknown, summary.unknown_clips) == (5, 4, 1, 1)
    assert summarize(manifest, dataset.classes).targets == summary
    assert summary.weights == (0.5, 7.5)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("id,dog,cat\na,1,0\n", "'cat'"),
        ("id,dog\nzzz,1\n", "'zzz'"),
        ("id,dog\na,1.5\n", "line 2: dog '1.5'"),
        ("id,dog\na,nan\n", "'nan'"),
        ("id,dog\na,0.5\na,0.6\n", "line 3"),
        ("id,dog,owl,rain\na,0.5,0.1,0.1\n", "sum to 0.7"),
    ],
)
def test_damaged_table_of_soft_targets(root: Path, text: str, named: str) -> None:
    soft = write(root, text)
    with pytest.raises(DataError, match=named):
        read_dataset(root, options=CsvOptions(soft_targets=soft))


def test_missing_table_of_soft_targets(root: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.csv"):
        read_dataset(root, options=CsvOptions(soft_targets="nothing.csv"))


@pytest.mark.parametrize("task", ["single", "multi"])
def test_columns_of_targets_and_back(task: str) -> None:
    targets = np.random.default_rng(0).random((50, 3)).round(1)
    targets[::7, 1] = np.nan
    label, soft = target_columns(targets, CLASSES, task)  # type: ignore[arg-type]
    rows = pl.DataFrame({"id": [str(i) for i in range(50)], "label": label, "soft": soft})
    np.testing.assert_array_equal(loss_targets(rows, CLASSES, task), targets.astype(np.float32))  # type: ignore[arg-type]


def test_held_out_targets_are_in_the_truth_only(root: Path) -> None:
    dataset = read_dataset(root, options=CsvOptions(secondary="mask"))
    clips = dataset.clips.with_columns(fold=pl.Series([1, 2, 3] * 2 + [1, 2], dtype=pl.Int64))
    manifest, truth = make_manifest(replace(dataset, clips=clips, official_folds=True), test_folds=[1])
    test = manifest.filter(pl.col("split") == "test")
    assert test["soft"].null_count() == test["weight"].null_count() == len(test)
    assert summarize_targets(manifest.filter(pl.col("split") != "test")).unknown == 1
    assert "secondary_labels" not in manifest.columns
    np.testing.assert_array_equal(scored_targets(truth, CLASSES, "multi")[0], [1, 0, np.nan])


def test_held_out_clips_without_a_class_are_in_the_truth(root: Path) -> None:
    dataset = read_dataset(root, options=CsvOptions(secondary="positive"))
    label = pl.Series([[], *dataset.clips["label"].to_list()[1:]], dtype=dataset.clips.schema["label"])
    clips = dataset.clips.with_columns(label=label, fold=pl.Series([1, 2, 3] * 2 + [1, 2], dtype=pl.Int64))
    _, truth = make_manifest(replace(dataset, clips=clips, official_folds=True), test_folds=[1])
    assert truth["id"].to_list() == ["a", "d", "g"]
    assert truth["label"][0].to_list() == []


@pytest.mark.parametrize(
    ("soft", "rule"),
    [
        ([{"label": "cat", "target": 0.3}], "not a class"),
        ([{"label": "owl", "target": 0.3}, {"label": "owl", "target": None}], "two soft targets"),
        ([{"label": "owl", "target": 1.3}], "between 0 and 1"),
        ([{"label": "owl", "target": float("nan")}], "between 0 and 1"),
        ([{"label": "owl", "target": 0.7}], "contradict"),
        ([{"label": "dog", "target": 0.3}], "contradict"),
    ],
)
def test_manifest_with_impossible_targets(root: Path, soft: list, rule: str) -> None:
    manifest, _ = make_manifest(read_dataset(root, options=CsvOptions(secondary="mask")), n_folds=2)
    rows = pl.Series("soft", [soft, *[None] * (len(NAMES) - 1)], dtype=manifest.schema["soft"])
    with pytest.raises(DataError, match=rule) as error:
        check_manifest(manifest.with_columns(rows), CLASSES, "multi")
    assert "'a'" in str(error.value)
