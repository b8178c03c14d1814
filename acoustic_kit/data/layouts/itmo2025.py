"""ITMO Acoustic Event Detection 2025 (Kaggle): `train.csv`, `sample_submission.csv`, and two folders of WAV files.

https://www.kaggle.com/competitions/itmo-acoustic-event-detectin-2025. The clips are in `audio_train/train/` and
`audio_test/test/`. There are no official folds, recordings or speakers.

The winner's scripts write pickles of spectrograms and labels: dictionaries in `train.pkl`, `test.pkl` and `subm.pkl`, a
list of names in `unique_labels.pkl`. They are not loaded, as a pickle can execute code, and contain no sound.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from acoustic_kit.data.dataset import CsvOptions, Dataset
from acoustic_kit.data.label_tables import header_names
from acoustic_kit.data.layouts.fname_tables import read_fname_tables
from acoustic_kit.errors import DataError

LOOKS_FOR = "train.csv with fname and label, audio_train/train/ and audio_test/test/"
PICKLES = ("train.pkl", "test.pkl", "subm.pkl", "unique_labels.pkl")


def found(root: Path) -> bool:
    """Return whether `root` has this layout, or only its pickles, which `read` explains."""
    return _is_whole(root) or (bool(_pickles(root)) and not any(_is_data(path) for path in root.iterdir()))


def _is_whole(root: Path) -> bool:
    has_folders = (root / "audio_train" / "train").is_dir() and (root / "audio_test" / "test").is_dir()
    return has_folders and {"fname", "label"} <= header_names(root / "train.csv")


def read(root: Path, _options: CsvOptions) -> Dataset:
    """Read the tables. The id is `fname`; classes are in order of their first row in `train.csv`. Raises DataError."""
    if not _is_whole(root):
        pickles = _pickles(root)
        raise DataError(_about(pickles) if pickles else f"{root} is not ITMO 2025: it lacks {LOOKS_FOR}.")
    clips, template, notes = read_fname_tables(root, "audio_train/train", "audio_test/test")
    in_order = clips["label"].list.first().drop_nulls().unique(maintain_order=True)
    return Dataset(
        layout="itmo2025",
        root=root,
        clips=clips,
        classes={label: index for index, label in enumerate(in_order)},
        task="single",
        template=template,
        notes=notes,
    )


def _pickles(root: Path) -> list[Path]:
    return [root / name for name in PICKLES if (root / name).is_file()]


def _is_data(path: Path) -> bool:
    """Return whether another layout may read a file or folder."""
    return path.is_dir() or path.suffix.lower() in {".csv", ".tsv"}


def _about(pickles: list[Path]) -> str:
    """Return the message for a folder that contains pickles instead of clips."""
    names = ", ".join(path.name for path in pickles)
    said = (
        f"{pickles[0].parent} contains only {names}. akit loads no pickles, as they can execute code; these "
        "contain spectrograms and labels. Download the competition's train.csv, sample_submission.csv, "
        "audio_train/ and audio_test/."
    )
    of_clips = [path for path in pickles if path.name != "unique_labels.pkl"]
    if not of_clips:
        return said
    program = (
        "import pickle, sys, numpy; path = sys.argv[1]; held = pickle.load(open(path, 'rb')); "
        "numpy.save(path + '.npy', held['spectr']); numpy.savetxt(path + '.csv', held['labels'], '%d')"
    )
    command = f'python -c "{program}" {shlex.quote(str(of_clips[0]))}'
    return f"{said}\nIf you trust one, this command converts it to a .npy and a .csv beside it:\n{command}"
