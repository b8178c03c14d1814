"""UrbanSound8K, official and as the course competition gives it."""

from dataclasses import replace

import polars as pl
import pytest

from acoustic_kit.data import make_manifest, read_dataset
from acoustic_kit.data.leaks import divided_groups
from acoustic_kit.errors import AkitError


def test_official_columns(lay_out):
    clips = read_dataset(lay_out("urbansound8k")).clips
    assert clips.row(by_predicate=pl.col("id") == "1012-0-0-1.wav", named=True) == {
        "id": "1012-0-0-1.wav",
        "path": "audio/fold3/1012-0-0-1.wav",
        "start": None,
        "end": None,
        "label": ["air_conditioner"],
        "weight": None,
        "soft": None,
        "fold": 3,
        "group": "1012",
        "split": "train",
        "own_start": 0.5,
        "own_end": 0.7,
        "salience": 2,
    }


def test_folds_9_and_10_as_the_test_set(lay_out):
    manifest, truth = make_manifest(read_dataset(lay_out("urbansound8k")), test_folds=[9, 10])
    assert set(manifest["fold"].drop_nulls()) == set(range(1, 9))
    assert len(truth) == 12


@pytest.mark.parametrize("layout", ["urbansound8k", "urban competition"])
def test_other_folds_keep_recordings_whole(lay_out, layout):
    """Every third slice of a class is given one fsID, so that the official folds would divide it."""
    dataset = read_dataset(lay_out(layout))
    train = pl.col("split") == "train"
    number = pl.int_range(pl.len()).over("label", "split").mod(3).cast(pl.String)
    recording = pl.when(train).then(pl.col("label").list.first() + number)
    dataset = replace(dataset, clips=dataset.clips.with_columns(group=recording))
    made, _ = make_manifest(dataset, unofficial=True, n_folds=2)
    assert made.filter(train)["group"].null_count() == 0
    assert made.filter(train).group_by("group").len()["len"].max() > 1
    assert not len(divided_groups(made))
    official, _ = make_manifest(dataset)
    assert len(divided_groups(official))


def test_competition_columns(lay_out):
    root = lay_out("urban competition")
    dataset = read_dataset(root)
    train, test = dataset.clips.row(13, named=True), dataset.clips.row(81, named=True)
    assert train == {
        "id": "2013-1-0-0.wav",
        "path": "audio/fold6/2013-1-0-0.wav",
        "start": None,
        "end": None,
        "label": ["car_horn"],
        "weight": None,
        "soft": None,
        "fold": 6,
        "group": "2013",
        "split": "train",
        "salience": 2,
    }
    assert test == {
        "id": "1",
        "path": "audio/test/3001-0-0-0.wav",
        "start": None,
        "end": None,
        "label": [],
        "weight": None,
        "soft": None,
        "fold": None,
        "group": None,
        "split": "test",
        "salience": 1,
    }
    assert dataset.template == root / "sample_submission.csv"


def test_competition_takes_precedence_over_official_table(lay_out):
    root = lay_out("urban competition")
    (root / "metadata" / "UrbanSound8K.csv").write_text("slice_file_name,fsID,start,end,salience,fold,classID,class\n")
    assert len(read_dataset(root).clips) == 84


def test_template_in_the_metadata_folder_and_none(lay_out):
    root = lay_out("urban competition")
    moved = (root / "sample_submission.csv").rename(root / "metadata" / "sample_submission.csv")
    assert read_dataset(root).template == moved
    moved.unlink()
    dataset = read_dataset(root)
    assert dataset.template is None
    (note,) = dataset.notes
    assert "sample_submission.csv" in note
    assert "id,label" in note


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("2013-1-0-0.wav,6,1,2", "2013-1-0-0.wav,6,10,2", r"line 15: classID 10 is not one of 0 to 9\."),
        ("2013-1-0-0.wav,6", "2013-1-0-0.wav,7", r"missing: audio/fold7/2013-1-0-0\.wav\."),
        ("2013-1-0-0.wav", "../../2013-1-0-0.wav", r"line 15: the path .* leaves the data set"),
        ("classID", "class", "has no column 'classID'"),
    ],
)
def test_bad_table(lay_out, old, new, problem):
    table = lay_out("urban competition") / "metadata" / "kaggle_train.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(AkitError, match=problem):
        read_dataset(table.parents[1])
