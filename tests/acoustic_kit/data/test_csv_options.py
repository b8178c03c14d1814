"""Official splits in a table, the options of the csv layout, and test clips that no table lists."""

import pytest

from acoustic_kit.data import CsvOptions, make_manifest, read_dataset
from acoustic_kit.errors import AkitError, UsageError


@pytest.fixture
def root(tmp_path, write_clip):
    for name in "abcdef":
        write_clip(tmp_path / "clips" / f"{name}.wav")
    return tmp_path


def write(root, header, *rows, name="train.csv"):
    (root / name).write_text("\n".join([header, *rows]) + "\n")


def of(dataset, column):
    return dict(dataset.clips.select("id", column).iter_rows())


@pytest.mark.parametrize(
    ("column", "train", "valid", "test"),
    [
        ("split", "train", "val", "test"),
        ("Subset", "Training", "validation", "Testing"),
        ("partition", "train", "dev", "eval"),
        ("set", "train", "eval", "test"),
    ],
)
def test_a_column_of_splits_is_the_official_split(root, column, train, valid, test):
    write(
        root,
        f"id,label,{column}",
        f"a,x,{train}",
        f"b,y,{train}",
        f"c,x,{valid}",
        f"d,y,{valid}",
        f"e,x,{test}",
        "f,y," + test,
    )
    dataset = read_dataset(root)
    assert dataset.official_folds
    manifest, truth = make_manifest(dataset)
    assert manifest["fold"].to_list() == [1, 1, 2, 2, None, None]
    assert manifest["split"].to_list() == ["train"] * 4 + ["test"] * 2
    assert truth.rows() == [("e", ["x"]), ("f", ["y"])]
    assert any(column in note and "--unofficial" in note for note in dataset.notes)
    assert set(make_manifest(dataset, n_folds=2, unofficial=True)[0]["fold"].drop_nulls()) == {1, 2}


@pytest.mark.parametrize(("column", "test", "train"), [("is_test", "True", "False"), ("is_train", "0", "1")])
def test_a_mark_of_test_clips(root, column, test, train):
    write(root, f"id,label,{column}", *(f"{id},{'xy'[i % 2]},{train}" for i, id in enumerate("abcd")), f"e,x,{test}")
    dataset = read_dataset(root)
    assert not dataset.official_folds
    assert of(dataset, "split") == dict.fromkeys("abcd", "train") | {"e": "test"}


def test_splits_with_folds_and_hidden_labels(root):
    write(root, "id,label,split,fold", "a,x,train,1", "b,y,train,2", "c,x,val,1", "d,y,val,2.0", "e,,test,")
    dataset = read_dataset(root)
    assert list(of(dataset, "fold").values()) == [1, 2, 1, 2, None]
    assert of(dataset, "label")["e"] == []


def test_numbered_splits_are_folds(root):
    write(root, "id,label,split", "a,x,1", "b,y,2", "c,x,3", "d,y,1")
    assert list(of(read_dataset(root), "fold").values()) == [1, 2, 3, 1]


def test_splits_that_are_not_clear(root):
    write(root, "id,label,split", "a,x,train", "b,y,train", "c,x,gold")
    with pytest.raises(AkitError, match="gold") as error:
        read_dataset(root)
    assert "--where split=train" in str(error.value)
    assert list(of(read_dataset(root, options=CsvOptions(where=("split=train",))), "split")) == ["a", "b"]
    write(root, "id,label,split", "a,x,0", "b,y,1")
    with pytest.raises(AkitError, match="--where split=0"):
        read_dataset(root)
    write(root, "id,label,subset", "a,x,curated", "b,y,noisy")
    assert read_dataset(root).clips["subset"].to_list() == ["curated", "noisy"]


def test_test_rows_of_the_table_that_the_template_lists(root):
    write(root, "id,label,split", "a,x,train", "b,y,train", "c,x,test", "d,y,test")
    write(root, "id,label", "d,x", "c,x", name="sample_submission.csv")
    dataset = read_dataset(root)
    assert list(of(dataset, "label").items()) == [("a", ["x"]), ("b", ["y"]), ("d", ["y"]), ("c", ["x"])]


def test_train_csv_lies_in_the_data_set_or_elsewhere(root, tmp_path_factory):
    write(root, "id,label", "a,x", "b,y", name="mended.csv")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(elsewhere, "id,label", "c,x", "d,y")
    assert list(of(read_dataset(root, options=CsvOptions(train_csv="mended.csv")), "label")) == ["a", "b"]
    assert list(of(read_dataset(root, options=CsvOptions(train_csv=str(elsewhere / "train.csv"))), "label")) == [
        "c",
        "d",
    ]
    with pytest.raises(UsageError, match=r"--train-csv no\.csv"):
        read_dataset(root, options=CsvOptions(train_csv="no.csv"))


def test_names_of_tables_in_any_case(root):
    write(root, "ID,label", "a,x", "b,y", name="Train.csv")
    write(root, "ID,site", "c,1", "d,2", name="Test.csv")
    write(root, "ID,label", "d,x", "c,x", name="SampleSubmission.csv")
    dataset = read_dataset(root)
    assert list(of(dataset, "split").items())[2:] == [("d", "test"), ("c", "test")]
    assert dataset.template == root / "SampleSubmission.csv"


def test_clips_of_a_test_folder_that_no_table_lists(root, write_clip):
    write(root, "fname,label", *(f"{id}.wav,{'xy'[i % 2]}" for i, id in enumerate("abcdef")))
    for name in ("z", "y"):
        write_clip(root / "audio_test" / f"{name}.wav")
    dataset = read_dataset(root)
    test = dataset.clips.filter(dataset.clips["split"] == "test")
    assert test.select("id", "path").rows() == [("y.wav", "audio_test/y.wav"), ("z.wav", "audio_test/z.wav")]
    assert any("audio_test/" in note for note in dataset.notes)
    write(root, "id,label", *(f"{id},{'xy'[i % 2]}" for i, id in enumerate("abcdef")))
    assert read_dataset(root).clips["id"].to_list()[-2:] == ["y", "z"]


def test_test_dir(root, write_clip):
    for name in "ab":
        write_clip(root / "secret" / f"{name}.wav")
    write(root, "id,label", *(f"{id},{'xy'[i % 2]}" for i, id in enumerate("abcdef")))
    with pytest.raises(AkitError, match=r"secret/a\.wav"):
        read_dataset(root)
    dataset = read_dataset(root, options=CsvOptions(test_dir="secret"))
    assert dataset.clips.filter(dataset.clips["split"] == "test")["path"].to_list() == ["secret/a.wav", "secret/b.wav"]
    for wrong in ("..", ".", "no"):
        with pytest.raises(UsageError, match="--test-dir"):
            read_dataset(root, options=CsvOptions(test_dir=wrong))


def test_audio_that_no_table_names_is_counted(root):
    write(root, "id,label", "a,x", "b,y")
    assert any("4 audio files" in note and "clips/c.wav" in note for note in read_dataset(root).notes)


def test_skipped_test_clips_keep_the_submission_whole(root):
    write(root, "id,label", "a,x", "b,y", "gone,x")
    write(root, "id,label", "c,x", "lost,x", name="sample_submission.csv")
    with pytest.raises(AkitError, match="--skip-missing"):
        read_dataset(root)
    dataset = read_dataset(root, options=CsvOptions(skip_missing=True))
    assert list(of(dataset, "split").items()) == [("a", "train"), ("b", "train"), ("c", "test"), ("lost", "test")]
    assert dataset.template is not None
    write(root, "id,label", "window_5,x", "window_10,x", name="sample_submission.csv")
    dataset = read_dataset(root, options=CsvOptions(skip_missing=True))
    assert list(of(dataset, "split")) == ["a", "b"]
    assert dataset.template is None


def test_a_column_that_names_no_file_gives_way_to_the_id(root):
    write(root, "id,label,file", "a,x,http://host/1", "b,y,http://host/2")
    assert read_dataset(root).clips["path"].to_list() == ["clips/a.wav", "clips/b.wav"]


SIX = ['"dog, big"', '"dog, small"', '"cat, big"', '"cat, small"', '"cow, big"', '"cow, small"']


def test_names_that_never_occur_alone_are_one_label(root):
    write(root, "id,label", *(f"{id},{label}" for id, label in zip("abcdef", SIX, strict=True)))
    dataset = read_dataset(root)
    assert (dataset.task, len(dataset.classes)) == ("single", 6)
    assert any("--label-separator ','" in note for note in dataset.notes)
    assert read_dataset(root, options=CsvOptions(label_separator=",")).task == "multi"


@pytest.mark.parametrize(("columns", "task"), [('"dog, big","dog, small"', "single"), ("dog,big,small", "multi")])
def test_the_template_tells_whether_a_cell_holds_several_labels(root, columns, task):
    write(root, "id,label", 'a,"dog, big"', 'b,"dog, small"', 'c,"dog, small"')
    write(root, f"id,{columns}", f"d{',0' * (2 if task == 'single' else 3)}", name="sample_submission.csv")
    assert read_dataset(root).task == task


def test_an_empty_separator_means_one_label_a_cell(root):
    write(root, "id,label", "a,x;y", "b,x", "c,y", "d,x")
    assert read_dataset(root).task == "multi"
    dataset = read_dataset(root, options=CsvOptions(label_separator=""))
    assert (dataset.task, dataset.label_separator) == ("single", None)
    assert list(dataset.classes) == ["x", "x;y", "y"]


@pytest.mark.parametrize("digits", [16, 23, 5000])
def test_labels_of_many_digits_are_names(root, digits):
    write(root, "id,label", f"a,{'9' * digits}", "b,4")
    assert read_dataset(root).classes == {"4": 0, "9" * digits: 1}


@pytest.mark.parametrize("digits", [16, 23, 5000])
def test_long_numbers_are_refused_as_folds_and_stay_text(root, digits):
    write(root, "id,label,fold", "a,x,1", f"b,y,{'9' * digits}")
    with pytest.raises(AkitError, match="line 3: fold '9"):
        read_dataset(root)
    write(root, "id,label,code", "a,x,1", f"b,y,{'9' * digits}")
    assert read_dataset(root).clips["code"].to_list() == ["1", "9" * digits]


def test_a_table_of_thousands_of_columns(root):
    names = [f"c{i}" for i in range(3000)]
    write(
        root,
        ",".join(["id", "label", *names]),
        *(",".join([id, "xy"[i % 2], *["0.5"] * 3000]) for i, id in enumerate("abcd")),
    )
    assert make_manifest(read_dataset(root), n_folds=2)[0].width > 3000
    with pytest.raises(AkitError) as error:
        read_dataset(root, options=CsvOptions(label_column="none"))
    assert len(str(error.value)) < 1000


def test_columns_called_like_the_manifest_twice_over(root):
    write(root, "id,label,duration,own_duration", "a,x,1,2", "b,y,3,4")
    clips = read_dataset(root).clips
    assert clips["own_duration"].to_list() == [1, 3]
    assert clips["own_own_duration"].to_list() == [2, 4]
