"""Freesound 2019: curated and noisy clips, several labels in a cell."""

import polars as pl
import pytest

from acoustic_kit.data import CsvOptions, make_manifest, read_dataset
from acoustic_kit.data.folds import training_rows
from acoustic_kit.errors import DataError


def test_noisy_clips_are_trained_on_and_never_validated(lay_out):
    manifest, _ = make_manifest(read_dataset(lay_out("freesound2019")), n_folds=3)
    noisy = manifest.filter(pl.col("split") == "extra")
    assert noisy["path"].str.starts_with("train_noisy/").all()
    assert noisy["label"].to_list()[:2] == [["Bark", "Fill_(with_liquid)"], ["Bark"]]
    for fold in "123":
        train, valid, _ = training_rows(manifest, fold)
        assert set(noisy["id"]) <= set(train["id"])
        assert set(noisy["id"]).isdisjoint(valid["id"])


def test_curated_clips_alone_without_a_template(lay_out):
    root = lay_out("freesound2019")
    (root / "train_noisy.csv").unlink()
    (root / "sample_submission.csv").unlink()
    dataset = read_dataset(root)
    assert (dataset.layout, dataset.template, set(dataset.clips["split"])) == ("freesound2019", None, {"train"})


def test_faults_name_the_table_and_the_row(lay_out):
    root = lay_out("freesound2019")
    table = root / "train_noisy.csv"
    text = table.read_text()
    table.write_text(text.replace("n3.wav,Bark", "n3.wav,Meow"))
    with pytest.raises(DataError, match=r"train_noisy\.csv, line 3: (.|\n)*'Meow'"):
        read_dataset(root)
    table.write_text(text.replace("n3.wav", "../n3.wav"))
    with pytest.raises(DataError, match=r"train_noisy\.csv, line 3"):
        read_dataset(root)
    table.write_text(text)
    (root / "test" / "100.wav").unlink()
    with pytest.raises(DataError, match=r"100\.wav"):
        read_dataset(root)
    assert len(read_dataset(root, options=CsvOptions(skip_missing=True)).clips) == 46
