"""A workspace: one competition's folder, with its `akit.toml`, manifest, features, runs and submissions."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from acoustic_kit.atomic_write import write_atomically, write_parquet
from acoustic_kit.datasets.sound_file import Mono
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.fold import Task
from acoustic_kit.folder_lock import locked
from acoustic_kit.ownership import require_own
from acoustic_kit.parquet import read_parquet
from acoustic_kit.regular_file import read_regular

if TYPE_CHECKING:
    import polars as pl

    from acoustic_kit.datasets import CsvOptions, Dataset
    from acoustic_store import FeatureStore

CONFIG_NAME = "akit.toml"
_MEND_MANIFEST = (
    "\nUndo what was changed, or make a workspace in a new folder with `akit init` as this one was made, and copy its "
    "manifest.parquet here: runs and features stay good."
)


class Config(BaseModel):
    """What `akit.toml` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str  # the data root: a folder, relative to the workspace or absolute, or s3://bucket/path
    layout: str
    task: Task
    metric: str
    features: tuple[str, ...] = ()  # built by `akit features build` without a name: features, or recipes for theirs
    store: str = "features.zarr"  # of features: a folder, relative to the workspace or absolute, or s3://bucket/path
    runs: str = "runs"  # likewise; of s3://bucket/path, the workspace's `runs` is a working copy
    template: str | None = None  # the competition's sample_submission.csv
    competition: str | None = None  # its short name at Kaggle, for `akit submit`
    label_separator: str | None = None  # between several labels of one clip
    mono: Mono = "mean"  # what several channels become: their mean, the left one or the right one
    classes: dict[str, int]  # class name → the data set's own index, in class order

    @field_validator("data", "store", "runs")
    @classmethod
    def _folder_or_s3(cls, place: str) -> str:
        if "://" in place and not re.match("s3://[^/]", place):
            raise ValueError(f"{place!r} is neither a folder nor s3://bucket/path")
        return place

    @field_validator("classes")
    @classmethod
    def _tell_apart(cls, classes: dict[str, int]) -> dict[str, int]:
        named: dict[int, str] = {}
        for name, index in classes.items():
            if (other := named.setdefault(index, name)) != name:
                raise ValueError(f"{other!r} and {name!r} have the same index, {index}")
        return classes


@dataclass(frozen=True)
class Workspace:
    """The files of one competition. `root` holds `akit.toml`; every other path is derived from it."""

    root: Path
    config: Config

    @staticmethod
    def find(start: Path) -> Workspace:
        """The workspace that `start` lies in: the nearest folder upwards that holds an `akit.toml`.

        Raises AkitError where there is none, where it is another user's, or where its `akit.toml` is not valid.
        """
        if (found := Workspace.around(start)) is None:
            raise AkitError(
                f"{start.resolve()} is not in a workspace. "
                "Make one with `akit init DIR --data FOLDER`, or name it: -C DIR."
            )
        return found

    @staticmethod
    def around(start: Path) -> Workspace | None:
        """As `find`; None where `start` lies in no workspace."""
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
        """One row a clip."""
        return self.root / "manifest.parquet"

    @property
    def truth_path(self) -> Path:
        """The labels of test clips that were kept aside; only `akit score` opens it."""
        return self.root / "truth.parquet"

    @property
    def runs_path(self) -> Path:
        """One folder a run; where they lie on S3, a working copy, see `remote_runs`."""
        place = self.config.runs
        return self.root / ("runs" if "://" in place else place)

    @property
    def tuning_path(self) -> Path:
        """One folder a study of `akit recipe tune`."""
        return self.root / "tuning"

    @property
    def submissions_path(self) -> Path:
        """The submissions, each a CSV with a JSON that says how it was made."""
        return self.root / "submissions"

    @property
    def recipes_path(self) -> Path:
        """The workspace's own recipes."""
        return self.root / "recipes"

    @property
    def template_path(self) -> Path | None:
        """The competition's sample submission, where it has one."""
        return _real(self.root / self.config.template) if self.config.template else None

    @cached_property
    def manifest(self) -> pl.DataFrame:
        """The manifest, checked. Raises AkitError where it is missing or damaged."""
        from acoustic_kit.datasets import check_manifest

        try:
            manifest = read_parquet(self.manifest_path)
            check_manifest(manifest, self.config.classes)
        except OSError as error:
            raise AkitError(f"{self.manifest_path} cannot be read ({error}).{_MEND_MANIFEST}") from error
        except AkitError as error:
            raise AkitError(f"{self.manifest_path}: {error}{_MEND_MANIFEST}") from error
        if self.config.task == "single" and (manifest["label"].list.len() > 1).any():
            raise AkitError(f"{self.root / CONFIG_NAME}: task is single, but the manifest has clips of several labels.")
        return manifest

    def clip_ids(self, split: Literal["train", "test"]) -> list[str]:
        """The ids of the clips of a split, in the manifest's order."""
        return self.manifest.filter(self.manifest["split"] == split)["id"].to_list()

    @property
    def store_place(self) -> Path | str:
        """The folder, or the s3://bucket/path, of the feature store."""
        place = self.config.store
        return place if "://" in place else _real(self.root / place)

    def store(self) -> FeatureStore:
        """The feature store, made where it is missing."""
        from acoustic_store import FeatureStore

        return FeatureStore.open(self.store_place, create=True)

    def built_store(self) -> FeatureStore | None:
        """The feature store as it is, None where nothing has been built yet."""
        from acoustic_store import FeatureStore, StoreError

        try:
            return FeatureStore.open(self.store_place)
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise

    def output_folder(self, name: str) -> Path:
        """A folder of this workspace to write into. Raises AkitError where it is a link that leads out of it."""
        folder = self.root / name
        if not _real(folder).is_relative_to(_real(self.root)):
            raise AkitError(
                f"{folder} is a link to {_real(folder)}, outside of the workspace. Put a folder in its place."
            )
        return folder

    def remember_features(self, names: Sequence[str]) -> None:
        """Add names to `features` in `akit.toml`; all else, comments too, stays as the user left it."""
        if set(names) <= set(self.config.features):
            return
        path = self.root / CONFIG_NAME
        with locked(self.root):  # others may add theirs at the same time
            config = read_config(path)  # as it is now, hours later
            new = [name for name in dict.fromkeys(names) if name not in config.features]
            write_atomically(path, _with_features(path.read_bytes().decode("utf-8-sig"), new), follow=True)

    def add_classes(self, classes: Mapping[str, int]) -> None:
        """Add classes, each with the data set's own index, behind the others in `akit.toml`."""
        import tomlkit

        path = self.root / CONFIG_NAME
        document = tomlkit.parse(path.read_bytes().decode("utf-8-sig"))
        document["classes"].update(classes)
        if classes:
            write_atomically(path, tomlkit.dumps(document), follow=True)


def init_workspace(
    root: Path,
    data: Path,
    *,
    layout: str = "auto",
    metric: str = "f1",
    test_folds: Sequence[int] = (),
    n_folds: int | None = None,
    fold_seed: int | None = None,
    unofficial: bool = False,
    extra: Path | None = None,
    options: CsvOptions | None = None,
    mono: Mono = "mean",
    on_progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> Workspace:
    """Make a workspace of a data set: read it, look at every clip, and write the manifest and, last, `akit.toml`.

    Parameters are those of `akit init`; `n_folds` and `fold_seed` are 5 and 0 where None. `on_note` hears what the user
    should know of the data set, a line at a time.

    Raises
    ------
    UsageError : `root` already is a workspace, or the metric or the folds make no sense
    AkitError : the data set cannot be read

    """
    from acoustic_kit.data_update import InitOptions, given_options
    from acoustic_kit.datasets import CsvOptions, make_manifest, read_dataset

    if str(data).startswith("s3:/"):
        raise UsageError(
            f"{data} cannot be looked at clip by clip. Make the workspace of a local copy, then say in its akit.toml "
            'where the clips lie: data = "s3://bucket/path".'
        )
    if (root / CONFIG_NAME).exists():
        raise UsageError(f"{root} already is a workspace. Choose another folder, or delete that one to make it anew.")
    dataset = read_dataset(data, layout, options or CsvOptions())
    _check_before_work(dataset, metric)
    for note in dataset.notes:
        on_note(note)
    manifest, truth = make_manifest(
        dataset,
        test_folds=test_folds,
        n_folds=n_folds or 5,
        fold_seed=fold_seed or 0,
        unofficial=unofficial,
        n_folds_given=n_folds is not None or fold_seed is not None,
        extra=read_dataset(extra) if extra else None,
        mono=mono,
        on_progress=on_progress,
    )
    config = Config(
        data=_stored_path(dataset.root, root),
        layout=dataset.layout,
        task=dataset.task,
        metric=metric,
        features=("stats",),
        template=_stored_path(dataset.template, root) if dataset.template else None,
        label_separator=dataset.label_separator,
        mono=mono,
        classes=dataset.classes,
    )
    root.mkdir(parents=True, exist_ok=True)
    workspace = Workspace(root.resolve(), config)
    write_parquet(workspace.manifest_path, manifest)
    workspace.truth_path.unlink(missing_ok=True)
    if len(truth):
        write_parquet(workspace.truth_path, truth)
    made_with = InitOptions(
        test_folds=list(test_folds),
        unofficial=unofficial,
        extra=str(extra.resolve()) if extra else None,
        options=given_options(options or CsvOptions(), data),
    )
    made_with.write(root)
    write_atomically(root / CONFIG_NAME, _config_text(config))
    return workspace


def _check_before_work(dataset: Dataset, metric: str) -> None:
    """Raise what would otherwise be noticed after hours: a metric, a class name or a template that does not fit."""
    from acoustic_kit.metrics import validate_metric
    from acoustic_kit.submission import read_template

    validate_metric(metric, dataset.task)
    if "id" in dataset.classes:
        raise AkitError("A class is called 'id', as is the column of clip ids. Give it another name.")
    if dataset.template:
        read_template(dataset.template, dataset.classes)


def _real(path: Path) -> Path:
    """Return a path without links; unlike `Path.resolve`, also where links lead in a circle."""
    return Path(os.path.realpath(path))


def _stored_path(path: Path, root: Path) -> str:
    """How `akit.toml` names a path: relative where it lies in the workspace (they move together), else absolute."""
    path, root = path.resolve(), root.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def read_config(path: Path) -> Config:
    """Read and check an `akit.toml`. Raises AkitError that names the file and the first mistake."""
    from acoustic_kit.metrics import validate_metric

    try:
        config = Config.model_validate(tomllib.loads(read_regular(path).decode("utf-8-sig")))
        validate_metric(config.metric, config.task)
        return config
    except UsageError as error:
        raise AkitError(f"{path}: metric: {error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AkitError(f"{path} is not valid TOML: {error}") from error
    except RecursionError as error:
        raise AkitError(f"{path} is not valid TOML: it is nested too deeply.") from error
    except OSError as error:
        raise AkitError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        unknown = [found for found in error.errors() if found["type"] == "extra_forbidden"]  # a slip, most likely
        first = (unknown or error.errors())[0]
        where = f"{path}: {'.'.join(map(str, first['loc']))}"
        if not unknown:
            raise AkitError(f"{where}: {first['msg'].removeprefix('Value error, ')}.") from error
        near = difflib.get_close_matches(str(first["loc"][0]), Config.model_fields, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"It has: {', '.join(Config.model_fields)}."
        raise AkitError(f"{where} is unknown. {hint}") from error


def _config_text(config: Config) -> str:
    lines = [
        "# A workspace of akit; yours to edit.",
        f"data = {_toml(config.data)}",
        f"layout = {_toml(config.layout)}",
        f"task = {_toml(config.task)}  # single: one label a clip, multi: several",
        f"metric = {_toml(config.metric)}",
        f"features = {_toml(list(config.features))}  # what `akit features build` builds",
    ]
    if config.template:
        lines.append(f"template = {_toml(config.template)}  # decides the columns of a submission")
    if config.label_separator:
        lines.append(f"label_separator = {_toml(config.label_separator)}")
    if config.mono != "mean":
        lines.append(f"mono = {_toml(config.mono)}  # the channel that features are computed from")
    lines += ["", "[classes]  # name = the data set's own index; the order of this table is the class order everywhere"]
    lines += [f"{_toml(name)} = {index}" for name, index in config.classes.items()]
    return "\n".join(lines) + "\n"


def _with_features(text: str, names: Sequence[str]) -> str:
    """Return the text of an `akit.toml` with these features added: behind the others where tomlkit can do that."""
    import tomlkit

    document = tomlkit.parse(text)
    document.setdefault("features", tomlkit.array()).extend(names)
    with suppress(tomllib.TOMLDecodeError):  # tomlkit forgets the comma behind a comment
        tomllib.loads(tomlkit.dumps(document))
        return tomlkit.dumps(document)
    document = tomlkit.parse(text)
    for name in reversed(names):
        document["features"].insert(0, name)
    return tomlkit.dumps(document)


def _toml(value: str | list[str]) -> str:
    """A TOML string or array of strings. JSON's are TOML's, but for the delete character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
