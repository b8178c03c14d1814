"""Tables with one column per class: marks or probabilities."""

import numpy as np
import polars as pl
import pytest

from acoustic_kit.data import CsvOptions, make_manifest, read_dataset
from acoustic_kit.data.targets import loss_targets, scored_targets
from acoustic_kit.errors import DataError


@pytest.fixture
def root(tmp_path, write_clip):
    for name in "abcdefgh":
        write_clip(tmp_path / "clips" / f"{name}.wav")
    return tmp_path


def write(root, header, *rows, name="train.csv"):
    (root / name).write_text("\n".join([header, *rows]) + "\n")


def labels(dataset):
    return dict(dataset.clips.select("id", "label").iter_rows())


def test_one_mark_in_each_row_is_one_label(root):
    write(root, "filename,rain,wind,snow", "a.wav,1,0,0", "b.wav,0,1,0", "c.wav,0,0,1.0")
    dataset = read_dataset(root)
    assert (dataset.task, dataset.label_separator, list(dataset.classes)) == ("single", None, ["rain", "snow", "wind"])
    assert labels(dataset) == {"a.wav": ["rain"], "b.wav": ["wind"], "c.wav": ["snow"]}
    assert dataset.clips["soft"].null_count() == 3
    assert any("3 columns are classes" in note for note in dataset.notes)


def test_several_marks_or_none_are_several_labels(root):
    write(root, "id,site,rain,wind", *(f"{id},7,{i % 2},{i // 3}" for i, id in enumerate("abcdef")))
    dataset = read_dataset(root)
    assert dataset.task == "multi"
    assert list(labels(dataset).values()) == [[], ["rain"], [], ["rain", "wind"], ["wind"], ["rain", "wind"]]
    assert dataset.clips["site"].to_list() == [7] * 6
    manifest, _ = make_manifest(dataset, n_folds=2)
    assert scored_targets(manifest, ["rain", "wind"], "multi").sum() == 6


def test_marks_may_be_words(root):
    write(root, "id,rain,wind", "a,True,False", "b,false,TRUE")
    assert labels(read_dataset(root)) == {"a": ["rain"], "b": ["wind"]}


def test_probabilities_are_soft_targets(root):
    write(root, "id,rain,wind", "a,0.9,0.5", "b,1,0", "c,0.2,0.1", "d,,0.7", "e,-1,1")
    dataset = read_dataset(root)
    assert labels(dataset) == {"a": ["rain", "wind"], "b": ["rain"], "c": [], "d": ["wind"], "e": ["wind"]}
    targets = loss_targets(dataset.clips, ["rain", "wind"], "multi")
    expected = [[0.9, 0.5], [1, 0], [0.2, 0.1], [np.nan, 0.7], [np.nan, 1]]
    np.testing.assert_array_equal(targets, np.array(expected, np.float32))


def test_probabilities_that_sum_to_one_are_of_one_label(root):
    write(root, "id,rain,wind,snow", "a,0.2,0.5,0.3", "b,1,0,0", "c,0,0.0005,0.9995", "d,0.332,0.332,0.331")
    dataset = read_dataset(root)
    assert dataset.task == "single"
    assert labels(dataset) == {"a": ["wind"], "b": ["rain"], "c": ["snow"], "d": ["rain"]}
    targets = loss_targets(dataset.clips, ["rain", "wind", "snow"], "single")
    assert targets.tolist()[0] == pytest.approx([0.2, 0.5, 0.3])


@pytest.mark.parametrize("name", ["weight", "trust"])
def test_a_column_of_weights_is_no_class(root, name):
    write(root, f"id,rain,wind,{name}", "a,0,1,0.5", "b,1,1,1")
    dataset = read_dataset(root, options=CsvOptions(weight_column=None if name == "weight" else name))
    assert list(dataset.classes) == ["rain", "wind"]
    assert dataset.clips["weight"].to_list() == [0.5, 1]
    assert name in read_dataset(root, options=CsvOptions(weight_column="")).classes


def test_the_template_names_the_columns(root):
    write(root, "id,label,rain,wind,quality", "a,x,1,1,0.5", "b,y,0,1,1")
    write(root, "id,wind,rain", "c,0,0", "d,0,0", name="sample_submission.csv")
    dataset = read_dataset(root)
    assert labels(dataset) == {"a": ["wind", "rain"], "b": ["wind"], "c": [], "d": []}
    assert dataset.template is not None
    assert {"label", "quality"} <= {name.removeprefix("own_") for name in dataset.clips.columns}


@pytest.mark.parametrize("given", ["c_*", "c_rain,c_wind"])
def test_the_option_names_the_columns(root, given):
    write(root, "id,label,c_rain,c_wind,quality", "a,x,1,0,0.5", "b,y,0,1,1")
    assert list(read_dataset(root, options=CsvOptions(label_column=given)).classes) == ["c_rain", "c_wind"]
    for wrong in ("d_*", "c_r*"):
        with pytest.raises(DataError, match="--label-column"):
            read_dataset(root, options=CsvOptions(label_column=wrong))


@pytest.mark.parametrize("cell", ["2", "-0.5", "nan", "inf", "yes"])
def test_a_cell_that_is_no_probability_names_its_row(root, cell):
    write(root, "id,rain,wind", "a,0,1", f"b,0,{cell}")
    with pytest.raises(DataError, match="line 3: wind"):
        read_dataset(root, options=CsvOptions(label_column="rain,wind"))


def test_labels_of_test_rows_become_the_truth(root):
    rows = ("a,1,0,train", "b,1,0.25,train", "c,0,1,train", "d,1,1,test", "e,1,0.7,test", "f,0,0,test")
    rows = (*rows, "g,,,test", "h,0,-1,test")
    write(root, "id,rain,wind,split", *rows)
    manifest, truth = make_manifest(read_dataset(root), n_folds=2)
    assert truth.select("id", "label").rows() == [
        ("d", ["rain", "wind"]),
        ("e", ["rain", "wind"]),
        ("f", []),
        ("h", []),
    ]
    unknown = [{"label": "wind", "target": None}]
    assert truth["soft"].to_list() == [None, [{"label": "wind", "target": 0.7}], None, unknown]
    assert manifest.filter(pl.col("split") == "test")["soft"].null_count() == 5
