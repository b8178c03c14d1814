"""Every kind of bad input gets one clear line that says what, where, and what to do."""

import os
import shutil

import pytest

from acoustic_kit.data import CsvOptions, make_manifest, odd_clips, read_dataset, summarize
from acoustic_kit.errors import AkitError, DataError, UsageError


def refusal(call, *args, kind=DataError, **kwargs):
    """The message of the one-line error that the call must raise."""
    with pytest.raises(AkitError) as raised:
        call(*args, **kwargs)
    assert type(raised.value) is kind
    message = str(raised.value)
    assert "\n" not in message
    return message


def assert_names(message, *values):
    assert [value for value in map(str, values) if value not in message] == []


@pytest.fixture
def table(tmp_path, write_clip, write_table):
    """A function that writes train.csv with the given rows below `fname,label`, beside the clips a to f (.wav)."""
    for name in "abcdef":
        write_clip(tmp_path / "audio" / f"{name}.wav")

    def write(*rows, header=("fname", "label"), name="train.csv"):
        write_table(tmp_path / name, [header, *rows])
        return tmp_path

    return write


GOOD = [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y")]


def test_no_folder(tmp_path):
    assert_names(refusal(read_dataset, tmp_path / "no"), tmp_path / "no", "does not exist")


def test_empty_folder(tmp_path):
    assert_names(refusal(read_dataset, tmp_path), tmp_path, "empty")


def test_no_layout_lists_what_each_looks_for(tmp_path, write_clip):
    write_clip(tmp_path / "loose.wav")
    message = refusal(read_dataset, tmp_path)
    assert "akit looked for esc50: meta/esc50.csv and audio/; urbansound8k: metadata/UrbanSound8K.csv" in message
    assert "; csv: train.csv or train.tsv; folder: sub-folders" in message


def test_unknown_layout(tmp_path, write_clip):
    write_clip(tmp_path / "a.wav")
    assert refusal(read_dataset, tmp_path, "wav", kind=UsageError).startswith("unknown layout 'wav'; akit knows esc50,")


@pytest.mark.parametrize(
    ("layout", "reason"), [("esc50", "lacks meta/esc50.csv"), ("csv", "lacks train.csv"), ("folder", "an audio file")]
)
def test_layout_that_is_not_there(tmp_path, layout, reason):
    (tmp_path / "notes.txt").write_text("nothing")
    assert reason in refusal(read_dataset, tmp_path, layout)


def test_options_for_a_layout_without_use_for_them(tmp_path, write_clip):
    write_clip(tmp_path / "dog" / "a.wav")
    message = refusal(read_dataset, tmp_path, options=CsvOptions(id_column="x"), kind=UsageError)
    assert "is read as folder; try --layout csv" in message


def test_no_audio(tmp_path, write_table):
    write_table(tmp_path / "train.csv", [("fname", "label"), ("a", "x")])
    assert_names(refusal(read_dataset, tmp_path), tmp_path, "no audio")


def test_missing_files_are_counted_and_three_named(table):
    root = table(*GOOD, ("p.wav", "x"), ("q.wav", "x"), ("r.wav", "x"), ("s.wav", "y"))
    message = refusal(read_dataset, root)
    assert_names(message, root / "train.csv", "4 files", "p.wav, q.wav, r.wav, …", "--audio-column")
    assert "s.wav" not in message


def test_missing_file_of_esc50(tmp_path, write_table):
    (tmp_path / "audio").mkdir()
    header = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
    write_table(tmp_path / "meta" / "esc50.csv", [header, ("a.wav", 1, 0, "dog", True, 7, "A")])
    assert_names(refusal(read_dataset, tmp_path), tmp_path / "meta" / "esc50.csv", "missing", "audio/a.wav")


def test_missing_test_clip_is_not_taken_from_the_training_folder(tmp_path, write_clip, write_table):
    for clip in range(4):
        write_clip(tmp_path / "audio_train" / f"{clip}.wav")
    write_table(tmp_path / "train.csv", [("fname", "label"), *((clip, "xy"[clip % 2]) for clip in range(4))])
    write_table(tmp_path / "test.csv", [("fname",), (3,)])
    assert "test.csv names a file that is missing: 3." in refusal(read_dataset, tmp_path)


def test_two_rows_with_one_id(table):
    root = table(*GOOD, ("b", "x"))
    assert_names(refusal(read_dataset, root), f"{root}/train.csv, line 6", "fname 'b'", "line 3")


def test_missing_label(table):
    root = table(("a", "x"), ("b", ""), ("c", ""))
    assert_names(refusal(read_dataset, root), f"{root}/train.csv, line 3", "'label' is empty", "1 more")


def test_cell_with_separators_and_no_label(table):
    root = table(("a", "x;y"), ("b", " ; "))
    message = refusal(read_dataset, root, options=CsvOptions(label_separator=";"))
    assert_names(message, f"{root}/train.csv, line 3", "'label'", "no label")


@pytest.mark.parametrize("path", ["/etc/a.wav", "../a.wav", "audio/../../a.wav", "C:\\sound\\a.wav", "..\\a.wav"])
def test_path_that_leaves_the_data_set(table, path):
    root = table(("a", "x"), (path, "y"))
    assert_names(refusal(read_dataset, root), f"{root}/train.csv, line 3", repr(path), "leaves the data set")


def test_path_of_esc50_that_leaves_the_data_set(tmp_path, write_table):
    (tmp_path / "audio").mkdir()
    header = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
    write_table(tmp_path / "meta" / "esc50.csv", [header, ("/etc/passwd", 1, 0, "dog", True, 7, "A")])
    assert "line 2: the path '/etc/passwd' leaves the data set" in refusal(read_dataset, tmp_path)


@pytest.mark.parametrize(
    ("header", "what", "option"),
    [(("sound", "label"), "id", "--id-column"), (("fname", "animal"), "label", "--label-column")],
)
def test_column_that_cannot_be_guessed(table, header, what, option):
    root = table(("a", "x"), header=header)
    assert_names(refusal(read_dataset, root), root / "train.csv", f"the {what}?", ", ".join(header), option)


def test_column_option_that_names_no_column(table):
    root = table(*GOOD)
    message = refusal(read_dataset, root, options=CsvOptions(group_column="speaker"))
    assert_names(message, root / "train.csv", "no column 'speaker'", "fname, label")


def test_fold_that_is_no_number(table):
    root = table(("a", "x", "1"), ("b", "y", "two"), header=("fname", "label", "fold"))
    assert_names(refusal(read_dataset, root), f"{root}/train.csv, line 3", "fold 'two'")


def test_name_for_two_files(table, write_clip):
    root = table(*GOOD)
    write_clip(root / "more" / "a.flac")
    assert_names(refusal(read_dataset, root), root / "train.csv", "'a'", "audio/a.wav or more/a.flac")


def test_file_that_is_training_and_test_clip_at_once(table):
    root = table(*GOOD)
    table(("a",), header=("fname",), name="test.csv")
    assert_names(refusal(read_dataset, root), "audio/a.wav", "both a training and a test clip", "1 in all")


def test_category_with_two_targets(tmp_path, write_clip, write_table):
    write_clip(tmp_path / "audio" / "a.wav")
    write_clip(tmp_path / "audio" / "b.wav")
    header = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
    rows = [("a.wav", 1, 0, "dog", True, 7, "A"), ("b.wav", 1, 5, "dog", True, 7, "A")]
    write_table(tmp_path / "meta" / "esc50.csv", [header, *rows])
    assert "line 3: category 'dog' has target 5, but other rows pair them" in refusal(read_dataset, tmp_path)


def test_empty_class_folder(tmp_path, write_clip):
    write_clip(tmp_path / "dog" / "a.wav")
    (tmp_path / "cat").mkdir()
    assert refusal(read_dataset, tmp_path).startswith(f"the class folder {tmp_path / 'cat'} is empty")


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_file_name_that_is_no_utf8(tmp_path, write_clip):
    write_clip(tmp_path / "dog" / "a.wav")
    shutil.copy(tmp_path / "dog" / "a.wav", os.fsencode(tmp_path) + b"/dog/\xe9.wav")
    assert "whose name is not UTF-8" in refusal(read_dataset, tmp_path)


def test_class_with_fewer_clips_than_folds(table):
    dataset = read_dataset(table(*GOOD, ("e", "z"), ("f", "y")))
    message = refusal(make_manifest, dataset, n_folds=2)
    assert_names(message, "class 'z'", "clips (1)", "2 folds")


def test_class_with_fewer_groups_than_folds(table):
    rows = [("a", "x", 1), ("b", "x", 1), ("c", "x", 2), ("d", "y", 3), ("e", "y", 4), ("f", "y", 5)]
    dataset = read_dataset(table(*rows, header=("fname", "label", "group")))
    message = refusal(make_manifest, dataset, n_folds=3)
    assert_names(message, "class 'x'", "groups (2, of 3 clips)", "3 folds", "--n-folds 2")


def test_one_class(tmp_path, write_clip):
    write_clip(tmp_path / "dog" / "a.wav")
    assert "only the class 'dog'" in refusal(make_manifest, read_dataset(tmp_path))


def test_fewer_than_two_folds(table):
    dataset = read_dataset(table(*GOOD))
    assert "at least two" in refusal(make_manifest, dataset, n_folds=1, kind=UsageError)


def test_test_fold_that_does_not_exist(table):
    dataset = read_dataset(table(*GOOD))
    message = refusal(make_manifest, dataset, n_folds=2, test_folds=[7], kind=UsageError)
    assert_names(message, "fold 7", "1, 2")


def test_test_folds_that_leave_fewer_than_two(table):
    dataset = read_dataset(table(*GOOD))
    message = refusal(make_manifest, dataset, n_folds=2, test_folds=[1], kind=UsageError)
    assert_names(message, "1 of the folds 1, 2", "two are needed")


def test_label_that_only_the_extra_clips_have(table, tmp_path_factory, write_clip):
    dataset = read_dataset(table(*GOOD))
    extra = tmp_path_factory.mktemp("extra")
    write_clip(extra / "x" / "1.wav")
    write_clip(extra / "whale" / "2.wav")
    message = refusal(make_manifest, dataset, n_folds=2, extra=read_dataset(extra))
    assert_names(message, extra, dataset.root, "whale")


def test_file_that_is_no_audio_is_a_listed_problem(table):
    root = table(*GOOD)
    (root / "audio" / "b.wav").write_text("this is text")
    (root / "audio" / "c.wav").write_bytes(b"")
    dataset = read_dataset(root)
    manifest, _ = make_manifest(dataset, n_folds=2)
    assert dict(odd_clips(manifest).iter_rows()) == {
        "b": "unreadable: Format not recognised",
        "c": "unreadable: the file is empty",
    }
    assert summarize(manifest, dataset.classes).problems == [
        "clips that cannot be read: 2 (b, c): Format not recognised"
    ]


def test_sound_that_soundfile_cannot_read_is_not_passed_over(tmp_path, write_clip):
    for clip in range(4):
        write_clip(tmp_path / "xy"[clip % 2] / f"{clip}.wav")
    (tmp_path / "x" / "phone.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    (tmp_path / "x" / "head.raw").write_bytes(b"12345678")
    (tmp_path / "x" / "link.wav").symlink_to(tmp_path / "gone.wav")
    manifest, _ = make_manifest(read_dataset(tmp_path), n_folds=2)
    problems = dict(manifest.drop_nulls("problem").select("id", "problem").iter_rows())
    assert set(problems) == {"x/phone.m4a", "x/head.raw", "x/link.wav"}
    assert problems["x/link.wav"] == "the file does not exist"


def test_all_files_unreadable(tmp_path):
    for clip in range(4):
        path = tmp_path / "xy"[clip % 2] / f"{clip}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_text("text")
    message = refusal(make_manifest, read_dataset(tmp_path), n_folds=2)
    assert_names(message, "none of the 4 files", tmp_path, "x/0.wav: Format not recognised")
