"""Speech Commands: the official lists as folds and test clips, speakers as groups."""

import polars as pl
import pytest

from acoustic_kit.data import make_manifest, read_dataset
from acoustic_kit.errors import AkitError, UsageError


def test_lists_become_folds_and_test_clips(lay_out):
    clips = read_dataset(lay_out("speechcommands")).clips
    part = {int(speaker, 16): (fold, split) for speaker, fold, split in clips.select("group", "fold", "split").rows()}
    assert part == {
        **dict.fromkeys(range(8), (1, "train")),
        **dict.fromkeys((8, 9), (2, "train")),
        **dict.fromkeys((10, 11), (None, "test")),
    }


def test_test_clips_have_a_truth(lay_out):
    dataset = read_dataset(lay_out("speechcommands"))
    manifest, truth = make_manifest(dataset)
    assert truth.equals(dataset.clips.filter(pl.col("split") == "test").select("id", "label"))
    assert set(truth["label"].explode()) == {"yes", "no", "up"}
    assert manifest.filter(pl.col("split") == "test")["label"].list.len().sum() == 0


def test_test_folds_are_refused(lay_out):
    with pytest.raises(UsageError, match="has test clips of its own"):
        make_manifest(read_dataset(lay_out("speechcommands")), test_folds=[2])


def test_unofficial_folds_leave_the_test_clips(lay_out):
    dataset = read_dataset(lay_out("speechcommands"))
    manifest, truth = make_manifest(dataset, n_folds=5, unofficial=True)
    assert set(manifest["fold"].drop_nulls()) == set(range(1, 6))
    assert len(truth) == 6


def test_file_without_a_speaker(lay_out, write_clip):
    root = lay_out("speechcommands")
    write_clip(root / "yes" / "mine.wav")
    clips = read_dataset(root).clips
    assert clips.filter(pl.col("group").is_null())["id"].to_list() == ["yes/mine.wav"]


def test_background_noise_is_never_a_class(tmp_path, write_clip):
    write_clip(tmp_path / "_background_noise_" / "pink_noise.wav")
    for name in ("validation_list.txt", "testing_list.txt"):
        (tmp_path / name).write_text("")
    with pytest.raises(AkitError, match="no sub-folder of"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("yes/0000000a_nohash_0.wav", r"yes/0000000a_nohash_0\.wav is in both lists"),
        ("yes/gone_nohash_0.wav", r"validation_list\.txt names a file that is missing: yes/gone_nohash_0\.wav\."),
        ("../secret.wav", r"names a file that is missing: \.\./secret\.wav\."),
    ],
)
def test_bad_list(lay_out, line, problem):
    root = lay_out("speechcommands")
    with (root / "validation_list.txt").open("a") as file:
        file.write(f"{line}\r\n")
    with pytest.raises(AkitError, match=problem):
        read_dataset(root)


def test_list_that_is_no_text(lay_out):
    root = lay_out("speechcommands")
    (root / "testing_list.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(AkitError, match=r"testing_list\.txt cannot be read"):
        read_dataset(root)
