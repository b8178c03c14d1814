"""BirdCLEF: the rows of the template, secondary labels, and the variants of the years."""

import shutil

import polars as pl
import pytest

from acoustic_kit.data import CsvOptions, make_manifest, read_dataset
from acoustic_kit.data.windows import Windows
from acoustic_kit.errors import DataError, UsageError
from acoustic_kit.workspace.init import init_workspace

FIVE = Windows(length=5, hop=5)


@pytest.fixture
def root(lay_out):
    return lay_out("birdclef")


def write(root, *rows, name="sample_submission.csv"):
    (root / name).write_text("".join(f"{row}\n" for row in rows))


def test_rows_of_the_template_are_parts_of_soundscapes(root, write_clip):
    write_clip(root / "test_soundscapes" / "soundscape_1.flac", 12)
    rows = [f"soundscape_1_{end},0,0,0" for end in (5, 10, 15)]
    write(root, "row_id,wren,1139490,abethr1", *rows, "soundscape_0_5,0,0,0")
    manifest, truth = make_manifest(read_dataset(root), n_folds=2)
    test = manifest.filter(pl.col("split") == "test")
    assert test.select("id", "start", "end", "duration", "group").rows()[:3] == [
        ("soundscape_1_5", 0, 5, 5, "test_soundscapes/soundscape_1.flac"),
        ("soundscape_1_10", 5, 10, 5, "test_soundscapes/soundscape_1.flac"),
        ("soundscape_1_15", 10, 15, 2, "test_soundscapes/soundscape_1.flac"),
    ]
    assert len(truth) == 0


def test_before_the_hidden_run_there_are_no_test_clips(root, tmp_path_factory):
    shutil.rmtree(root / "test_soundscapes")
    (root / "test_soundscapes").mkdir()
    (root / "test_soundscapes" / "readme.txt").write_text("filled when scored")
    notes = []
    workspace = init_workspace(tmp_path_factory.mktemp("work"), root, n_folds=2, on_note=notes.append)
    assert workspace.clip_ids("test") == []
    assert (workspace.config.metric, workspace.config.task) == ("roc_auc", "multi")
    assert workspace.template_path == root / "sample_submission.csv"
    assert any("test_soundscapes/" in note for note in notes)
    shutil.rmtree(root / "test_soundscapes")
    assert set(read_dataset(root).clips["split"]) == {"train"}


def test_soundscapes_of_other_rows_are_no_test_clips(root):
    write(root, "row_id,wren,1139490,abethr1", "soundscape_8358733_5,0,0,0")
    dataset = read_dataset(root)
    assert set(dataset.clips["split"]) == {"train"}
    assert any("sample_submission.csv" in note for note in dataset.notes)
    write(root, "row_id,wren,1139490,abethr1", "soundscape_0_5,0,0,0", "soundscape_9_5,0,0,0")
    with pytest.raises(DataError, match="soundscape_9"):
        read_dataset(root)
    assert len(read_dataset(root, options=CsvOptions(skip_missing=True)).clips) == 32


def test_training_recordings_are_divided_with_windows(root, write_clip):
    write_clip(root / "train_audio" / "wren" / "XC0.flac", 9)
    dataset = read_dataset(root, options=CsvOptions(windows=FIVE))
    clips = dataset.clips.filter(pl.col("path").str.ends_with("XC0.flac"))
    assert clips.select("id", "label", "group").rows() == [
        ("XC0_5", ["wren"], "train_audio/wren/XC0.flac"),
        ("XC0_10", ["wren"], "train_audio/wren/XC0.flac"),
    ]
    assert dataset.clips.filter(pl.col("split") == "test")["id"].to_list()[0] == "soundscape_2_5"


def test_secondary_labels_are_labels_by_default(root):
    labels = read_dataset(root).clips["label"].to_list()
    assert labels[:2] == [["wren"], ["1139490", "abethr1"]]
    for use, target in (("mask", None), ("soft=0.3", 0.3)):
        clips = read_dataset(root, options=CsvOptions(secondary=use)).clips
        assert clips["label"].to_list()[1] == ["1139490"]
        assert clips["soft"].to_list()[:2] == [None, [{"label": "abethr1", "target": target}]]
    ignored = read_dataset(root, options=CsvOptions(secondary="ignore"))
    assert (ignored.task, ignored.clips["label"].to_list()[1]) == ("multi", ["1139490"])


def test_a_class_with_a_single_recording_is_no_obstacle(root):
    table = root / "train_metadata.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if not line.startswith("wren") or "XC0" in line) + "\n")
    manifest, _ = make_manifest(read_dataset(root, options=CsvOptions(secondary="ignore")), n_folds=4)
    assert set(manifest["fold"].drop_nulls()) == {1, 2, 3, 4}


def test_groups_are_a_column_if_asked_for(root):
    assert read_dataset(root).clips["group"].drop_nulls().unique().sort().to_list() == [
        f"test_soundscapes/soundscape_{n}.flac" for n in range(3)
    ]
    clips = read_dataset(root, options=CsvOptions(group_column="author")).clips
    assert clips["group"].to_list()[:2] == ["0", "1"]
    with pytest.raises(UsageError, match="--label-column"):
        read_dataset(root, options=CsvOptions(label_column="type"))


def test_without_a_taxonomy_the_template_names_the_classes(root):
    (root / "taxonomy.csv").unlink()
    assert list(read_dataset(root).classes) == ["1139490", "abethr1", "wren"]
    write(root, "row_id,wren,1139490", "soundscape_0_5,0,0")
    with pytest.raises(DataError, match=r"train_metadata\.csv, line 4: (.|\n)*abethr1"):
        read_dataset(root)


def test_the_metric_of_2023_and_the_folders_of_2021(root):
    (root / "taxonomy.csv").unlink()
    shutil.rmtree(root / "train_soundscapes")
    (root / "eBird_Taxonomy_v2021.csv").write_text("SPECIES_CODE\nwren\n")
    assert read_dataset(root).metric == "cmap5"
    (root / "train_audio").rename(root / "train_short_audio")
    table = root / "train_metadata.csv"
    table.write_text(table.read_text().replace("wren/XC", "XC"))
    assert read_dataset(root).clips["path"][0] == "train_short_audio/wren/XC0.flac"


def test_labeled_windows_of_2021_are_training_clips(root, write_clip):
    write_clip(root / "train_soundscapes" / "7019_COR_20190904.flac", 12)
    write(
        root, "row_id,site,seconds,birds", "7019_COR_5,COR,5,nocall", "7019_COR_10,COR,10,wren abethr1",
        name="train_soundscape_labels.csv",
    )  # fmt: skip
    (root / "taxonomy.csv").unlink()
    write(root, "row_id,birds", "2782_SSW_5,nocall")
    for options in (CsvOptions(), CsvOptions(windows=FIVE)):
        dataset = read_dataset(root, options=options)
        found = dataset.clips.filter(pl.col("path").str.starts_with("train_soundscapes/"), split="train")
        rows = found.select("start", "end", "label", "group").rows()
        assert rows[:2] == [
            (0, 5, [], "train_soundscapes/7019_COR_20190904.flac"),
            (5, 10, ["wren", "abethr1"], "train_soundscapes/7019_COR_20190904.flac"),
        ]
        assert list(dataset.classes) == ["1139490", "abethr1", "wren"]
        assert dataset.template is None
        assert any("'birds'" in note and "--window 5" in note for note in dataset.notes)
        assert "test" in set(dataset.clips["split"])
    write(root, "row_id,seconds,birds", "7019_COR_5,5,owl", name="train_soundscape_labels.csv")
    with pytest.raises(DataError, match=r"train_soundscape_labels\.csv, line 2: (.|\n)*owl"):
        read_dataset(root)
    write(root, "row_id,seconds,birds", "1_SSW_5,5,wren", name="train_soundscape_labels.csv")
    with pytest.raises(DataError, match="1_SSW"):
        read_dataset(root)


def test_a_template_of_2022_is_not_taken_for_a_class(root):
    (root / "taxonomy.csv").unlink()
    write(root, "row_id,target", "soundscape_0_wren_5,False")
    dataset = read_dataset(root, options=CsvOptions(windows=FIVE))
    assert list(dataset.classes) == ["1139490", "abethr1", "wren"]
    assert any("'target'" in note for note in dataset.notes)
    assert dataset.clips.filter(split="test")["id"][0] == "soundscape_0_5"


@pytest.mark.parametrize("cell", ["/etc/passwd", "../XC0.flac", "wren/../../XC0.flac"])
def test_a_file_name_that_leaves_the_data_set_is_refused(root, cell):
    table = root / "train_metadata.csv"
    table.write_text(table.read_text().replace("wren/XC0.flac", cell))
    with pytest.raises(DataError, match=r"train_metadata\.csv, line 2"):
        read_dataset(root)


def test_a_cell_of_secondary_labels_is_never_code(root):
    table = root / "train_metadata.csv"
    table.write_text(table.read_text().replace("['']", "[__import__('os').abort()]", 1))
    with pytest.raises(DataError, match="secondary_labels"):
        read_dataset(root)
