"""Recordings that are divided into clips: windows, labeled parts, rows of a template."""

import polars as pl
import pytest
import soundfile

from acoustic_kit.data import CsvOptions, make_manifest, read_dataset, summarize
from acoustic_kit.data.recordings import MOST_CLIPS, Event, labels_of_windows
from acoustic_kit.data.scan import scan_audio
from acoustic_kit.data.windows import Windows
from acoustic_kit.dsp.sound_file import Span
from acoustic_kit.errors import AkitError, DataError, UsageError

TWO = CsvOptions(windows=Windows(length=2, hop=2))


@pytest.fixture
def root(tmp_path, write_clip):
    """Recordings of 4.5 s (a), 5 s (b), 0.3 s (c), 2 s (d) and 3.1 s (e), and a table of their labels."""
    for name, seconds in {"a": 4.5, "b": 5.0, "c": 0.3, "d": 2.0, "e": 3.1}.items():
        write_clip(tmp_path / "audio" / f"{name}.wav", seconds)
    write(tmp_path, "id,label,site", "a,x,1", "b,y,2", "c,x,3", "d,y,4", "e,y,5")
    return tmp_path


def write(root, header, *rows, name="train.csv"):
    (root / name).write_text("\n".join([header, *rows]) + "\n")


def of(dataset, column):
    return dict(dataset.clips.select("id", column).iter_rows())


def test_recordings_are_divided_into_windows(root):
    dataset = read_dataset(root, options=TWO)
    starts = {"a_2": 0, "a_4": 2, "b_2": 0, "b_4": 2, "b_6": 4, "c_2": 0, "d_2": 0, "e_2": 0, "e_4": 2}
    assert of(dataset, "start") == starts
    assert of(dataset, "end") == {id: start + 2 for id, start in starts.items()}
    assert of(dataset, "label") == {id: ["x"] if id[0] in "ac" else ["y"] for id in starts}
    assert of(dataset, "site")["b_6"] == 2
    assert any("5 recordings" in note and "9 windows of 2 s" in note for note in dataset.notes)


def test_folds_never_divide_a_recording(root, write_clip):
    rows = [f"r{i},{'xy'[i % 2]}" for i in range(8)]
    for i in range(8):
        write_clip(root / "audio" / f"r{i}.wav", 1 + i)
    write(root, "id,label", *rows)
    manifest, _ = make_manifest(read_dataset(root, options=TWO), n_folds=3)
    assert len(manifest) > 8
    folds = manifest.group_by("path").agg(pl.col("fold", "group").n_unique())
    assert folds.select("fold", "group").unique().rows() == [(1, 1)]
    assert manifest["group"].to_list() == manifest["path"].to_list()


def test_a_coarser_group_of_the_data_set_remains(root):
    write(root, "id,label,session", "a,x,s1", "b,y,s1", "d,y,", "e,x,s2")
    groups = of(read_dataset(root, options=TWO), "group")
    assert groups["a_2"] == groups["b_6"] == "s1"
    assert groups["d_2"] == "audio/d.wav"


def test_overlapping_windows_and_another_form_of_ids(root):
    options = CsvOptions(windows=Windows(length=2, hop=1, id_format="{path}@{start}"))
    dataset = read_dataset(root, options=options)
    assert [id for id in dataset.clips["id"] if "e@" in id] == ["audio/e@0", "audio/e@1"]


def test_ids_of_two_recordings_must_differ(root, write_clip):
    write_clip(root / "more" / "a.wav", 2.0)
    write(root, "id,label,path", "a,x,audio/a.wav", "a2,y,more/a.wav")
    with pytest.raises(DataError, match=r"'a_2'(.|\n)*--id-format"):
        read_dataset(root, options=TWO)
    options = CsvOptions(windows=Windows(length=2, hop=2, id_format="{path}_{end}"))
    assert "more/a_2" in read_dataset(root, options=options).clips["id"]


def test_rows_of_the_template_are_the_test_windows(root, write_clip):
    write_clip(root / "test" / "t_1.wav", 6.0)
    write(root, "row_id,x,y", "t_1_4,0,0", "t_1_2,0,0", name="sample_submission.csv")
    dataset = read_dataset(root, options=TWO)
    test = dataset.clips.filter(pl.col("split") == "test")
    assert test.select("id", "path", "start", "end").rows() == [
        ("t_1_4", "test/t_1.wav", 2, 4),
        ("t_1_2", "test/t_1.wav", 0, 2),
    ]
    assert dataset.template is not None
    write(root, "row_id,x,y", "t_1_4,0,0", "t_1_1,0,0", name="sample_submission.csv")
    with pytest.raises(DataError, match=r"line 3: 't_1_1'(.|\n)*--window"):
        read_dataset(root, options=TWO)


def test_a_template_of_whole_recordings(root, write_clip):
    write_clip(root / "test" / "t_1.wav", 6.0)
    write(root, "id,x,y", "t_1,0,0", name="sample_submission.csv")
    test = read_dataset(root, options=TWO).clips.filter(pl.col("split") == "test")
    assert test.select("id", "path", "start").rows() == [("t_1", "test/t_1.wav", None)]


def test_recordings_for_testing_are_divided_up_to_their_end(root, write_clip):
    write_clip(root / "test" / "t.wav", 4.5)
    write_clip(root / "test" / "a.wav", 2.0)
    ids = read_dataset(root, options=TWO).clips["id"].to_list()
    assert ids[-4:] == ["a_2", "t_2", "t_4", "t_6"]  # as `akit predict` divides them
    assert ids[:2] == ["train/a_2", "train/a_4"]


def test_known_lengths_are_not_read_again(root):
    dataset = read_dataset(root, options=TWO, lengths={"audio/a.wav": 8.0})
    assert [id for id in dataset.clips["id"] if id[0] == "a"] == ["a_2", "a_4", "a_6", "a_8"]


def test_an_unreadable_recording_is_one_clip(root):
    (root / "audio" / "a.wav").write_bytes(b"no audio")
    assert [id for id in read_dataset(root, options=TWO).clips["id"] if id[0] == "a"] == ["a_2"]


def test_too_many_windows(root):
    with pytest.raises(DataError, match=rf"{MOST_CLIPS:,}(.|\n)*--hop"):
        read_dataset(root, options=CsvOptions(windows=Windows(length=5, hop=1e-6)))


@pytest.mark.parametrize(
    ("event", "labeled"),
    [
        ((0, 4.5), "11"),
        ((1, 2.6), "10"),
        ((1, 3), "11"),
        ((1.5, 1.6), "10"),
        ((1.9, 2.9), "01"),
        ((2, 4), "01"),
        ((3.9, 99), "01"),  # half of what is in the recording
        ((0, 1), "10"),
    ],
)
def test_an_event_labels_the_windows_that_it_overlaps(event, labeled):
    found = labels_of_windows([Event(*event, ["x"])], [(0, 2), (2, 4)], 4.0, 0.5)
    assert "".join(str(len(labels)) for labels in found) == labeled


def test_the_label_of_the_longest_overlap_is_first():
    events = [Event(0, 0.5, ["x"]), Event(0.5, 2, ["y"]), Event(0, 0.1, ["x"])]
    assert labels_of_windows(events, [(0, 2)], 2.0, 0.1) == [["y", "x"]]


STRONG = ("a,0.5,1.0,x", "a,0.9,3.0,y", "b,4.1,4.9,x", "b,0,5,y", "d,0,2,x", "e,0,1,x")


def test_strong_labels_with_windows(root):
    write(root, "recording_id,onset,offset,event_label", *STRONG)
    dataset = read_dataset(root, options=TWO)
    assert (dataset.task, list(dataset.classes)) == ("multi", ["x", "y"])
    assert of(dataset, "label") == {
        "a_2": ["y", "x"],
        "a_4": ["y"],
        "b_2": ["y"],
        "b_4": ["y"],
        "b_6": ["y", "x"],
        "d_2": ["x"],
        "e_2": ["x"],
        "e_4": [],
    }
    assert any("1 of them have no label" in note for note in dataset.notes)
    manifest, _ = make_manifest(dataset, n_folds=2)
    assert manifest.filter(pl.col("id") == "e_4")["fold"].null_count() == 0
    most = read_dataset(root, options=CsvOptions(windows=TWO.windows, min_overlap=0.6))
    assert of(most, "label")["a_4"] == []


def test_strong_labels_of_single_label_tasks(root):
    write(root, "recording_id,onset,offset,event_label", *STRONG)
    dataset = read_dataset(root, options=CsvOptions(windows=TWO.windows, label_separator=""))
    assert dataset.task == "single"
    assert of(dataset, "label")["a_2"] == ["y"]
    assert "e_4" not in of(dataset, "label")
    assert any("1 clips without an event" in note for note in dataset.notes)


def test_strong_labels_without_windows_are_clips(root):
    write(root, "filename,start_time,end_time,label", "a.wav,0.5,1.0,x", "a.wav,1.25,3.0,y", "b.wav,0,5,y")
    dataset = read_dataset(root)
    assert dataset.task == "single"
    assert dataset.clips.select("id", "start", "end", "label", "group").rows() == [
        ("a_1", 0.5, 1.0, ["x"], "audio/a.wav"),
        ("a_3", 1.25, 3.0, ["y"], "audio/a.wav"),
        ("b_5", 0.0, 5.0, ["y"], "audio/b.wav"),
    ]
    write(root, "filename,start_time,end_time,label", "a.wav,0.5,1.0,x", "a.wav,0.5,1.0,y", "b.wav,0,5,y")
    dataset = read_dataset(root)
    assert (dataset.task, of(dataset, "label")["a_1"]) == ("multi", ["x", "y"])
    write(root, "clip,filename,start,end,label", "p,a.wav,0,1,x", "q,a.wav,0.5,1,y")
    assert of(read_dataset(root), "start") == {"p": 0, "q": 0.5}
    write(root, "clip,filename,start,end,label", "p,a.wav,0,1,x", "q,a.wav,0,1,y")
    assert of(read_dataset(root), "label") == {"p": ["x"], "q": ["y"]}
    write(root, "filename,start_time,end_time,label", "a.wav,0.5,1.0,x", "a.wav,0,1.0,y")
    with pytest.raises(DataError, match="--id-format"):
        read_dataset(root)
    dataset = read_dataset(root, options=CsvOptions(id_format="{stem}-{start}-{end}"))
    assert list(of(dataset, "start")) == ["a-0.5-1", "a-0-1"]


def test_times_in_another_recording_are_no_parts(root):
    write(root, "filename,start,end,label", "a.wav,30,35,x", "b.wav,70,75,y")
    clips = read_dataset(root).clips
    assert clips["start"].null_count() == 2
    assert clips["own_start"].to_list() == [30, 70]
    with pytest.raises(DataError, match=r"audio/a\.wav(.|\n)*--start-column"):
        read_dataset(root, options=TWO)
    clips = read_dataset(root, options=CsvOptions(windows=TWO.windows, start_column="")).clips
    assert clips["id"].to_list() == ["a_2", "a_4", "b_2", "b_4", "b_6"]
    times = read_dataset(root, options=CsvOptions(start_column="start", end_column="end")).clips
    assert times["end"].to_list() == [35, 75]


@pytest.mark.parametrize("time", ["-1", "nan", "inf", "1e300", "soon", "0.5"])
def test_times_that_are_wrong_name_their_row(root, time):
    write(root, "filename,start,end,label", "a.wav,0,1,x", f"a.wav,0.5,{time},y")
    with pytest.raises(DataError, match=r"train\.csv, line 3"):
        read_dataset(root)


def test_rows_without_times_are_recordings_without_events(root):
    write(
        root,
        "filename\tonset\toffset\tevent_label",
        "a.wav\t0\t1\tx",
        "a.wav\t2\t4\ty",
        "d.wav\t\t\t",
        name="train.tsv",
    )
    (root / "train.csv").unlink()
    assert of(read_dataset(root, options=TWO), "label") == {"a_2": ["x"], "a_4": ["y"], "d_2": []}


def test_test_rows_of_strong_labels_become_the_truth(root):
    train = ("a,0,1,x,train", "a,2,3,y,train", "b,2,3,y,train", "d,0,1,x,train")
    rows = (*train, "e,0,1,y,test", "e,0.5,1,x,test", "c,,,,test")
    write(root, "recording_id,start,end,label,split", *rows)
    manifest, truth = make_manifest(read_dataset(root, options=TWO), n_folds=2)
    assert truth.rows() == [("e_2", ["y", "x"]), ("e_4", []), ("c_2", [])]
    assert manifest.filter(pl.col("split") == "test")["id"].to_list() == ["e_2", "e_4", "c_2"]
    assert summarize(manifest, {"x": 0, "y": 1}).recordings == {"train": 3, "test": 2}
    single = CsvOptions(windows=TWO.windows, label_separator="")
    _, truth = make_manifest(read_dataset(root, options=single), n_folds=2)
    assert truth.rows() == [("e_2", ["y"])]


def test_test_rows_without_any_label_have_no_truth(root):
    rows = ("a,0,1,x,train", "a,2,3,y,train", "b,2,3,y,train", "d,0,1,x,train", "e,,,,test", "c,,,,test")
    write(root, "recording_id,start,end,label,split", *rows)
    manifest, truth = make_manifest(read_dataset(root, options=TWO), n_folds=2)
    assert len(truth) == 0
    assert manifest.filter(pl.col("split") == "test")["id"].to_list() == ["e_2", "e_4", "c_2"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"min_overlap": 0.0, "windows": TWO.windows}, "--min-overlap"),
        ({"min_overlap": 0.2}, "--window"),
        ({"start_column": "begin"}, "begin"),
        ({"id_format": "{stem}"}, "--id-format"),
    ],
)
def test_options_that_are_wrong(root, options, named):
    write(root, "id,label,start,end", "a,x,0,1", "a,y,1,2")
    with pytest.raises(AkitError, match=named):
        read_dataset(root, options=CsvOptions(**options))
    with pytest.raises(UsageError, match="--window"):
        CsvOptions.asked_windows(None, 2.0, None)


def test_a_part_is_scanned_as_a_file_of_its_own(tmp_path, root):
    wave, rate = soundfile.read(root / "audio" / "b.wav", dtype="float32")
    parts = [Span(2.0001, 4.0), Span(0, 2), Span(4, 6), Span(1, 3)]
    for n, part in enumerate(parts):
        soundfile.write(tmp_path / f"{n}.wav", wave[slice(*part.samples(rate))], rate, subtype="FLOAT")
    scanned = scan_audio([root / "audio" / "b.wav"] * 5, spans=[*parts, None])
    alone = scan_audio([tmp_path / f"{n}.wav" for n in range(4)])
    columns = ["duration", "sample_rate", "channels", "peak", "rms", "problem"]
    assert scanned[:4].select(columns).equals(alone.select(columns))
    assert scanned["duration"][4] == 5
    assert scanned["content"].n_unique() == 1


def test_a_part_after_the_end_of_its_file_is_a_problem(root):
    scanned = scan_audio([root / "audio" / "d.wav"] * 2, spans=[Span(0, 2), Span(2, 4)])
    assert scanned["problem"][0] is None
    assert "2" in scanned["problem"][1]
    assert scanned["content"][1] == scanned["content"][0]


def test_rows_of_a_template_beside_folders_of_classes(tmp_path, write_clip):
    for i in range(4):
        write_clip(tmp_path / "train" / "xy"[i % 2] / f"r{i}.wav", 3)
    write_clip(tmp_path / "test" / "t.wav", 4)
    write(tmp_path, "row_id,x,y", "t_4,0,0", "t_2,0,0", name="sample_submission.csv")
    clips = read_dataset(tmp_path, options=TWO).clips
    assert clips.filter(pl.col("split") == "test").select("id", "path", "start", "end").rows() == [
        ("t_4", "test/t.wav", 2, 4),
        ("t_2", "test/t.wav", 0, 2),
    ]
    assert clips["id"].to_list()[:2] == ["r0_2", "r0_4"]
