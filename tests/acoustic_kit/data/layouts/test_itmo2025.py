"""ITMO 2025: classes are numbered in order of first appearance."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from acoustic_kit.data import read_dataset
from acoustic_kit.errors import AkitError


def test_paths_and_template(lay_out):
    root = lay_out("itmo2025")
    dataset = read_dataset(root)
    assert dataset.clips["path"][0] == "audio_train/train/000.wav"
    assert dataset.clips["path"][-1] == "audio_test/test/105.wav"
    assert dataset.template == root / "sample_submission.csv"
    assert not dataset.official_folds


def test_classes_follow_the_order_of_rows(lay_out):
    root = lay_out("itmo2025")
    header, *rows = (root / "train.csv").read_text().splitlines()
    (root / "train.csv").write_text("\n".join([header, *reversed(rows)]) + "\n")
    assert list(read_dataset(root).classes.items()) == [("Applause", 0), ("Bark", 1), ("Cello", 2)]


def test_a_label_is_one_label_whatever_it_holds(lay_out):
    root = lay_out("itmo2025")
    text = (root / "train.csv").read_text()
    (root / "train.csv").write_text(text.replace("001.wav,Bark", '001.wav,"Bark,Cello"'))
    dataset = read_dataset(root)
    assert dataset.task == "single"
    assert dataset.clips["label"][1].to_list() == ["Bark,Cello"]


def test_clip_in_both_tables(lay_out):
    root = lay_out("itmo2025")
    with (root / "sample_submission.csv").open("a") as template:
        template.write("100.wav,Bark\n")
    with pytest.raises(AkitError, match=r"sample_submission\.csv, line 8: .*fname '100\.wav'"):
        read_dataset(root)


def test_ids_that_both_parts_share_are_told_apart(lay_out, write_clip):
    root = lay_out("itmo2025")
    write_clip(root / "audio_test" / "test" / "000.wav")
    with (root / "sample_submission.csv").open("a") as template:
        template.write("000.wav,Bark\n")
    clips = read_dataset(root).clips
    assert clips.row(0)[:2] == ("train/000.wav", "audio_train/train/000.wav")
    assert clips.row(-1)[:2] == ("000.wav", "audio_test/test/000.wav")


class Bomb:
    """Says so when it is loaded from a pickle."""

    def __reduce__(self):
        return print, ("a pickle was loaded",)


@pytest.mark.parametrize("layout", ["auto", "itmo2025"])
@pytest.mark.parametrize("names", [["train.pkl", "subm.pkl", "unique_labels.pkl"], ["unique_labels.pkl"]])
def test_pickles_are_explained_and_not_loaded(tmp_path, capfd, layout, names):
    for name in names:
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(AkitError, match=rf"contains only {', '.join(names)}\. akit loads no pickles") as raised:
        read_dataset(tmp_path, layout)
    assert "train.csv, sample_submission.csv, audio_train/" in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_the_command_of_the_message_converts_a_pickle(tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    spectr, labels = np.random.default_rng(0).random((3, 4, 2), np.float32), [2, 0, 1]
    (folder / "train.pkl").write_bytes(pickle.dumps({"spectr": spectr, "labels": labels, "mel": [], "mfcc": []}))
    with pytest.raises(AkitError) as raised:
        read_dataset(folder)
    command = str(raised.value).splitlines()[-1].replace("python", sys.executable, 1)
    subprocess.run(command, shell=True, check=True)
    assert np.array_equal(np.load(folder / "train.pkl.npy"), spectr)
    assert np.loadtxt(folder / "train.pkl.csv", int).tolist() == labels


def test_pickles_beside_a_data_set_change_nothing(lay_out):
    root = lay_out("itmo2025")
    before = read_dataset(root)
    (root / "train.pkl").write_bytes(pickle.dumps(Bomb()))
    assert read_dataset(root).clips.equals(before.clips)


@pytest.mark.parametrize(("tree", "layout"), [("folder", "folder"), ("freesound", "csv")])
def test_pickles_do_not_hide_another_layout(lay_out, tree, layout):
    root = lay_out(tree)
    (root / "train.pkl").write_bytes(b"")
    assert read_dataset(root).layout == layout
