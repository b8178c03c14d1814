"""FSDKaggle2018 as the competition distributes it: `train.csv`, `sample_submission.csv`, `audio_train/`, `audio_test/`.

E. Fonseca et al., "General-purpose Tagging of Freesound Audio with AudioSet Labels: Task Description, Dataset, and
Baseline", DCASE 2018, https://www.kaggle.com/c/freesound-audio-tagging. The ten folds are those of its 8th place
(https://github.com/sainathadapa/kaggle-freesound-audio-tagging): `StratifiedKFold(10)`, shuffled with seed 20180629,
over the rows of `train.csv` in their order. They count as official. scikit-learn 0.22 changed the algorithm; the folds
are those of the installed version.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.data.dataset import CsvOptions, Dataset, class_order
from acoustic_kit.data.label_tables import header_names
from acoustic_kit.data.layouts.fname_tables import read_fname_tables
from acoustic_kit.errors import DataError

if TYPE_CHECKING:
    import polars as pl

LOOKS_FOR = "train.csv with fname, label and manually_verified, audio_train/ and audio_test/"
EMPTY_FILES = ("0b0427e2.wav", "6ea0099f.wav", "b39975f5.wav")  # test clips without sound; the submission lists them
N_FOLDS = 10
FOLD_SEED = 20180629


def found(root: Path) -> bool:
    """Return whether `root` has this layout."""
    columns = header_names(root / "train.csv")
    has_folders = (root / "audio_train").is_dir() and (root / "audio_test").is_dir()
    return has_folders and {"fname", "label", "manually_verified"} <= columns


def read(root: Path, _options: CsvOptions) -> Dataset:
    """Read the tables and draw the folds, 1 to 10. The id is `fname`; classes are in alphabetical order.

    The three test files without sound stay in the data set, even if they were deleted: the manifest records their
    problem, and the submission needs their rows. Raises DataError.
    """
    if not found(root):
        raise DataError(f"{root} is not FSDKaggle2018: it lacks {LOOKS_FOR}.")
    clips, template, notes = read_fname_tables(root, "audio_train", "audio_test", may_lack=EMPTY_FILES)
    labels = clips.filter(clips["split"] == "train")["label"].list.first().to_list()
    empty = [name for name in EMPTY_FILES if name in clips["id"]]
    return Dataset(
        layout="fsdkaggle2018",
        root=root,
        clips=_with_folds(clips, labels, root),
        classes=class_order(labels),
        task="single",
        official_folds=True,
        template=template,
        notes=(
            *notes,
            *([f"test clips known to contain no sound, kept for the submission: {', '.join(empty)}"] * bool(empty)),
        ),
    )


def _with_folds(clips: pl.DataFrame, labels: list[str], root: Path) -> pl.DataFrame:
    """Return the clips with fold k for the validation part of the k-th split; training clips come first."""
    import numpy as np
    import polars as pl
    from sklearn.model_selection import StratifiedKFold

    if max(map(labels.count, set(labels))) < N_FOLDS:
        raise DataError(f"{root} has no class with {N_FOLDS} training clips, too few for its folds; use --layout csv.")
    fold = np.zeros(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer clips than folds; the summary names it
        splits = StratifiedKFold(N_FOLDS, shuffle=True, random_state=FOLD_SEED).split(labels, labels)
        for number, (_, valid) in enumerate(splits, start=1):
            fold[valid] = number
    return clips.with_columns(fold=pl.Series([*fold.tolist(), *[None] * (len(clips) - len(fold))], dtype=pl.Int64))
