"""Which clips a command line means, and which of them a template or a table means."""

import os
from pathlib import Path

import pytest

from acoustic_kit.data.schema import clip_schema
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.prediction import clips_at, clips_of_template, read_columns
from acoustic_kit.prediction.new_clips import NO_FILE, NewClip, manifest_rows


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_folders_are_walked_in_order_and_only_audio_is_taken(tmp_path: Path) -> None:
    touch(tmp_path, "b/x.wav", "b/a.FLAC", "a.mp3", "notes.txt", "b/odd.xyz", ".hidden.wav", "c.m4a")
    assert list(clips_at([tmp_path])) == ["a.mp3", "b/a.FLAC", "b/x.wav", "c.m4a"]
    assert clips_at([tmp_path])["b/x.wav"] == tmp_path / "b" / "x.wav"


def test_a_file_is_taken_whatever_it_is_called_and_once(tmp_path: Path) -> None:
    touch(tmp_path, "odd.xyz", "x.wav")
    assert list(clips_at([tmp_path / "odd.xyz", tmp_path / "x.wav", tmp_path])) == ["odd.xyz", "x.wav"]


def test_clips_of_one_name_are_told_apart_by_their_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/x.wav", "b/x.wav")
    monkeypatch.chdir(tmp_path)
    found = clips_at([Path("a"), Path("b/x.wav")])
    assert found == {"a/x.wav": tmp_path / "a" / "x.wav", "b/x.wav": tmp_path / "b" / "x.wav"}


def test_missing_path_and_folder_without_audio_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no file or folder none"):
        clips_at([Path("none")])
    with pytest.raises(AkitError, match="no audio files in"):
        clips_at([tmp_path])


def test_template_ids_match_paths_names_and_stems() -> None:
    clips = {"s/a.wav": Path("1"), "s/b.wav": Path("2"), "c.d.wav": Path("3"), "t/e.wav": Path("4"), "f": Path("5")}
    ids = ["s/a.wav", "b", "c.d", "t/e", "f"]
    assert list(clips_of_template(ids, clips).values()) == [Path(str(n)) for n in range(1, 6)]
    assert list(clips_of_template(["e.wav", "e"], clips).values()) == [Path("4"), Path("4")]


def test_ambiguous_id_is_an_error_unless_it_is_a_path() -> None:
    clips = {"a.wav": Path("1"), "s/a.wav": Path("2")}
    assert clips_of_template(["a.wav"], clips) == {"a.wav": Path("1")}
    with pytest.raises(AkitError, match=r"id 'a' may be a.wav or s/a.wav"):
        clips_of_template(["a"], clips)


def test_ids_without_a_file_are_named() -> None:
    clips = {"a.wav": Path("1")}
    with pytest.raises(AkitError, match=r"1 of the template's 2 ids have no file among 1: 'b'.\n--allow-missing"):
        clips_of_template(["a", "b"], clips)
    assert clips_of_template(["a", "b"], clips, allow_missing=True) == {"a": Path("1"), "b": NO_FILE}
    assert not NO_FILE.exists()
    with pytest.raises(AkitError, match=r"2 of the template's 2 ids have no file among 1: 'b', 'c'.$"):
        clips_of_template(["b", "c"], clips, allow_missing=True)


def test_names_match_in_any_case_extension_and_unicode_form() -> None:
    clips = {"s/A_1.WAV": Path("1"), "b.flac": Path("2"), "Caf\u00e9.wav": Path("3"), "v1.5.wav": Path("4")}
    ids = ["a_1.wav", "b.mp3", "cafe\u0301.wav", "V1.5"]
    assert list(clips_of_template(ids, clips).values()) == [Path(str(n)) for n in range(1, 5)]
    assert clips_of_template(["S/a_1"], clips) == {"S/a_1": Path("1")}


def test_a_name_that_is_merely_alike_takes_no_other_clips_file() -> None:
    clips = {"a.wav": Path("1"), "s/b.wav": Path("2"), "t/B.wav": Path("3"), "v1.5.wav": Path("4")}
    found = clips_of_template(["a.wav", "a.mp3", "v1.6"], clips, allow_missing=True)
    assert list(found.values()) == [Path("1"), NO_FILE, NO_FILE]
    found = clips_of_template(["A.flac", "A.mp3", "v1.5"], clips, allow_missing=True)  # which of the two?
    assert list(found.values()) == [NO_FILE, NO_FILE, Path("4")]
    with pytest.raises(AkitError, match=r"id 'B.mp3' may be s/b.wav or t/B.wav"):
        clips_of_template(["B.mp3"], clips)


def test_a_table_is_joined_by_id_or_name(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("file,salience,label\nb,2,x\n01.wav,1,y\n7,,z\n")
    found = read_columns(path, ["s/01.wav", "b.ogg", "7"])
    assert found["salience"].to_list() == [1, 2, None]
    rows = manifest_rows([NewClip(id, path, id) for id in ("s/01.wav", "b.ogg", "7")], found)
    assert rows["salience"].to_list() == [1, 2, None]
    assert rows["label"].to_list() == [[], [], []]  # the table does not replace what akit says of a clip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("id,x\na,1\na,2\n", "line 3: .* id 'a'"),
        ("id,x,x\na,1,2\n", "'x'"),
        ("id,x\nb,1\n", "no row for 1 of 1 clips: 'a'"),
    ],
)
def test_a_bad_table_is_told(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(AkitError, match=says):
        read_columns(path, ["a"])


def test_rows_have_what_a_build_and_a_recipe_look_at(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"1234")
    rows = manifest_rows([NewClip("x", path, "x"), NewClip("y_5", path, "y", 0, 5)])
    assert rows.select("id", "path", "size", "split").row(0) == ("x", str(path), 4, "test")
    assert rows["mtime_ns"][0] == os.stat(path).st_mtime_ns  # noqa: PTH116
    assert rows.select("id", "start", "end").rows() == [("x", None, None), ("y_5", 0, 5)]
    assert {name: rows.schema[name] for name in clip_schema()} == clip_schema()
