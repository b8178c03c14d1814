"""Names in tables and the files that they mean; and what is no clip at all."""

import subprocess
import unicodedata

import pytest

from acoustic_kit.data import read_dataset
from acoustic_kit.data.audio_files import audio_files, walk_files
from acoustic_kit.data.audio_index import AudioIndex
from acoustic_kit.errors import AkitError


@pytest.mark.parametrize(
    ("said", "there"),
    [
        ("a.wav", "audio/a.WAV"),
        ("A.wav", "audio/a.wav"),
        ("a.wav", "audio/a.flac"),
        ("Audio/A.wav", "audio/a.FLAC"),
        (unicodedata.normalize("NFC", "Bär.wav"), f"audio/{unicodedata.normalize('NFD', 'Bär')}.wav"),
        (unicodedata.normalize("NFD", "bär"), f"audio/{unicodedata.normalize('NFC', 'BÄR')}.wav"),
    ],
)
def test_names_match_across_case_extension_and_unicode_form(tmp_path, said, there):
    assert AudioIndex(tmp_path, [there, "audio/b.wav"]).find(said, "train") == [there]


def test_an_equal_name_wins(tmp_path):
    index = AudioIndex(tmp_path, ["a.wav", "A.wav", "b/a.wav", "a.flac"])
    assert index.find("A.wav", "train") == ["A.wav"]
    assert index.find("b/a.wav", "train") == ["b/a.wav"]
    assert index.find("a.wav", "train") == ["a.wav"]


def test_two_files_equal_but_for_case_are_not_chosen_between(tmp_path):
    with pytest.raises(AkitError, match=r"'a.ogg' may be a\.wav or b/A\.flac"):
        AudioIndex(tmp_path, ["a.wav", "b/A.flac"]).find_all(tmp_path / "train.csv", ["a.ogg"], "train")


def test_the_near_file_of_a_missing_name_is_named(tmp_path):
    index = AudioIndex(tmp_path, ["audio_test/a.wav", "audio_train/clip_017.wav"])
    with pytest.raises(AkitError, match="clip_17") as error:
        index.find_all(tmp_path / "train.csv", ["clip_17"], "train")
    assert "audio_train/clip_017.wav" in str(error.value)
    with pytest.raises(AkitError, match=r"0017\.wav"):
        AudioIndex(tmp_path, ["0017.wav"]).find_all(tmp_path / "train.csv", ["17"], "train")
    with pytest.raises(AkitError, match=r"audio_test/a\.wav"):
        index.find_all(tmp_path / "train.csv", ["a.wav"], "train")


def test_names_spelled_unlike_their_files_are_counted(tmp_path, write_clip):
    for name in ("a.WAV", "b.wav"):
        write_clip(tmp_path / name)
    (tmp_path / "train.csv").write_text("fname,label\na.wav,x\nb.wav,y\n")
    dataset = read_dataset(tmp_path)
    assert dataset.clips.select("id", "path").rows() == [("a.wav", "a.WAV"), ("b.wav", "b.wav")]
    assert any("1 of 2" in note and "a.WAV" in note for note in dataset.notes)


@pytest.mark.parametrize(
    "folder", ["lost+found", "System Volume Information", "$RECYCLE.BIN", "@eaDir", "__MACOSX", ".git", "__pycache__"]
)
def test_folders_of_the_system_are_no_classes(tmp_path, write_clip, folder):
    for label in "xy":
        write_clip(tmp_path / label / "1.wav")
    (tmp_path / folder).mkdir()
    assert read_dataset(tmp_path).classes == {"x": 0, "y": 1}
    write_clip(tmp_path / folder / "2.wav")
    assert read_dataset(tmp_path).clips["id"].to_list() == ["x/1.wav", "y/1.wav"]


def test_what_systems_leave_is_no_clip(tmp_path, write_clip):
    write_clip(tmp_path / "dog" / "1.wav")
    for name in ("._1.wav", ".DS_Store", "Thumbs.db", "desktop.ini", "1.wav.asd"):
        (tmp_path / "dog" / name).write_bytes(b"x")
    assert audio_files(tmp_path) == ["dog/1.wav"]


def test_folders_may_be_nested_more_deeply_than_functions(tmp_path):
    deep = tmp_path / ("d/" * 1200)
    subprocess.run(["mkdir", "-p", deep], check=True)  # Python's own makedirs is recursive
    (deep / "1.wav").touch()
    assert list(walk_files(tmp_path)) == ["d/" * 1200 + "1.wav"]
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


def test_a_circle_of_links_is_walked_once(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.wav").touch()
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    assert list(walk_files(tmp_path)) == ["a/1.wav"]
