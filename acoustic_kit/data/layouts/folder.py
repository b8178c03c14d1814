"""One sub-folder per class; or `train/<class>/…` beside `test/…`, whose clips are the test set.

`valid/<class>/…` beside them is the official validation set: fold 1 is `train/`, fold 2 `valid/`. Labels of test clips
in folders of classes become the truth. `akit init` uses this layout only without evidence against it, see
`contradictions.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from acoustic_kit.data.audio_files import audio_files, is_audio, is_junk
from acoustic_kit.data.audio_index import AudioIndex, first_three, locate
from acoustic_kit.data.dataset import CsvOptions, Dataset, class_order, make_clips
from acoustic_kit.data.label_tables import find_template, read_label_table
from acoustic_kit.data.layouts.csv_layout import test_folder
from acoustic_kit.data.layouts.template_rows import windows_of_ids
from acoustic_kit.errors import DataError

LOOKS_FOR = "sub-folders with audio files, one per class (or train/<class>/ and test/)"
BACKGROUND = "_background_noise_"  # Speech Commands': recordings to mix in
_VALID = ("valid", "validation", "val")
_TEST = ("test", "testing")


def found(root: Path) -> bool:
    """Return whether `root` has this layout."""
    return any("/" in path and is_audio(path) for path in audio_files(root))


def read(root: Path, options: CsvOptions) -> Dataset:
    """Read the folders. The id is the path relative to `root`, for test clips the id of the template.

    Raises DataError if there is no audio in any sub-folder, and if a sub-folder is empty.
    """
    all_paths = _clip_paths(root)
    paths = [path for path in all_paths if f"/{BACKGROUND}/" not in f"/{path}"]
    if not paths:
        raise DataError(f"{root} has no clips except those of {BACKGROUND}/.")
    splits = official_splits(root, paths, options)
    train = [path for path in paths if not is_below(path, splits.get("test"))]
    if not train:
        raise DataError(f"{root} has no training clips: all are in {splits['test']}.")
    labels, folds = _labels(root, train, splits)
    test, template, test_notes = _test_clips(
        root, [path for path in paths if is_below(path, splits.get("test"))], options
    )
    classes = class_order(labels)
    truth = [path.removeprefix(splits.get("test", "")).split("/")[0] for path in test["path"]]
    known = bool(truth) and set(truth) <= classes.keys()
    notes = [f"each sub-folder is a class: {first_three(list(classes))}", *test_notes]
    if truth:
        kind = "with their labels as truth" if known else "unlabeled"
        notes.append(f"the clips of {splits['test']} are the test set, {kind}")
    if folds:
        notes.append(f"fold 1 is {splits['train']}, fold 2 {splits['valid']}; --unofficial draws folds over both")
    if len(paths) < len(all_paths):
        notes.append(f"{BACKGROUND}/ is left out: noise to mix in, not clips")
    if loose := [path for path in audio_files(root) if "/" not in path and is_audio(path)]:
        notes.append(f"{len(loose)} audio files outside of the sub-folders are left out ({first_three(loose)})")
    unset: list[float | None] = [None] * len(train)
    columns = {
        "id": [*train, *test["id"]],
        "path": [*train, *test["path"]],
        "start": [*unset, *test["start"]],
        "end": [*unset, *test["end"]],
        "label": [*([label] for label in labels), *([label] if known else [] for label in truth)],
        "fold": [*folds, *([None] * len(truth))] if folds else None,
        "split": ["train"] * len(train) + ["test"] * len(truth),
    }
    return Dataset(
        layout="folder",
        root=root,
        clips=make_clips(columns),
        classes=classes,
        task="single",
        official_folds=bool(folds),
        template=template,
        notes=tuple(notes),
    )


def _labels(root: Path, train: list[str], splits: dict[str, str]) -> tuple[list[str], list[int]]:
    """Return each training clip's class, and its fold if there is an official validation set, else no folds."""
    if "valid" not in splits:
        above = shared_folder(train)
        _refuse_empty_folders(root / above)
        return [path.removeprefix(above).split("/")[0] for path in train], []
    folds = [2 if is_below(path, splits["valid"]) else 1 for path in train]
    below = [path.removeprefix(splits["valid"]).removeprefix(splits["train"]) for path in train]
    return [path.split("/")[0] for path in below], folds


def _test_clips(
    root: Path, paths: list[str], options: CsvOptions
) -> tuple[dict[str, list[Any]], Path | None, tuple[str, ...]]:
    """Return columns of the test clips (`id`, `path`, `start`, `end`), the template if it lists them, and notes."""
    template = find_template(root)
    unset = [None] * len(paths)
    whole: dict[str, list[Any]] = {"id": paths, "path": paths, "start": unset, "end": unset}
    if template is None:
        return whole, None, ()
    if not paths:
        return whole, None, (f"{template.name} is not used: no folder of test clips was found (--test-dir)",)
    table, files = read_label_table(template), AudioIndex(root, paths)
    ids = table.ids(table.columns[0])
    meant = windows_of_ids(table, ids, options.windows, files) if options.windows else None
    parts: list[tuple[str, float | None, float | None]] = [*meant] if meant else [(id, None, None) for id in ids]
    found, notes = locate(table, [name for name, _, _ in parts], files, "test", may_lack=options.skip_missing)
    rows = [(id, path, *part[1:]) for id, path, part in zip(ids, found, parts, strict=True) if path]
    return {name: [row[i] for row in rows] for i, name in enumerate(whole)}, template, notes


def is_below(path: str, folder: str | None) -> bool:
    """Return whether a path is below a folder, given with / at its end; False for None."""
    return folder is not None and path.startswith(folder)


def official_splits(root: Path, paths: list[str], options: CsvOptions) -> dict[str, str]:
    """Return split → its folder (`data/train/`), of folders train, valid and test, or of `--test-dir`; else empty."""
    if options.test_dir is not None:
        return {"test": test_folder(root, options.test_dir)}
    above = shared_folder(paths)
    tops = {path.removeprefix(above).split("/")[0] for path in paths}
    splits = {}
    for split, names in (("train", ("train", "training")), ("valid", _VALID), ("test", _TEST)):
        if match := [top for top in tops if top.lower() in names]:
            splits[split] = f"{above}{match[0]}/"
    nested = all(
        path.removeprefix(splits[split]).count("/") >= 1
        for split in ("train", "valid")
        for path in paths
        if split in splits and path.startswith(splits[split])
    )
    return splits if len(splits) == len(tops) > 1 and "train" in splits and nested else {}


def shared_folder(paths: list[str]) -> str:
    """Return the deepest folder (`a/b/`) above all paths below which every path is in a sub-folder."""
    above = ""
    while True:
        tops = {path.removeprefix(above).split("/")[0] for path in paths}
        deeper = f"{above}{min(tops)}/"
        if len(tops) > 1 or any("/" not in path.removeprefix(deeper) for path in paths):
            return above
        above = deeper


def _clip_paths(root: Path) -> list[str]:
    """Return the audio files in sub-folders, and other files beside them that may be clips."""
    paths = [path for path in audio_files(root) if "/" in path]
    with_audio = {path.rpartition("/")[0] for path in paths if is_audio(path)}
    if not with_audio:
        raise DataError(f"no sub-folder of {root} contains an audio file; the layout folder looks for {LOOKS_FOR}.")
    return [path for path in paths if path.rpartition("/")[0] in with_audio]


def _refuse_empty_folders(parent: Path) -> None:
    for folder in sorted(parent.iterdir()):
        if folder.is_dir() and not is_junk(folder.name) and not any(folder.iterdir()):
            raise DataError(f"the class folder {folder} is empty; add clips to it, or remove it.")
