import math

import numpy as np
import polars as pl
import pytest
import soundfile

from acoustic_kit.data import Durations, check_manifest, file_digest, make_manifest, odd_clips, read_dataset, summarize
from acoustic_kit.data.leaks import divided_groups, leak_warnings
from acoustic_kit.data.scan import scan_audio
from acoustic_kit.errors import AkitError


@pytest.fixture
def odd(tmp_path, write_clip):
    """Two classes, among them a silent, a clipped, a short, a broken and two equal clips."""
    for clip in range(4):
        write_clip(tmp_path / "xy"[clip % 2] / f"{clip}.wav")
    write_clip(tmp_path / "x" / "long.wav", seconds=1.0, sample_rate=16000)
    write_clip(tmp_path / "x" / "silent.wav", peak=0.0)
    write_clip(tmp_path / "x" / "clipped.wav", peak=1.0)
    write_clip(tmp_path / "x" / "short.wav", seconds=0.05)
    (tmp_path / "x" / "broken.wav").write_text("text")
    (tmp_path / "y" / "twin.wav").write_bytes((tmp_path / "x" / "0.wav").read_bytes())
    dataset = read_dataset(tmp_path)
    return make_manifest(dataset, n_folds=2)[0], dataset.classes


def test_odd_clips(odd):
    assert odd_clips(odd[0]).rows() == [
        ("x/broken.wav", "unreadable: Format not recognised"),
        ("x/clipped.wav", "clipped"),
        ("x/short.wav", "too short"),
        ("x/silent.wav", "silent"),
        ("y/twin.wav", "same content as x/0.wav"),
    ]


def test_summary(odd):
    manifest, classes = odd
    manifest = manifest.with_columns(fold=pl.when(pl.col("id") == "x/0.wav").then(1).when(pl.col("fold") > 0).then(2))
    summary = summarize(manifest, classes)
    assert summary.clips == {"train": 10}
    assert summary.classes.rows() == [("x", 0, 7, pytest.approx(1.85)), ("y", 1, 3, pytest.approx(0.6))]
    assert summary.durations == Durations(0.05, 0.2, 1.0)
    assert summary.sample_rates == {8000: 8, 16000: 1}
    assert summary.channels == {1: 9}
    assert summary.folds == {1: 1, 2: 9}
    assert summary.problems == [
        "clips that cannot be read: 1 (x/broken.wav): Format not recognised",
        "silent clips: 1 (x/silent.wav)",
        "clips shorter than 0.1 s: 1 (x/short.wav)",
        "clips of equal content in different folds or splits: 2 (x/0.wav, y/twin.wav)",
        "clips of equal content with different labels: 2 (x/0.wav, y/twin.wav)",
        "classes missing in some fold: 1 (y)",
    ]


def test_class_that_only_test_clips_have(odd):
    manifest, classes = odd
    summary = summarize(manifest.filter(pl.col("label").list.contains("x")), classes)
    assert summary.classes.row(1) == ("y", 1, 0, 0.0)
    assert "classes without a training clip: 1 (y)" in summary.problems


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_levels_are_of_the_mixed_channels_over_all_blocks(tmp_path, subtype):
    wave = np.random.default_rng(0).uniform(-0.9, 0.9, (200_000, 3))  # several blocks
    soundfile.write(tmp_path / "a.wav", wave, 44100, subtype=subtype)
    row = scan_audio([tmp_path / "a.wav"]).row(0, named=True)
    assert (row["sample_rate"], row["channels"], row["problem"]) == (44100, 3, None)
    assert row["duration"] == 200_000 / 44100
    mixed = wave.mean(axis=1)
    assert row["peak"] == pytest.approx(np.abs(mixed).max(), abs=1e-4)
    assert row["rms"] == pytest.approx(math.sqrt(np.mean(mixed**2)), rel=1e-4)
    assert len(row["content"]) == 32
    assert row["content"] == file_digest(tmp_path / "a.wav")


def test_samples_that_are_no_numbers_and_no_samples_at_all(tmp_path):
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan, 0.1], dtype=np.float32), 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 8000)
    scanned = scan_audio([tmp_path / "nan.wav", tmp_path / "none.wav"])
    assert scanned["problem"].to_list() == ["it holds samples that are NaN or infinite", "it holds no samples"]
    assert scanned["duration"].to_list() == [None, None]


def test_a_file_that_breaks_off_is_a_problem(tmp_path, write_clip):
    write_clip(tmp_path / "whole.flac", seconds=5)
    whole = (tmp_path / "whole.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    assert "flac decoder" in scan_audio([tmp_path / "cut.flac"])["problem"][0]


def test_an_interrupted_scan_stops(odd, tmp_path):
    def interrupt(done, _total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan_audio([tmp_path / path for path in odd[0]["path"]], interrupt)


def test_extra_clips(tmp_path_factory, tmp_path, write_clip):
    extra = tmp_path_factory.mktemp("extra")
    for clip in range(8):
        write_clip(tmp_path / "xy"[clip % 2] / f"{clip}.wav")
    write_clip(extra / "x" / "0.wav")
    write_clip(extra / "y" / "1.wav")
    dataset = read_dataset(tmp_path)
    manifest, truth = make_manifest(dataset, n_folds=3, extra=read_dataset(extra), test_folds=[2])
    added = manifest.filter(pl.col("split") == "extra")
    assert added["id"].to_list() == ["extra/x/0.wav", "extra/y/1.wav"]
    assert added["label"].to_list() == [["x"], ["y"]]
    assert added["fold"].null_count() == 2
    assert all((dataset.root / path).is_file() for path in added["path"])
    assert len(truth) + len(manifest.filter(pl.col("split") == "train")) == 8
    assert summarize(manifest, dataset.classes).clips == {"train": 8 - len(truth), "test": len(truth), "extra": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": pl.lit("same")}, "has the id of another clip"),
        ({"id": pl.lit("")}, "has no id"),
        ({"path": pl.lit("../a.wav")}, "leaves the data root"),
        ({"path": pl.lit(None, dtype=pl.String)}, "has no path"),
        ({"split": pl.lit("valid")}, "a split other than"),
        ({"split": pl.lit("test")}, "without a fold, or another with one"),
        ({"fold": pl.lit(None, dtype=pl.Int64)}, "training clip without a fold"),
        ({"label": pl.lit([], dtype=pl.List(pl.String))}, "or another clip without"),
        ({"label": pl.lit(["whale"])}, "a label that is not a class"),
        ({"problem": pl.lit("broken")}, "neither a length nor a problem"),
        ({"fold": pl.lit(1.5)}, "column 'fold' should be Int64 and is Float64"),
    ],
)
def test_damaged_manifest(odd, change, message):
    manifest, classes = odd
    check_manifest(manifest, classes)
    with pytest.raises(AkitError, match=message):
        check_manifest(manifest.with_columns(**change), classes)


def test_manifest_without_a_column(odd):
    with pytest.raises(AkitError, match=r"column 'group' should be String and is missing"):
        check_manifest(odd[0].drop("group"), odd[1])


def test_groups_that_the_folds_divide(odd):
    manifest, classes = odd
    manifest = manifest.with_columns(
        fold=pl.Series([1, 1, 2, 2, 1, 2, 1, 2, 1, 2][: len(manifest)]),
        group=pl.Series(["a", "a", "b", "a", "c", "c", None, None, "d", "e"][: len(manifest)]),
    )
    ids = manifest["id"].to_list()
    lines = [line for line in summarize(manifest, classes).problems if line.startswith("groups")]
    assert lines == [f"groups that the folds divide: 2 (a, c): {ids[0]} in fold 1, {ids[3]} in fold 2"]
    warning = leak_warnings(manifest)[0]
    assert warning.startswith("the folds divide 2 groups")
    assert f"{ids[0]} and {ids[3]} of group a are in folds 1 and 2" in warning


def test_clips_outside_the_folds_divide_no_group(odd):
    manifest = odd[0].with_columns(group=pl.lit("one"), fold=pl.lit(1, dtype=pl.Int64))
    first = pl.col("id") == manifest["id"][0]
    manifest = manifest.with_columns(
        split=pl.when(first).then(pl.lit("extra")).otherwise("split"), fold=pl.when(~first).then("fold")
    )
    assert not len(divided_groups(manifest))
    assert not [line for line in summarize(manifest, odd[1]).problems if line.startswith("groups")]
