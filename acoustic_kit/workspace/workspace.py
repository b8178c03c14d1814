"""A workspace: one competition's folder, with its `akit.toml`, manifest, features, runs and submissions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from acoustic_kit.errors import AkitError, DataError
from acoustic_kit.files import locked, write_atomically
from acoustic_kit.tables import read_parquet
from acoustic_kit.workspace.config import CONFIG_NAME, Config, read_config, with_features
from acoustic_kit.workspace.ownership import require_own

if TYPE_CHECKING:
    import polars as pl

    from acoustic_kit.data.targets import TrainingSet
    from acoustic_kit.task import TaskSpec
    from acoustic_store import FeatureStore

_MANIFEST_HINT = (
    "\nUndo the change, or create a workspace in a new folder with the same `akit init`, and copy its manifest.parquet "
    "here: runs and features stay valid."
)


@dataclass(frozen=True)
class Workspace:
    """The files of one competition. `root` holds `akit.toml`; every other path is derived from it.

    >>> Workspace.find(Path()).manifest.head()
    """

    root: Path
    config: Config

    @staticmethod
    def find(start: Path) -> Workspace:
        """Return the workspace that contains `start`: the nearest folder upwards, itself included, with an `akit.toml`.

        Raises AkitError if there is none, if it belongs to another user, or if its `akit.toml` is invalid.
        """
        if (found := Workspace.around(start)) is None:
            raise AkitError(
                f"{start.resolve()} is not in a workspace. "
                "Create one with `akit init DIR --data FOLDER`, or name one with -C DIR."
            )
        return found

    @staticmethod
    def around(start: Path) -> Workspace | None:
        """Return the workspace as `find` does; None if there is none."""
        start = start.resolve()
        for folder in (start, *start.parents):
            if (folder / CONFIG_NAME).is_file():
                return Workspace.at(folder)
        return None

    @staticmethod
    def at(root: Path) -> Workspace:
        """Return the workspace in exactly this folder. Raises AkitError as `find` does."""
        require_own(root, CONFIG_NAME)
        return Workspace(root, read_config(root / CONFIG_NAME))

    @property
    def data_root(self) -> Path | str:
        """The folder, or the s3://bucket/path, that clip paths are relative to."""
        place = self.config.data
        return place if "://" in place else _real(self.root / place)

    @property
    def manifest_path(self) -> Path:
        """The manifest: one row per clip."""
        return self.root / "manifest.parquet"

    @property
    def truth_path(self) -> Path:
        """Labels of held-out test clips; only `akit score` reads them."""
        return self.root / "truth.parquet"

    @property
    def runs_path(self) -> Path:
        """Folder of the runs, one sub-folder each; a working copy if they are stored on S3, see `remote_runs`."""
        place = self.config.runs
        return self.root / ("runs" if "://" in place else place)

    @property
    def model_folders(self) -> tuple[Path, ...]:
        """Folders in which features look up models that they name: runs by their name, and other paths."""
        return self.runs_path, self.root

    @property
    def tuning_path(self) -> Path:
        """Folder of the studies of `akit recipe tune`, one sub-folder each."""
        return self.root / "tuning"

    @property
    def submissions_path(self) -> Path:
        """Folder of the submissions, each a CSV with its record as JSON."""
        return self.root / "submissions"

    @property
    def recipes_path(self) -> Path:
        """Folder of the workspace's own recipes."""
        return self.root / "recipes"

    def metric(self, name: str | None = None) -> str:
        """Return the name of a metric, by default the workspace's, which is also looked up in its `metrics/`."""
        from acoustic_kit.metrics.names import beside

        return beside(name or self.config.metric, self.config.metric)

    @property
    def template_path(self) -> Path | None:
        """The competition's sample submission, if known."""
        return _real(self.root / self.config.template) if self.config.template else None

    @cached_property
    def manifest(self) -> pl.DataFrame:
        """The manifest, checked. Raises DataError if it is missing or damaged."""
        from acoustic_kit.data import check_manifest
        from acoustic_kit.data.schema import with_later_columns

        try:
            manifest = with_later_columns(read_parquet(self.manifest_path))
            check_manifest(manifest, self.config.classes, self.config.task)
        except OSError as error:
            raise DataError(f"{self.manifest_path} cannot be read ({error}).{_MANIFEST_HINT}") from error
        except AkitError as error:
            raise DataError(f"{self.manifest_path}: {error}{_MANIFEST_HINT}") from error
        if self.config.task == "single" and (manifest["label"].list.len() > 1).any():
            raise DataError(
                f"{self.root / CONFIG_NAME}: task is single, but the manifest has clips with several labels."
            )
        return manifest

    @property
    def task_spec(self) -> TaskSpec:
        """The workspace's task: classes, metric, one label per clip or several."""
        return self.config.task_spec

    @cached_property
    def training_set(self) -> TrainingSet:
        """The training clips with their targets, folds and groups."""
        from acoustic_kit.data.targets import TrainingSet

        return TrainingSet.of(self.manifest, self.task_spec)

    def clip_ids(self, split: Literal["train", "test"]) -> list[str]:
        """Return the ids of the clips of a split, in the manifest's order."""
        return self.manifest.filter(self.manifest["split"] == split)["id"].to_list()

    @property
    def store_place(self) -> Path | str:
        """The folder, or the s3://bucket/path, of the feature store."""
        place = self.config.store
        return place if "://" in place else _real(self.root / place)

    def store(self) -> FeatureStore:
        """Open the feature store, created if missing."""
        from acoustic_store import FeatureStore

        return FeatureStore.open(self.store_place, create=True)

    def built_store(self) -> FeatureStore | None:
        """Open the feature store; None if it does not exist."""
        from acoustic_store import FeatureStore, StoreError

        try:
            return FeatureStore.open(self.store_place)
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise

    def output_folder(self, name: str) -> Path:
        """Return a folder of this workspace to write into. Raises AkitError if it is a link out of the workspace."""
        folder = self.root / name
        if not _real(folder).is_relative_to(_real(self.root)):
            raise AkitError(f"{folder} is a link to {_real(folder)}, outside of the workspace. Replace it by a folder.")
        return folder

    def remember_features(self, names: Sequence[str]) -> None:
        """Add names to `features` in `akit.toml`; everything else, comments included, is unchanged."""
        if set(names) <= set(self.config.features):
            return
        path = self.root / CONFIG_NAME
        with locked(self.root):  # other processes may add names at the same time
            config = read_config(path)  # which may have changed since it was opened
            new = [name for name in dict.fromkeys(names) if name not in config.features]
            write_atomically(path, with_features(path.read_bytes().decode("utf-8-sig"), new), follow=True)

    def add_classes(self, classes: Mapping[str, int]) -> None:
        """Add classes, each with the data set's own index, after the others in `akit.toml`."""
        import tomlkit

        path = self.root / CONFIG_NAME
        document = tomlkit.parse(path.read_bytes().decode("utf-8-sig"))
        document["classes"].update(classes)
        if classes:
            write_atomically(path, tomlkit.dumps(document), follow=True)


def _real(path: Path) -> Path:
    """Return a path without links; unlike `Path.resolve`, also for circular links."""
    return Path(os.path.realpath(path))
