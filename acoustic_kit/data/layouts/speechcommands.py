"""Speech Commands (V2): one folder per word, `validation_list.txt` and `testing_list.txt`.

P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", 2018, arXiv:1804.03209. The official
lists become:

- fold 1: the clips in neither list, the training set;
- fold 2: the validation list. The official protocol, training on the one and validating on the other, is the model of
  fold 2: `akit recipe run NAME --folds 2`;
- test clips: the testing list. Their words are known and become the truth for `akit score`.

`--test-folds` is refused, as the test set is official. `--unofficial` draws folds over the training and validation
clips, with each speaker in one fold; the test clips stay. Files are named `<speaker>_nohash_<n>.wav`; no speaker is in
two of the official parts. `_background_noise_` contains long recordings to mix in, which are not clips.
"""

from __future__ import annotations

from pathlib import Path

from acoustic_kit.data.audio_files import audio_files
from acoustic_kit.data.audio_index import require_files
from acoustic_kit.data.dataset import CsvOptions, Dataset, class_order, make_clips
from acoustic_kit.errors import DataError

LOOKS_FOR = "validation_list.txt, testing_list.txt and sub-folders, one per word"
BACKGROUND = "_background_noise_"


def found(root: Path) -> bool:
    """Return whether `root` has this layout."""
    return all((root / name).is_file() for name in ("validation_list.txt", "testing_list.txt"))


def read(root: Path, options: CsvOptions) -> Dataset:
    """Read the folders and lists. The id is `<word>/<file>`, as in the lists; classes are alphabetical.

    The folders of words are beside the lists, or in `audio/`, as in Kaggle's competition.

    Raises DataError for a list that cannot be read, names a missing clip, or shares a clip with the other.
    """
    if not found(root):
        raise DataError(f"{root} is not Speech Commands: it lacks {LOOKS_FOR}.")
    files = audio_files(root)
    above = "" if any(path.count("/") == 1 for path in files) else "audio/"
    paths = [path.removeprefix(above) for path in files if path.startswith(above)]
    paths = [path for path in paths if path.count("/") == 1]
    clips = [path for path in paths if not path.startswith(f"{BACKGROUND}/")]
    if not clips:
        raise DataError(f"no sub-folder of {root} contains an audio file.")
    valid, test = (_read_list(root / f"{name}_list.txt", clips, options) for name in ("validation", "testing"))
    if both := sorted(valid & test):
        raise DataError(f"{root}: {both[0]} is in both lists, for validation and testing ({len(both)} in all).")
    words = [path.partition("/")[0] for path in clips]
    columns = {
        "id": clips,
        "path": [f"{above}{path}" for path in clips],
        "label": [[word] for word in words],
        "fold": [None if path in test else 2 if path in valid else 1 for path in clips],
        "group": [_speaker(path) for path in clips],
        "split": ["test" if path in test else "train" for path in clips],
    }
    return Dataset(
        layout="speechcommands",
        root=root,
        clips=make_clips(columns),
        classes=class_order(words),
        task="single",
        official_folds=True,
        notes=(f"{BACKGROUND}/ is left out: noise to mix in, not clips",) if len(clips) < len(paths) else (),
    )


def _read_list(path: Path, clips: list[str], options: CsvOptions) -> frozenset[str]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    names = [line.strip() for line in lines if line.strip()]
    known = frozenset(clips)
    if not options.skip_missing:
        require_files(path, {name: name in known for name in names})
    return known.intersection(names)


def _speaker(path: str) -> str | None:
    """Return the hash before `_nohash_`, which identifies the speaker."""
    speaker, mark, _ = path.rpartition("/")[2].partition("_nohash_")
    return speaker if mark else None
