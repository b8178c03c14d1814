"""Runs on S3: `runs = "s3://bucket/path"` in akit.toml. The workspace's `runs/` is then a working copy of them.

A fold is uploaded file by file, its record last, and so is a run: a record implies all the files that it lists. Models
are downloaded when they are needed, all else whenever runs are read. Runs deleted on S3 stay in the working copy.

    <run>/run.json, recipe.py and modules that it imports, oof.parquet, test.parquet, labels.parquet
    <run>/folds/<fold>/fold.json, model.…, oof.parquet, …
    <run>/checkpoints/<fold>/<stage>/…    of folds that cluster workers are training
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.features.learnt import LEARNT_NAME
from acoustic_kit.files import replacing
from acoustic_kit.runs.run import FOLD_RECORD_NAME, RECORD_NAME, find_run, new_fold, remove_leftovers, remove_run

if TYPE_CHECKING:
    from acoustic_kit.workspace.workspace import Workspace
    from acoustic_store.object_files import ObjectFiles

_NAME = r"[\w-][\w.-]*"  # no leading dot: no path out of the folder
_OF_RUN = re.compile(rf"({_NAME})/(run\.json|\w+\.py|(?:oof|test|labels)\.parquet)")
_OF_FOLD = re.compile(rf"({_NAME})/folds/([\w-]+)/({_NAME})")
_CHECKPOINT = re.compile(rf"({_NAME})/({_NAME})")  # stage and file


def _open(url: str) -> ObjectFiles:
    from acoustic_store.files import open_files

    files: ObjectFiles = open_files(url)  # type: ignore[assignment]  # of an s3:// URL
    return files


def _is_model(name: str) -> bool:
    """Return whether a file is needed only for predictions."""
    return name.startswith("model.") or name == LEARNT_NAME


@dataclass(frozen=True)
class _RemoteFiles:
    """The files of one run on S3."""

    files: set[str] = field(default_factory=set)
    folds: dict[str, set[str]] = field(default_factory=dict)  # finished folds → their files


def of_workspace(workspace: Workspace) -> RemoteRuns | None:
    """Return the runs on S3; None if runs are stored in the workspace alone."""
    url = workspace.config.runs
    return RemoteRuns(url, workspace.runs_path) if "://" in url else None


def pull(workspace: Workspace, name: str | None = None, *, models: bool = False) -> None:
    """Download what is new of all runs, or of one, with `models` if requested; nothing without runs on S3.

    Raises acoustic_store.StoreError if the storage does not respond.
    """
    if (remote := of_workspace(workspace)) is not None:
        remote.pull(None if name is None else [name], models=models)


def remove_runs(workspace: Workspace, names: Sequence[str]) -> Iterator[str]:
    """Delete runs, on S3 too, and yield the full name of each that is deleted.

    - `names`: full or abbreviated, see `find_run`; also of runs whose deletion was interrupted

    Raises UsageError for an unknown name, before any run is deleted, and AkitError (on S3,
    acoustic_store.LockedError) if a process trains the run.
    """
    remote = of_workspace(workspace)
    remove_leftovers(workspace.runs_path)
    for path in [find_run(workspace.runs_path, name, whole=False) for name in names]:
        if remote is not None:
            remote.remove(path.name)
        remove_run(path)
        yield path.name


@contextmanager
def synchronized(workspace: Workspace, name: str, fresh: bool = False) -> Iterator[Callable[[], None]]:
    """Lock a run on S3, download what is done of it, and yield a function that uploads what is new.

    - `fresh`: delete the run on S3 instead of downloading it

    Raises acoustic_store.LockedError if another process trains it.
    """
    remote = of_workspace(workspace)
    if remote is None:
        yield lambda: None
        return
    lease = (_open(remote.url) / name).lock()
    try:
        if fresh:
            remote.remove(name)
        else:
            remote.pull([name])
        yield partial(remote.push, name)
    finally:
        lease.release()


@dataclass(frozen=True)
class RemoteRuns:
    """Runs at `url`, of which `folder` is the working copy."""

    url: str
    folder: Path

    def pull(self, names: Collection[str] | None = None, *, models: bool = False) -> None:
        """Download what is new of these runs, or of all."""
        prefix = f"{next(iter(names))}/" if names is not None and len(names) == 1 else ""
        listed = [item for item in self._listed(prefix).items() if names is None or item[0] in names]
        _open(self.url).each(lambda item: self._pull_run(item[0], item[1], models), listed)

    def _listed(self, prefix: str) -> dict[str, _RemoteFiles]:
        """Return the files on S3, by run. Objects with other names than a run's files are ignored."""
        base = _open(f"{self.url}/{prefix}")
        found: dict[str, _RemoteFiles] = {}
        for name in (prefix + rest for rest in base.sizes()):
            if match := _OF_RUN.fullmatch(name):
                found.setdefault(match[1], _RemoteFiles()).files.add(match[2])
            elif match := _OF_FOLD.fullmatch(name):
                found.setdefault(match[1], _RemoteFiles()).folds.setdefault(match[2], set()).add(match[3])
        for there in found.values():
            for fold in [fold for fold, files in there.folds.items() if FOLD_RECORD_NAME not in files]:
                del there.folds[fold]
        return found

    def _pull_run(self, name: str, there: _RemoteFiles, models: bool) -> None:
        files, folder = _open(self.url) / name, self.folder / name
        for fold, names in there.folds.items():
            self._pull_fold(files / "folds" / fold, folder / "folds" / fold, names, models)
        here = {path.parent.name for path in folder.glob(f"folds/*/{FOLD_RECORD_NAME}")}
        if RECORD_NAME not in there.files or here - there.folds.keys():  # folds that are not uploaded yet are newer
            return
        record = files.read(RECORD_NAME)
        if (folder / RECORD_NAME).is_file() and (folder / RECORD_NAME).read_bytes() == record:
            return
        for other in sorted(there.files - {RECORD_NAME}):
            _write(folder / other, files.read(other))
        _write(folder / RECORD_NAME, record)

    def _pull_fold(self, files: ObjectFiles, folder: Path, names: set[str], models: bool) -> None:
        record = files.read(FOLD_RECORD_NAME)
        path = folder / FOLD_RECORD_NAME
        if path.is_file() and path.read_bytes() == record:
            for name in names:
                if models and _is_model(name) and not (folder / name).exists():
                    _write(folder / name, files.read(name))
            return
        with new_fold(folder.parent.parent, folder.name) as fetched:
            for name in names - {FOLD_RECORD_NAME}:
                if models or not _is_model(name):
                    (fetched / name).write_bytes(files.read(name))
            (fetched / FOLD_RECORD_NAME).write_bytes(record)

    def push(self, name: str) -> None:
        """Upload what is new of a run: its finished folds, then its own files, its record last."""
        folder, files = self.folder / name, _open(self.url) / name
        done = sorted(path.parent for path in folder.glob(f"folds/*/{FOLD_RECORD_NAME}"))
        for fold in done:
            push_fold(fold, self.url, name, fold.name)
        checkpoints = files / "checkpoints"
        leftover = {fold.name for fold in done}
        files.each(checkpoints.delete, [path for path in checkpoints.sizes() if path.partition("/")[0] in leftover])
        record = folder / RECORD_NAME
        if not record.is_file() or _is_stored(files, RECORD_NAME, record.read_bytes()):
            return
        for path in sorted(folder.iterdir()):
            if path != record and _OF_RUN.fullmatch(f"{name}/{path.name}"):
                files.write(path.name, path.read_bytes())
        files.write(RECORD_NAME, record.read_bytes())

    def remove(self, name: str) -> None:
        """Delete a run on S3: its record first, so that an interrupted deletion leaves no run."""
        from acoustic_store.layout import LEASE

        files = _open(self.url) / name
        files.delete(RECORD_NAME)
        files.each(files.delete, [found for found in files.sizes() if found != LEASE])


def push_fold(folder: Path, url: str, run: str, fold: str) -> None:
    """Upload the folder of a finished fold of a run below `url`, its record last."""
    files, record = _open(url) / run / "folds" / fold, (folder / FOLD_RECORD_NAME).read_bytes()
    if _is_stored(files, FOLD_RECORD_NAME, record):
        return
    files.delete(FOLD_RECORD_NAME)
    for path in folder.iterdir():
        if path.name != FOLD_RECORD_NAME:
            files.write(path.name, path.read_bytes())
    files.write(FOLD_RECORD_NAME, record)


@dataclass
class RemoteCheckpoints:
    """Checkpoints of a fold that a cluster worker trains, on S3 and in a folder of its own."""

    url: str  # of all runs
    run: str
    fold: str
    folder: Path
    _uploaded: dict[str, tuple[int, int]] = field(default_factory=dict)  # file → time and size at its last upload

    def pull(self) -> None:
        """Download what another worker left."""
        files = self._files
        for name in files.sizes():
            if _CHECKPOINT.fullmatch(name):
                _write(self.folder / name, files.read(name))
        self._uploaded = self._state()

    def push(self) -> None:
        """Upload what has changed, in the order in which it was written, so that S3 always has an earlier state."""
        state = self._state()
        for name in sorted(state, key=lambda name: state[name]):
            if self._uploaded.get(name) != state[name]:
                self._files.write(name, (self.folder / name).read_bytes())
        self._uploaded = state

    @property
    def _files(self) -> ObjectFiles:
        return _open(self.url) / self.run / "checkpoints" / self.fold

    def _state(self) -> dict[str, tuple[int, int]]:
        paths = {path.relative_to(self.folder).as_posix(): path.stat() for path in self.folder.glob("*/*")}
        return {name: (s.st_mtime_ns, s.st_size) for name, s in paths.items() if _CHECKPOINT.fullmatch(name)}


def _is_stored(files: ObjectFiles, name: str, content: bytes) -> bool:
    try:
        return files.read(name) == content
    except FileNotFoundError:
        return False


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
