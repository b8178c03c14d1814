"""Small clips and tables, and a generated data set of every layout, made of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from acoustic_kit.data import Dataset, read_dataset

WriteClip = Callable[..., None]
WriteTable = Callable[[Path, Sequence[Sequence[object]]], None]


@pytest.fixture(scope="session")
def write_clip() -> WriteClip:
    """A function that writes one clip of noise; no two of them are equal."""
    rng = np.random.default_rng(0)

    def write(path: Path, seconds: float = 0.2, sample_rate: int = 8000, peak: float = 0.5) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        wave = rng.uniform(-1, 1, round(seconds * sample_rate))
        wave[0] = 1.0
        soundfile.write(path, peak * wave, sample_rate)

    return write


@pytest.fixture(scope="session")
def write_table() -> WriteTable:
    """A function that writes rows, the first of them the header, as CSV or, by the name, as TSV."""

    def write(path: Path, rows: Sequence[Sequence[object]]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        separator = "\t" if path.suffix == ".tsv" else ","
        path.write_text("".join(separator.join(map(str, row)) + "\n" for row in rows), "utf-8")

    return write


FNAME_TEST = [f"{clip}.wav" for clip in range(100, 106)]
# fmt: off
URBAN_CLASSES = (
    "air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling", "engine_idling", "gun_shot",
    "jackhammer", "siren", "street_music",
)
# fmt: on


def esc50_tree(root, write_clip, write_table):
    rows = [["filename", "fold", "target", "category", "esc10", "src_file", "take"]]
    for clip in range(30):
        target, source = (10, 3, 21)[clip % 3], clip // 2
        name = f"{source % 5 + 1}-{source}-{'AB'[clip % 2]}-{target}.wav"
        write_clip(root / "audio" / name)
        category = {10: "rain", 3: "cow", 21: "sneezing"}[target]
        rows.append([name, source % 5 + 1, target, category, True, source, "AB"[clip % 2]])
    write_table(root / "meta" / "esc50.csv", rows)


def fname_tree(train_folder, test_folder, *own):
    """As Freesound's competitions: ids with extension, one label a clip, a sample submission with placeholders."""

    def make(root, write_clip, write_table):
        labels = ["Cello", "Bark", "Applause"]
        rows = [["fname", "label", *own]]
        for clip in range(30):
            write_clip(root / train_folder / f"{clip:03d}.wav")
            rows.append([f"{clip:03d}.wav", labels[clip % 3], *(clip % 2 for _ in own)])
        for name in FNAME_TEST:
            write_clip(root / test_folder / name)
        write_table(root / "train.csv", rows)
        placeholders = [[name, "Cello Bark Applause"] for name in FNAME_TEST]
        write_table(root / "sample_submission.csv", [["fname", "label"], *placeholders])

    return make


def multi_label_tree(root, write_clip, write_table):
    """As FSDKaggle2019: ids without extension, several labels a clip, `test.csv` and a column of folds."""
    labels = ["Bark;Run", "Run", "Bark", "Run;Meow", "Meow"]
    train = [["ID", "tags", "fold"]]
    for clip in range(30):
        write_clip(root / "clips" / f"c{clip}.flac")
        train.append([f"c{clip}", labels[clip % 5], clip % 3])
    test = [["ID", "length"]]
    for clip in range(5):
        write_clip(root / "clips" / f"t{clip}.flac")
        test.append([f"t{clip}", 0.2])
    write_table(root / "train.csv", train)
    write_table(root / "test.csv", test)


def numbered_tree(root, write_clip, write_table):
    """Clips numbered from 0 in train/ and in test/, integer classes, an audio column, speakers, TSV."""
    train = [["id", "path", "class", "speaker", "age"]]
    for clip in range(30):
        write_clip(root / "train" / f"part{clip % 2}" / f"{clip}.wav")
        train.append([clip, f"train/part{clip % 2}/{clip}.wav", (2, 10)[clip % 2], f"s{clip // 3}", 20 + clip])
    for clip in range(4):
        write_clip(root / "test" / f"{clip}.wav")
    write_table(root / "train.tsv", train)
    write_table(root / "sample_submission.csv", [["id", "2", "10"], *([clip, 0.5, 0.5] for clip in range(4))])


def folder_tree(root, write_clip, _write_table):
    for clip in range(24):
        label = ("one", "two", "three")[clip % 3]
        write_clip(root / label / ("night" if clip % 2 else ".") / f"{clip}.wav")
    (root / "README.md").write_text("about")
    (root / "one" / "labels.txt").write_text("no clip")
    (root / "one" / ".hidden.wav").write_text("no clip")


def split_folders_tree(root, write_clip, write_table):
    for clip in range(24):
        write_clip(root / "data" / "train" / str(8 + clip % 3) / f"{clip}.wav")
    for clip in range(5):
        write_clip(root / "data" / "test" / f"{clip}.wav")
    write_table(root / "sample_submission.csv", [["fname", "label"], *([f"{clip}.wav", 8] for clip in (4, 3, 2, 1, 0))])


def urbansound8k_tree(root, write_clip, write_table):
    rows = [["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"]]
    for clip in range(60):
        recording, take = divmod(clip, 2)
        fold, index = recording % 10 + 1, (8, 0, 3)[recording // 10]
        name = f"{1000 + recording}-{index}-0-{take}.wav"
        write_clip(root / "audio" / f"fold{fold}" / name)
        start = 0.5 * take
        rows.append([name, 1000 + recording, start, start + 0.2, 1 + take, fold, index, URBAN_CLASSES[index]])
    write_table(root / "metadata" / "UrbanSound8K.csv", rows)


def urban_competition_tree(root, write_clip, write_table):
    """The course competition over UrbanSound8K: classes by number only, test clips with ids of their own."""
    train, test = [["slice_file_name", "fold", "classID", "salience"]], [["ID", "slice_file_name", "salience"]]
    for clip in range(80):
        fold, index = clip % 8 + 1, clip // 8
        name = f"{2000 + clip}-{index}-0-0.wav"
        write_clip(root / "audio" / f"fold{fold}" / name)
        train.append([name, fold, index, 1 + clip % 2])
    for clip in range(4):
        write_clip(root / "audio" / "test" / f"{3000 + clip}-0-0-0.wav")
        test.append([clip, f"{3000 + clip}-0-0-0.wav", 1])
    write_table(root / "metadata" / "kaggle_train.csv", train)
    write_table(root / "metadata" / "kaggle_test.csv", test)
    write_table(root / "sample_submission.csv", [["ID", "Target"], *([clip, 0] for clip in range(4))])


def speechcommands_tree(root, write_clip, _write_table):
    """Twelve speakers: eight train, two validate, two are tested."""
    for word in ("yes", "no", "up"):
        for speaker in range(12):
            write_clip(root / word / f"{speaker:08x}_nohash_0.wav")
    for name, speakers in (("validation", (8, 9)), ("testing", (10, 11))):
        files = [f"{word}/{speaker:08x}_nohash_0.wav\n" for word in ("yes", "no", "up") for speaker in speakers]
        (root / f"{name}_list.txt").write_text("".join(files))
    write_clip(root / "_background_noise_" / "pink_noise.wav")
    (root / "_background_noise_" / "README.md").write_text("about")


def audioset_tree(root, write_clip, _write_table):
    """Segments of which the last one or two were gone from YouTube."""
    labels = ["/m/09x0r", "/m/05zppz,/m/09x0r", "/m/0bt9lr,/m/09x0r"]
    names = '0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man speaking"\n74,/m/0bt9lr,"Dog"\n'
    (root / "class_labels_indices.csv").write_text("index,mid,display_name\n" + names)
    for subset, mark, n, gone, name in (
        ("balanced_train", "-", 15, 2, "balanced/{}.flac"),
        ("unbalanced_train", "Y", 15, 0, "unbalanced/part0/Y{}.wav"),
        ("eval", "_", 4, 1, "eval/{}_30.000_40.000.wav"),
    ):
        rows = ["# Segments csv created Sun Mar  5 10:54:00 2017", f"# num_ytids={n + gone}, num_segs={n + gone}"]
        rows.append("# YTID, start_seconds, end_seconds, positive_labels")
        for clip in range(n + gone):
            rows.append(f'{mark}{clip:010d}, 30.000, 40.000, "{labels[clip % 3]}"')
            if clip < n:
                write_clip(root / name.format(f"{mark}{clip:010d}"))
        (root / f"{subset}_segments.csv").write_text("\n".join(rows) + "\n")


def youtube_tree(root, write_clip, write_table):
    """Two tables with labels, of which some clips were gone from YouTube."""
    labels = ["Siren", "Heavy engine (low frequency)", "Speech"]
    for split, n, gone in (("train", 24, 3), ("eval", 5, 1)):
        rows = [["YTID", "label"]]
        for clip in range(n + gone):
            rows.append([f"{split[0]}{clip:010d}", labels[clip % 3]])
            if clip >= gone:
                write_clip(root / "clips" / f"{split[0]}{clip:010d}.flac")
        write_table(root / f"{split}.tsv", rows)


def class_columns_tree(root, write_clip, write_table):
    """One column per class with probabilities, as in the template; an unknown target, and a clip of no class."""
    header = ["id", "rain", "wind", "snow"]
    kinds = [(1, 0.7, 0), (0, 1, 0.25), ("", 0, 1), (0, 0, 0)]
    rows = [[f"c{clip}", *kinds[clip % 4]] for clip in range(24)]
    for id in [*(row[0] for row in rows), "t0", "t1"]:
        write_clip(root / "audio" / f"{id}.wav")
    write_table(root / "train.csv", [header, *rows])
    write_table(root / "sample_submission.csv", [header, ["t1", 0, 0, 0], ["t0", 0, 0, 0]])


def freesound2019_tree(root, write_clip, write_table):
    names = ["Bark", "Fill_(with_liquid)", "Male_speech"]
    curated, noisy = [["fname", "labels"]], [["fname", "labels"]]
    for clip in range(30):
        labels = names[clip % 3] if clip % 2 else f'"{names[clip % 3]},{names[(clip + 1) % 3]}"'
        for table, folder, every in ((curated, "train_curated", 1), (noisy, "train_noisy", 3)):
            if clip % every == 0:
                write_clip(root / folder / f"{folder[6]}{clip}.wav")
                table.append([f"{folder[6]}{clip}.wav", labels])
    for name in FNAME_TEST:
        write_clip(root / "test" / name)
    write_table(root / "train_curated.csv", curated)
    write_table(root / "train_noisy.csv", noisy)
    write_table(root / "sample_submission.csv", [["fname", *names], *([name, 0, 0, 0] for name in FNAME_TEST)])


def birdclef_tree(root, write_clip, write_table):
    """As in 2025: a taxonomy, unlabeled soundscapes, and test soundscapes of which each has one row."""
    kinds = ["wren", "1139490", "abethr1"]
    rows = [["primary_label", "secondary_labels", "type", "filename", "author"]]
    for clip in range(30):
        kind, other = kinds[clip % 3], kinds[(clip + 1) % 3]
        write_clip(root / "train_audio" / kind / f"XC{clip}.flac")
        rows.append(
            [kind, f"\"['{other}', 'egret']\"" if clip % 2 else "['']", "['song']", f"{kind}/XC{clip}.flac", clip]
        )
    write_table(root / "train_metadata.csv", rows)
    write_table(root / "taxonomy.csv", [["primary_label", "class_name"], *([kind, "Aves"] for kind in kinds)])
    for n in range(3):
        write_clip(root / "train_soundscapes" / f"H{n}.flac")
        write_clip(root / "test_soundscapes" / f"soundscape_{n}.flac")
    ids = [f"soundscape_{n}_5" for n in (2, 0, 1)]
    write_table(root / "sample_submission.csv", [["row_id", *sorted(kinds)], *([id, 0, 0, 0] for id in ids)])


@dataclass(frozen=True)
class Tree:
    """A generated data set, and what reading it must give."""

    make: Callable
    layout: str
    classes: dict[str, int]
    n_train: int
    test_ids: list[str] = field(default_factory=list)
    task: str = "single"
    folds: dict[int, int] | None = None  # official fold → clips
    own_columns: tuple[str, ...] = ()
    grouped: bool = False
    truth: tuple[str, ...] = ()  # the label, or labels with + between, of each test clip, where they are known
    notes: tuple[str, ...] = ()
    n_extra: int = 0
    metric: str = "f1"
    root: Path = Path()

    def read(self) -> Dataset:
        return read_dataset(self.root)


TREES = {
    "esc50": Tree(
        esc50_tree,
        "esc50",
        {"cow": 3, "rain": 10, "sneezing": 21},
        n_train=30,
        folds=dict.fromkeys(range(1, 6), 6),
        own_columns=("esc10", "take"),
        grouped=True,
    ),
    "freesound": Tree(
        fname_tree("train_audio", "test_audio", "license"),
        "csv",
        {"Applause": 0, "Bark": 1, "Cello": 2},
        n_train=30,
        test_ids=FNAME_TEST,
        own_columns=("license",),
        notes=(
            "train.csv: id from 'fname', label from 'label'",
            "sample_submission.csv: its test clips and the form of submissions",
        ),
    ),
    "multi-label": Tree(
        multi_label_tree,
        "csv",
        {"Bark": 0, "Meow": 1, "Run": 2},
        n_train=30,
        test_ids=[f"t{clip}" for clip in range(5)],
        task="multi",
        folds=dict.fromkeys(range(3), 10),
        own_columns=("length",),
        notes=(
            "train.csv: id from 'ID', label from 'tags', fold from 'fold'",
            "train.csv: several labels per clip, separated by ';' in 'tags' "
            '(--label-separator "" if each cell is one label)',
        ),
    ),
    "numbered": Tree(
        numbered_tree,
        "csv",
        {"2": 2, "10": 10},
        n_train=30,
        test_ids=["0", "1", "2", "3"],
        own_columns=("age",),
        grouped=True,
        notes=(
            "train.tsv: id from 'id', label from 'class', audio from 'path', group from 'speaker'",
            "sample_submission.csv: its test clips and the form of submissions",
        ),
    ),
    "folder": Tree(
        folder_tree,
        "folder",
        {"one": 0, "three": 1, "two": 2},
        n_train=24,
        notes=("each sub-folder is a class: one, three, two",),
    ),
    "split folders": Tree(
        split_folders_tree,
        "folder",
        {"8": 8, "9": 9, "10": 10},
        n_train=24,
        test_ids=["4.wav", "3.wav", "2.wav", "1.wav", "0.wav"],
        notes=(
            "each sub-folder is a class: 8, 9, 10",
            "the clips of data/test/ are the test set, unlabeled",
        ),
    ),
    "urbansound8k": Tree(
        urbansound8k_tree,
        "urbansound8k",
        {"air_conditioner": 0, "dog_bark": 3, "siren": 8},
        n_train=60,
        folds=dict.fromkeys(range(1, 11), 6),
        own_columns=("own_start", "own_end", "salience"),
        grouped=True,
    ),
    "urban competition": Tree(
        urban_competition_tree,
        "urbansound8k",
        {name: index for index, name in enumerate(URBAN_CLASSES)},
        n_train=80,
        test_ids=["0", "1", "2", "3"],
        folds=dict.fromkeys(range(1, 9), 10),
        own_columns=("salience",),
        grouped=True,
    ),
    "fsdkaggle2018": Tree(
        fname_tree("audio_train", "audio_test", "manually_verified"),
        "fsdkaggle2018",
        {"Applause": 0, "Bark": 1, "Cello": 2},
        n_train=30,
        test_ids=FNAME_TEST,
        folds=dict.fromkeys(range(1, 11), 3),
        own_columns=("manually_verified",),
    ),
    "itmo2025": Tree(
        fname_tree("audio_train/train", "audio_test/test"),
        "itmo2025",
        {"Cello": 0, "Bark": 1, "Applause": 2},
        n_train=30,
        test_ids=FNAME_TEST,
    ),
    "class columns": Tree(
        class_columns_tree,
        "csv",
        {"rain": 0, "snow": 1, "wind": 2},
        n_train=24,
        test_ids=["t1", "t0"],
        task="multi",
        notes=(
            "train.csv: id from 'id'",
            "train.csv: 3 columns are classes ('rain', 'wind', 'snow', …), with probabilities for several classes a"
            " clip; empty cells and -1 are unknown (--label-column 'A,B' or 'A*' for others)",
            "sample_submission.csv: its test clips and the form of submissions",
        ),
    ),
    "freesound2019": Tree(
        freesound2019_tree,
        "freesound2019",
        {"Bark": 0, "Fill_(with_liquid)": 1, "Male_speech": 2},
        n_train=30,
        test_ids=FNAME_TEST,
        task="multi",
        n_extra=10,
        metric="lwlrap",
        notes=(
            "train_noisy.csv: its 10 clips are extra, unlike those of train_curated.csv: trained on, never validated",
        ),
    ),
    "speechcommands": Tree(
        speechcommands_tree,
        "speechcommands",
        {"no": 0, "up": 1, "yes": 2},
        n_train=30,
        test_ids=[f"{word}/0000000{speaker}_nohash_0.wav" for word in ("no", "up", "yes") for speaker in "ab"],
        folds={1: 24, 2: 6},
        grouped=True,
        truth=("no", "no", "up", "up", "yes", "yes"),
        notes=("_background_noise_/ is left out: noise to mix in, not clips",),
    ),
    "audioset": Tree(
        audioset_tree,
        "audioset",
        {"Speech": 0, "Male speech, man speaking": 1, "Dog": 74},
        n_train=30,
        test_ids=[f"_{clip:010d}" for clip in range(4)],
        task="multi",
        own_columns=("own_start", "own_end", "subset"),
        truth=("Speech", "Male speech, man speaking+Speech", "Dog+Speech", "Speech"),
        notes=(
            "balanced_train_segments.csv: 2 of 17 clips are not on disk and left out (-0000000015, -0000000016)",
            "eval_segments.csv: 1 of 5 clips are not on disk and left out (_0000000004)",
        ),
    ),
    "birdclef": Tree(
        birdclef_tree,
        "birdclef",
        {"wren": 0, "1139490": 1, "abethr1": 2},
        n_train=30,
        test_ids=["soundscape_2_5", "soundscape_0_5", "soundscape_1_5"],
        task="multi",
        own_columns=("type", "author"),
        metric="roc_auc",
        notes=(
            "the classes are those of taxonomy.csv",
            "3 unlabeled recordings of train_soundscapes/ are left out",
            "secondary labels of 15 clips, in 'secondary_labels', are labels; 1 of their names "
            "are not classes and left out",
        ),
    ),
    "youtube": Tree(
        youtube_tree,
        "csv",
        {"Heavy engine (low frequency)": 0, "Siren": 1, "Speech": 2},
        n_train=24,
        test_ids=[f"e{clip:010d}" for clip in range(1, 6)],
        truth=("Heavy engine (low frequency)", "Speech", "Siren", "Heavy engine (low frequency)", "Speech"),
        notes=(
            "train.tsv: id from 'YTID', label from 'label'",
            "train.tsv: 3 of 27 clips are not on disk and left out (t0000000000, t0000000001, t0000000002)",
            "eval.tsv: 1 of 6 clips are not on disk and left out (e0000000000)",
        ),
    ),
}


@pytest.fixture(scope="session")
def trees() -> dict[str, Tree]:
    """Every generated data set, not laid out yet."""
    return TREES


@pytest.fixture(scope="module", params=TREES)
def tree(request, tmp_path_factory, write_clip, write_table):
    found = replace(TREES[request.param], root=tmp_path_factory.mktemp("data"))
    found.make(found.root, write_clip, write_table)
    return found


@pytest.fixture
def lay_out(tmp_path, write_clip, write_table) -> Callable[[str], Path]:
    """A function that lays out one of the trees in `tmp_path`, to be tampered with."""

    def make(name: str) -> Path:
        TREES[name].make(tmp_path, write_clip, write_table)
        return tmp_path

    return make
