"""FSDKaggle2018: the folds of its 8th place, and three test files without sound."""

import polars as pl
import pytest
from sklearn.model_selection import StratifiedKFold

from acoustic_kit.data import make_manifest, odd_clips, read_dataset
from acoustic_kit.errors import AkitError


def test_folds_are_those_of_the_solution(lay_out):
    root = lay_out("fsdkaggle2018")
    table = pl.read_csv(root / "train.csv")
    fold = dict(read_dataset(root).clips.select("id", "fold").drop_nulls().iter_rows())
    splits = StratifiedKFold(n_splits=10, shuffle=True, random_state=20180629).split(table["fname"], table["label"])
    assert [sorted(id for id, own in fold.items() if own == k) for k in range(1, 11)] == [
        sorted(table["fname"][valid]) for _, valid in splits
    ]


def test_folds_follow_the_order_of_rows(lay_out):
    root = lay_out("fsdkaggle2018")
    before = read_dataset(root).clips.select("id", "fold")
    header, *rows = (root / "train.csv").read_text().splitlines()
    (root / "train.csv").write_text("\n".join([header, *reversed(rows)]) + "\n")
    after = read_dataset(root).clips.select("id", "fold")
    assert not after.sort("id").equals(before.sort("id"))
    assert before["fold"].drop_nulls().to_list() == after["fold"].drop_nulls().to_list()  # the labels recur alike


def test_clips_without_sound_stay_test_clips(lay_out):
    root = lay_out("fsdkaggle2018")
    with (root / "sample_submission.csv").open("a") as template:
        template.writelines(f"{name}.wav,Bark\n" for name in ("0b0427e2", "6ea0099f", "b39975f5"))
    (root / "audio_test" / "0b0427e2.wav").write_bytes(b"")
    (root / "audio_test" / "6ea0099f.wav").write_bytes(b"RIFF")
    dataset = read_dataset(root)
    manifest, _ = make_manifest(dataset)
    assert manifest.filter(pl.col("split") == "test")["id"].to_list()[-3:] == [
        "0b0427e2.wav",
        "6ea0099f.wav",
        "b39975f5.wav",
    ]
    problems = dict(odd_clips(manifest).iter_rows())
    assert problems["0b0427e2.wav"] == "unreadable: the file is empty"
    assert problems["b39975f5.wav"] == "unreadable: the file does not exist"
    assert set(problems) == {"0b0427e2.wav", "6ea0099f.wav", "b39975f5.wav"}
    (note,) = dataset.notes
    assert "0b0427e2.wav, 6ea0099f.wav, b39975f5.wav" in note


def test_any_other_missing_clip_is_an_error(lay_out):
    root = lay_out("fsdkaggle2018")
    (root / "audio_test" / "101.wav").unlink()
    with pytest.raises(AkitError, match=r"sample_submission\.csv names a file that is missing: audio_test/101\.wav\."):
        read_dataset(root)


def test_too_few_clips_for_the_folds(lay_out):
    root = lay_out("fsdkaggle2018")
    (root / "train.csv").write_text("".join((root / "train.csv").read_text().splitlines(keepends=True)[:28]))
    with pytest.raises(AkitError, match="no class with 10 training clips"):
        read_dataset(root)


def test_without_the_sample_submission(lay_out):
    root = lay_out("fsdkaggle2018")
    (root / "sample_submission.csv").unlink()
    with pytest.raises(AkitError, match=r"lacks train\.csv or sample_submission\.csv"):
        read_dataset(root)
