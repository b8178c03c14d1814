"""What contradicts one folder a class stops the reading, and names the options that would read it."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from acoustic_kit.data import CsvOptions, make_manifest, read_dataset
from acoustic_kit.data.layouts.contradictions import folder_contradictions
from acoustic_kit.errors import AkitError, UsageError


@pytest.fixture
def lay_out_clips(tmp_path, write_clip):
    """A function that writes clips, and tables as lines."""

    def make(*clips, **tables):
        for clip in clips:
            write_clip(tmp_path / clip)
        for name, lines in tables.items():
            (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
        return tmp_path

    return make


def stopped(root, *said, options=CsvOptions()):  # noqa: B008
    with pytest.raises(AkitError) as raised:
        read_dataset(root, options=options)
    for part in (*said, "--layout folder"):
        assert part in str(raised.value)


@pytest.mark.parametrize(
    "names",
    [
        ["fold1", "fold2", "fold10"],
        ["Fold_1", "Fold_2"],
        ["dog", "fold3"],
        ["part1", "part2"],
        ["train_curated", "train_noisy", "test"],
        ["train_audio", "unlabeled_soundscapes"],
        ["dog", "cat", "test"],
        ["dog", "cat", "validation"],
        ["audio_train", "audio_test", "docs"],
    ],
)
def test_folders_called_like_splits_or_folds(names):
    assert "named like" in folder_contradictions(names)


def test_no_option_is_named_that_would_not_read_it(lay_out_clips):
    root = lay_out_clips("fold1/dog/a.wav", "fold2/dog/b.wav", "fold2/cat/c.wav")
    stopped(root, "fold1", f"--data {root / 'fold1'}", "--train-csv FILE")


@pytest.mark.parametrize(
    "names",
    [
        ["airplane", "helicopter", "train"],
        ["train_horn", "train_whistle", "car"],
        ["1", "2", "3"],
        ["contest", "valley", "device"],
        ["party", "batch"],
        ["part 1", "whole"],
    ],
)
def test_classes(names):
    assert folder_contradictions(names) == ""


def test_folds_are_no_classes(lay_out_clips):
    root = lay_out_clips("fold1/a.wav", "fold2/b.wav")
    stopped(root, "fold1", "fold2")
    assert read_dataset(root, "folder").classes == {"fold1": 0, "fold2": 1}


def test_a_table_that_names_the_clips(lay_out_clips):
    root = lay_out_clips("one/a.wav", "two/b.wav", clips=["file,animal", "a.wav,owl", "b.wav,frog"])
    stopped(root, "clips.csv", "--train-csv clips.csv")
    dataset = read_dataset(root, options=CsvOptions(train_csv="clips.csv", label_column="animal"))
    assert dataset.layout == "csv"
    assert dataset.classes == {"frog": 0, "owl": 1}


def test_a_table_that_says_what_the_folders_say_is_only_noted(lay_out_clips):
    rows = ["file,genre,mean", "a.wav,one,0.5", "b.wav,two,0.5"]
    dataset = read_dataset(lay_out_clips("one/a.wav", "two/b.wav", features=rows))
    assert dataset.classes == {"one": 0, "two": 1}
    assert "features.csv" in dataset.notes[0]


def test_a_table_with_folds_is_not_passed_over(lay_out_clips):
    rows = ["file,genre,fold", "a.wav,one,1", "b.wav,two,2"]
    stopped(lay_out_clips("one/a.wav", "two/b.wav", meta=rows), "--train-csv meta.csv")


def test_a_column_of_numbers_names_no_clips(lay_out_clips):
    rows = ["count,site", *(["1,north", "2,south"] * 5)]
    assert len(read_dataset(lay_out_clips("one/1.wav", "two/2.wav", sites=rows)).classes) == 2


def test_a_template_that_names_the_clips_of_folders(lay_out_clips):
    root = lay_out_clips("dog/a.wav", "cat/b.wav", "new/c.wav", "new/d.wav", sample_submission=["id,l", "c,x", "d,x"])
    stopped(root, "sample_submission.csv")
    dataset = read_dataset(root, options=CsvOptions(test_dir="new"))
    assert dataset.classes == {"cat": 0, "dog": 1}
    assert dataset.clips.filter(dataset.clips["split"] == "test").select("id", "path").rows() == [
        ("c", "new/c.wav"),
        ("d", "new/d.wav"),
    ]


def test_lists_of_splits_lead_to_the_folder_that_has_a_layout(tmp_path, lay_out, write_clip):
    (tmp_path / "train").mkdir()
    root = lay_out("speechcommands")
    for path in [path for path in root.iterdir() if path.name != "train"]:
        path.rename(root / "train" / path.name)
    write_clip(root / "test" / "audio" / "x.wav")
    stopped(root, f"--data {root / 'train'}", "speechcommands", "testing_list.txt")
    inner = root / "train" / "audio"
    inner.mkdir()
    for path in [path for path in (root / "train").iterdir() if path.is_dir() and path != inner]:
        path.rename(inner / path.name)
    dataset = read_dataset(root / "train")
    assert set(dataset.classes) == {"yes", "no", "up"}
    assert dataset.clips["path"].str.starts_with("audio/").all()
    assert "_background_noise_" not in read_dataset(inner).classes


def test_validation_and_test_folders_are_the_official_split(lay_out_clips):
    clips = [f"Train/{c}/{i}.wav" for c in ("dog", "cat") for i in range(2)]
    dataset = read_dataset(lay_out_clips(*clips, "Valid/dog/5.wav", "Valid/cat/5.wav", "Test/cat/9.wav"))
    assert dataset.classes == {"cat": 0, "dog": 1}
    assert dataset.official_folds
    manifest, truth = make_manifest(dataset)
    folds = dict(manifest.select("id", "fold").iter_rows())
    assert [folds[id] for id in ("Train/dog/0.wav", "Valid/dog/5.wav", "Test/cat/9.wav")] == [1, 2, None]
    assert truth.rows() == [("Test/cat/9.wav", ["cat"])]


def test_a_data_set_one_folder_too_high_is_found(tmp_path, lay_out):
    (tmp_path / "up").mkdir()
    root = lay_out("urbansound8k")
    for path in [path for path in root.iterdir() if path.name != "up"]:
        path.rename(root / "up" / path.name)
    dataset = read_dataset(root)
    assert (dataset.layout, dataset.root) == ("urbansound8k", root / "up")
    assert "up/" in dataset.notes[0]


def test_urbansound8k_as_mirrored(lay_out):
    root = lay_out("urbansound8k")
    (root / "metadata" / "UrbanSound8K.csv").rename(root / "UrbanSound8K.csv")
    for fold in (root / "audio").iterdir():
        fold.rename(root / fold.name)
    (root / "audio").rmdir()
    dataset = read_dataset(root)
    assert dataset.layout == "urbansound8k"
    assert set(dataset.clips["fold"]) == set(range(1, 11))


def test_group_pattern(lay_out_clips):
    root = lay_out_clips("dog/s1_a.wav", "dog/s2_b.wav", "cat/s1_c.wav", "cat/other.wav")
    dataset = read_dataset(root, options=CsvOptions(group_pattern=r"/(s\d)_"))
    assert dict(dataset.clips.select("id", "group").iter_rows()) == {
        "dog/s1_a.wav": "s1",
        "dog/s2_b.wav": "s2",
        "cat/s1_c.wav": "s1",
        "cat/other.wav": None,
    }
    with pytest.raises(UsageError, match=r"--group-pattern '\('"):
        read_dataset(root, options=CsvOptions(group_pattern="("))
    with pytest.raises(AkitError, match="matches no path"):
        read_dataset(root, options=CsvOptions(group_pattern="speaker"))
    with pytest.raises(UsageError, match="--group-pattern"):
        read_dataset(root, options=CsvOptions(group_column="speaker"))


def test_where_chooses_labeled_clips_by_a_column(lay_out):
    root = lay_out("esc50")
    dataset = read_dataset(root, options=CsvOptions(where=("label=cow", "label=Rain", "take=A")))
    assert dataset.classes == {"cow": 3, "rain": 10}
    assert set(dataset.clips["take"]) == {"A"}
    with pytest.raises(AkitError, match="take=z"):
        read_dataset(root, options=CsvOptions(where=("take=Z",)))
    with pytest.raises(AkitError, match="no column 'x'"):
        read_dataset(root, options=CsvOptions(where=("x=1",)))
    with pytest.raises(UsageError, match="--where 'take'"):
        read_dataset(root, options=CsvOptions(where=("take",)))


def test_where_takes_any_of_several_labels(lay_out):
    root = lay_out("audioset")
    dataset = read_dataset(root, options=CsvOptions(where=("label=dog",)))
    labels = dataset.clips["label"].to_list()
    assert labels
    assert all("Dog" in clip for clip in labels)


def test_loose_clips_are_told_of(lay_out_clips):
    root = lay_out_clips("a.wav", "b.wav")
    with pytest.raises(AkitError, match="folder"):
        read_dataset(root)
    (root / "labels.csv").write_text("name,label\na,x\nb,y\n")
    with pytest.raises(AkitError, match=r"--train-csv labels\.csv"):
        read_dataset(root)
    for label in ("x", "y"):
        (root / label).mkdir()
        (root / "a.wav").replace(root / label / "a.wav") if label == "x" else shutil.copy(root / "b.wav", root / "y")
    (root / "labels.csv").unlink()
    assert any("1 audio files outside" in note for note in read_dataset(root).notes)


def test_submissions_inside_the_data_set_are_no_evidence(lay_out_clips):
    root = lay_out_clips("dog/a.wav", "cat/b.wav")
    (root / "work" / "submissions").mkdir(parents=True)
    (root / "work" / "akit.toml").touch()
    (root / "work" / "submissions" / "first.csv").write_text("id,label\na,1\nb,2\n")
    assert read_dataset(root, options=CsvOptions()).classes == {"cat": 0, "dog": 1}


def test_a_folder_of_tests_without_audio_or_with_all_of_it(lay_out_clips):
    root = lay_out_clips("clips/dog/a.wav", "clips/cat/b.wav")
    (root / "empty").mkdir()
    with pytest.raises(UsageError, match="--test-dir empty"):
        read_dataset(root, options=CsvOptions(test_dir="empty"))
    with pytest.raises(AkitError, match="no training clips"):
        read_dataset(root, options=CsvOptions(test_dir="clips"))


@pytest.mark.parametrize("name", ["esc50", "urbansound8k"])
def test_missing_clips_may_be_skipped(lay_out, name):
    root = lay_out(name)
    gone = sorted(root.rglob("*.wav"))[0]
    gone.unlink()
    with pytest.raises(AkitError, match=gone.name):
        read_dataset(root)
    dataset = read_dataset(root, options=CsvOptions(skip_missing=True))
    assert gone.name not in dataset.clips["id"]
    assert any(gone.name in note and "1 of" in note for note in dataset.notes)


FOLDERS = [
    "train",
    "Test",
    "valid",
    "dog",
    "cat",
    "fold1",
    "fold2",
    "audio",
    "lost+found",
    "_background_noise_",
    "meta",
]
FILES = ["a.wav", "b.WAV", "._a.wav", "train.csv", "esc50.csv", "UrbanSound8K.csv", "sample_submission.csv"]
FILES += ["validation_list.txt", "testing_list.txt", "noext", "Thumbs.db"]
TEXT = "fname,label\na.wav,dog\nb.WAV,cat\n"


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.lists(st.sampled_from(FOLDERS), max_size=3), st.sampled_from(FILES)), min_size=1, max_size=9),
    st.sampled_from([CsvOptions(), CsvOptions(test_dir="Test"), CsvOptions(skip_missing=True, where=("label=dog",))]),
)
@example([(["_background_noise_", "dog"], "a.wav")], CsvOptions())
def test_any_tree_is_read_or_refused(files, options):
    with tempfile.TemporaryDirectory() as name:
        for folders, file in files:
            path = Path(name, *folders, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(TEXT)
        try:
            dataset = read_dataset(Path(name), options=options)
        except AkitError:
            return
    assert dataset.clips["id"].is_unique().all()
    assert not {"lost+found", "_background_noise_", "fold1"} & dataset.classes.keys()
