"""AudioSet: segments files, clips by YouTube id, and whatever is missing."""

import shutil

import polars as pl
import pytest

from acoustic_kit.data import make_manifest, read_dataset, summarize
from acoustic_kit.errors import AkitError


def test_columns(lay_out):
    clips = read_dataset(lay_out("audioset")).clips
    assert clips.row(16, named=True) == {
        "id": "Y0000000001",
        "path": "unbalanced/part0/YY0000000001.wav",
        "start": None,
        "end": None,
        "label": ["Male speech, man speaking", "Speech"],
        "weight": None,
        "soft": None,
        "fold": None,
        "group": None,
        "split": "train",
        "own_start": 30.0,
        "own_end": 40.0,
        "subset": "unbalanced_train",
    }
    assert clips["subset"].value_counts().sort("subset").rows() == [
        ("balanced_train", 15),
        ("eval", 4),
        ("unbalanced_train", 15),
    ]


@pytest.mark.parametrize("id", ["-0000000003", "Y0000000003", "Yabc_def_YZ", "Y_30_40_50_"])
@pytest.mark.parametrize("name", ["{}.wav", "Y{}.wav", "{}_30.000_40.000.flac", "Y{}_30000.ogg", "{}_30.0-40.0.wav"])
def test_file_names(tmp_path, write_clip, id, name):
    (tmp_path / "class_labels_indices.csv").write_text("index,mid,display_name\n0,/m/09x0r,Speech\n")
    (tmp_path / "balanced_train_segments.csv").write_text(f'# YTID\n{id}, 30.000, 40.000, "/m/09x0r"\n')
    write_clip(tmp_path / "clips" / name.format(id))
    clips = read_dataset(tmp_path).clips
    assert clips.select("id", "path").rows() == [(id, f"clips/{name.format(id)}")]


def test_one_training_file_is_enough(lay_out):
    root = lay_out("audioset")
    (root / "balanced_train_segments.csv").unlink()
    (root / "eval_segments.csv").unlink()
    dataset = read_dataset(root)
    assert set(dataset.clips["split"]) == {"train"}
    assert dataset.notes == ()


def test_eval_clips_that_are_all_missing(lay_out):
    root = lay_out("audioset")
    shutil.rmtree(root / "eval")
    dataset = read_dataset(root)
    assert set(dataset.clips["split"]) == {"train"}
    assert dataset.clips["start"].dtype == pl.Float64
    assert dataset.notes[1].startswith("eval_segments.csv: 5 of 5 clips are not on disk and left out (_0000000000, ")


def test_training_clips_that_are_all_missing(lay_out):
    root = lay_out("audioset")
    shutil.rmtree(root / "balanced")
    shutil.rmtree(root / "unbalanced")
    with pytest.raises(AkitError, match="none of the training clips is on disk"):
        read_dataset(root)


def test_rare_class_is_no_obstacle_to_folds(lay_out):
    root = lay_out("audioset")
    labels = root / "class_labels_indices.csv"
    labels.write_text(labels.read_text() + '80,/m/rare,"Gong"\n81,/m/none,"Toot"\n')
    table = root / "unbalanced_train_segments.csv"
    text = table.read_text()
    table.write_text(text.replace('Y0000000000, 30.000, 40.000, "', 'Y0000000000, 30.000, 40.000, "/m/rare,'))
    dataset = read_dataset(root)
    manifest, _ = make_manifest(dataset, n_folds=3)
    assert summarize(manifest, dataset.classes).problems == [
        "classes without a training clip: 1 (Toot)",
        "classes missing in some fold: 1 (Gong)",
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            'Y0000000000, 30.000, 40.000, "/m/09x0r"',
            'Y0000000000, 30.000, "/m/09x0r"',
            r"not 4 cells, YTID, .*\(line 4\)",
        ),
        (
            'Y0000000000, 30.000, 40.000, "/m/09x0r"',
            'Y0000000000, 30.000, 40.000, "',
            r"',' expected after.*\(line 4\)",
        ),
        ('Y0000000000, 30.000, 40.000, "/m/09x0r"', 'Y0000000000, 30.000, 40.000, "/m/x"', "has no label '/m/x'"),
        ('Y0000000000, 30.000, 40.000, "/m/09x0r"', "Y0000000000, 30.000, 40.000, ", "line 4: the column 'labels' is"),
        ("Y0000000001", "Y0000000000", "line 5: a second row with the YTID 'Y0000000000'"),
        ("Y0000000000", "-0000000000", "two of its segments files list the clip '-0000000000'"),
    ],
)
def test_bad_segments(lay_out, old, new, problem):
    root = lay_out("audioset")
    table = root / "unbalanced_train_segments.csv"
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new))
    with pytest.raises(AkitError, match=problem):
        read_dataset(root)


def test_segments_that_are_no_text(lay_out):
    root = lay_out("audioset")
    (root / "eval_segments.csv").write_bytes(b"# a\n\xff\n")
    with pytest.raises(AkitError, match=r"eval_segments\.csv: not UTF-8 .*\(line 2\)"):
        read_dataset(root)


def test_two_files_for_one_clip(lay_out, write_clip):
    root = lay_out("audioset")
    write_clip(root / "balanced" / "Y-0000000000.wav")
    message = r"line 4: '-0000000000' may be balanced/-0000000000\.flac or balanced/Y-0000000000\.wav"
    with pytest.raises(AkitError, match=message):
        read_dataset(root)


def test_two_classes_with_one_index(lay_out):
    root = lay_out("audioset")
    labels = root / "class_labels_indices.csv"
    labels.write_text(labels.read_text() + "0,/m/x,Song\n")
    with pytest.raises(AkitError, match="line 5: display_name 'Song' has index 0"):
        read_dataset(root)
