"""How the csv layout tells columns, separators, labels and files."""

import pytest

from acoustic_kit.data import CsvOptions, make_manifest, read_dataset
from acoustic_kit.data.label_tables import read_label_table
from acoustic_kit.errors import AkitError


@pytest.fixture
def root(tmp_path, write_clip):
    for name in "abcd":
        write_clip(tmp_path / "clips" / f"{name}.wav")
    return tmp_path


def labels(dataset):
    return dict(dataset.clips.select("id", "label").iter_rows())


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_any_separator_line_end_and_bom(root, separator, line_end, encoding):
    rows = [("id", "label", "note"), ("a", "wé", "1"), (" b ", "x", ""), ("", "", ""), ("c", "x", "3")]
    (root / "train.csv").write_bytes(line_end.join(map(separator.join, rows)).encode(encoding))
    dataset = read_dataset(root)
    assert labels(dataset) == {"a": ["wé"], "b": ["x"], "c": ["x"]}
    assert dataset.clips["note"].to_list() == [1, None, 3]


def test_quoted_cells(root):
    (root / "train.csv").write_text('id,label\na,"Bell, church"\nb,"a ""b"""\n')
    assert labels(read_dataset(root)) == {"a": ["Bell, church"], "b": ['a "b"']}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"id,label\na,x,y\n", r"not 2 cells, as the header has.*3 \(line 2\)"),
        (b"id,label\n", "has no rows below its header"),
        (b"", "the file is empty"),
        (b"id,label,id\na,x,b\n", "two columns .* 'id'"),
        (b"id,label\na,\xff\n", r"not UTF-8 text; .*line 2"),
        (b'id,label\na,"x\n', "unexpected end of data"),
    ],
)
def test_table_that_cannot_be_read(tmp_path, text, problem):
    (tmp_path / "train.csv").write_bytes(text)
    with pytest.raises(AkitError, match=problem):
        read_label_table(tmp_path / "train.csv")


def test_own_columns_get_their_types(root):
    header = "id,label,whole,number,truth,code,gap\n"
    (root / "train.csv").write_text(header + "a,x,1,0.5,True,007,\nb,y,-2,1e-3,false,012,\n")
    clips = read_dataset(root).clips
    own = {name: clips[name].to_list() for name in clips.columns[10:]}
    assert own == {
        "whole": [1, -2],
        "number": [0.5, 0.001],
        "truth": [True, False],
        "code": ["007", "012"],
        "gap": [None, None],
    }


def test_own_column_with_a_name_of_the_manifest(root):
    (root / "train.csv").write_text("id,label,duration\na,x,9.5\nb,y,9.5\nc,x,9.5\nd,y,9.5\n")
    manifest, _ = make_manifest(read_dataset(root), n_folds=2)
    assert manifest["own_duration"].to_list() == [9.5] * 4
    assert manifest["duration"].to_list() == [0.2] * 4


def test_sample_submission_names_the_columns(root):
    (root / "sample_submission.csv").write_text("site,call\nc,owl\n")
    (root / "train.csv").write_text("label,call,site\n1,owl,a\n2,frog,b\n")
    assert labels(read_dataset(root)) == {"a": ["owl"], "b": ["frog"], "c": []}


def test_own_columns_of_other_types_in_the_test_table(root):
    (root / "train.csv").write_text("id,label,site,night\na,owl,7,true\nb,frog,8,false\n")
    (root / "test.csv").write_text("id,site,night\nc,north,0.5\n")
    clips = read_dataset(root).clips
    assert clips["site"].to_list() == ["7", "8", "north"]


def test_options_win_over_guesses(root):
    (root / "train.csv").write_text("id,label,sound,animal,site\n1,u,a,owl,n\n2,u,b,frog,s\n")
    options = CsvOptions(label_column="animal", audio_column="sound", group_column="site")
    dataset = read_dataset(root, options=options)
    assert dataset.clips.select("id", "path", "group").rows() == [("1", "clips/a.wav", "n"), ("2", "clips/b.wav", "s")]
    assert dataset.classes == {"frog": 0, "owl": 1}
    assert dataset.clips["own_label"].to_list() == ["u", "u"]


def test_audio_column_of_the_test_table(root):
    (root / "train.csv").write_text("id,file,label\n1,a.wav,owl\n2,b.wav,frog\n")
    (root / "test.csv").write_text("id,file\n8,d.wav\n9,c.wav\n")
    (root / "sample_submission.csv").write_text("id,owl,frog\n9,0,0\n8,0,0\n")
    test = read_dataset(root).clips.tail(2)
    assert test.select("id", "path", "split").rows() == [("9", "clips/c.wav", "test"), ("8", "clips/d.wav", "test")]


def test_labels_of_a_test_table_are_not_read(root):
    (root / "train.csv").write_text("id,label\na,owl\nb,frog\n")
    (root / "test.csv").write_text("id,label\nc,owl\n")
    dataset = read_dataset(root)
    assert labels(dataset)["c"] == []
    assert "own_label" not in dataset.clips.columns


def test_ids_that_train_and_test_share_are_told_apart(tmp_path, write_clip):
    for split in ("train", "test"):
        for clip in range(2):
            write_clip(tmp_path / split / f"{clip}.wav")
    (tmp_path / "train.csv").write_text("id,label\n0,owl\n1,frog\n")
    (tmp_path / "test.csv").write_text("id\n0\n1\n")
    clips = read_dataset(tmp_path).clips
    assert clips.select("id", "path").rows() == [
        ("train/0", "train/0.wav"),
        ("train/1", "train/1.wav"),
        ("0", "test/0.wav"),
        ("1", "test/1.wav"),
    ]


@pytest.mark.parametrize("name", ["a", "a.wav", "clips/a", "clips/a.wav", "./clips/a.wav", "clips\\a.wav"])
def test_file_by_any_of_its_names(root, name):
    (root / "clips" / "a.lab").write_text("an annotation")
    (root / "train.csv").write_text(f"id,label\n{name},owl\nb,frog\n")
    assert read_dataset(root).clips["path"][0] == "clips/a.wav"


def test_a_name_is_a_whole_name(root, write_clip):
    write_clip(root / "clips" / "aa.wav")
    write_clip(root / "clips" / "a.b.wav")
    (root / "train.csv").write_text("id,label\na,owl\na.b,frog\n")
    assert read_dataset(root).clips["path"].to_list() == ["clips/a.wav", "clips/a.b.wav"]


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["Bark;Run", "Bark", "Run", "Bark"], ";"),
        (["Bark|Run", "Bark", "Run", "Bark"], "|"),
        (["Bark, Run", "Bark", "Run", "Bark"], ","),
        (["Bell, church", "Dog, bark", "Cat", "Cat"], None),
        (["owl", "frog", "owl", "frog"], None),
        (["a;", "a", "b", "b"], None),
    ],
)
def test_label_separator_is_guessed_where_labels_recur(root, cells, separator):
    rows = "".join(f'{id},"{cell}"\n' for id, cell in zip("abcd", cells, strict=True))
    (root / "train.csv").write_text("id,labels\n" + rows)
    dataset = read_dataset(root)
    assert dataset.label_separator == separator
    assert dataset.task == ("multi" if separator else "single")
    expected = [[part.strip() for part in cell.split(separator)] if separator else [cell] for cell in cells]
    assert dataset.clips["label"].to_list() == expected


def test_label_separator_as_an_option(root):
    (root / "train.csv").write_text("id,labels\na,owl frog owl\nb,frog\n")
    dataset = read_dataset(root, options=CsvOptions(label_separator=" "))
    assert labels(dataset) == {"a": ["owl", "frog"], "b": ["frog"]}
    assert dataset.task == "multi"


def test_integer_labels_are_in_order_of_number(root):
    (root / "train.csv").write_text("id,target\na,10\nb,9\nc,-1\nd,10\n")
    assert list(read_dataset(root).classes.items()) == [("-1", -1), ("9", 9), ("10", 10)]


def test_only_missing_youtube_clips_are_left_out(root):
    (root / "train.csv").write_text("YTID,label\na,owl\ngone,frog\nb,frog\n")
    dataset = read_dataset(root)
    assert dataset.clips["id"].to_list() == ["a", "b"]
    assert "train.csv: 1 of 3 clips are not on disk and left out (gone)" in dataset.notes
    (root / "train.csv").write_text("id,label\na,owl\ngone,frog\nb,frog\n")
    with pytest.raises(AkitError, match="names a file that is missing: gone"):
        read_dataset(root)


def test_no_youtube_clip_on_disk_is_an_error(root):
    (root / "train.csv").write_text("YTID,label\nx,owl\ny,frog\n")
    with pytest.raises(AkitError, match="names 2 files that are missing: x, y"):
        read_dataset(root)


def test_a_class_keeps_its_place_where_all_its_clips_are_missing(root):
    (root / "train.csv").write_text("YTID,label\na,owl\ngone,frog\nb,crow\n")
    assert read_dataset(root).classes == {"crow": 0, "frog": 1, "owl": 2}


def test_labels_of_an_eval_table_are_read(root):
    (root / "train.csv").write_text("id,label\na,owl\nb,frog\n")
    (root / "eval.csv").write_text("id,label\nd,frog\nc,owl\n")
    assert labels(read_dataset(root)) == {"a": ["owl"], "b": ["frog"], "d": ["frog"], "c": ["owl"]}


def test_labels_of_an_eval_table_beside_a_template(root):
    (root / "train.csv").write_text("id,label\na,owl\nb,frog\n")
    (root / "eval.csv").write_text("id,label\nd,frog\nc,owl\n")
    (root / "sample_submission.csv").write_text("id,label\nc,frog\nd,frog\n")
    assert list(labels(read_dataset(root)).items())[2:] == [("c", ["owl"]), ("d", ["frog"])]


def test_eval_table_without_labels_or_with_an_unknown_label(root):
    (root / "train.csv").write_text("id,label\na,owl\nb,frog\n")
    (root / "eval.csv").write_text("id\nc\n")
    assert labels(read_dataset(root))["c"] == []
    (root / "eval.csv").write_text("id,label\nc,crow\n")
    with pytest.raises(AkitError, match=r"eval\.csv, line 2: .*'crow'"):
        read_dataset(root)


def test_other_words_for_the_label_are_hidden_with_it(root, write_clip):
    rows = ["id,label,class_code,take,title,fold"]
    for i in range(12):
        write_clip(root / "clips" / f"clip{i}.wav")
        rows.append(f"clip{i},{'xy'[i % 2]},{'x7y9'[i % 2 * 2 :][:2]},{i % 3},title {i},{i // 4 + 1}")
    (root / "train.csv").write_text("\n".join(rows) + "\n")
    manifest, truth = make_manifest(read_dataset(root), test_folds=[3])
    test = manifest.filter(manifest["split"] == "test")
    assert len(truth) == len(test) == 4
    assert test["class_code"].null_count() == 4
    assert manifest["class_code"].null_count() == 4
    assert test["take"].null_count() == test["title"].null_count() == 0
