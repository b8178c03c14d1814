"""akit.toml: the settings of a workspace."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from acoustic_kit.dsp.sound_file import Mono
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.files import read_regular
from acoustic_kit.task import Task, TaskSpec

CONFIG_NAME = "akit.toml"
OWN_METRICS = "metrics"  # folder of the workspace's own metrics


class Config(BaseModel):
    """Content of `akit.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str  # the data root: a folder, relative to the workspace or absolute, or s3://bucket/path
    layout: str
    task: Task
    metric: str
    features: tuple[str, ...] = ()  # built by `akit features build` without a name: features, or recipes for theirs
    store: str = "features.zarr"  # feature store: a folder, relative to the workspace or absolute, or s3://bucket/path
    runs: str = "runs"  # likewise; for s3://bucket/path, the workspace's `runs` is a working copy
    template: str | None = None  # the competition's sample_submission.csv
    competition: str | None = None  # Kaggle's short name, for `akit submit`
    label_separator: str | None = None  # between several labels of one clip
    mono: Mono = "mean"  # how channels are mixed: their mean, the left or the right one
    classes: dict[str, int]  # class name → the data set's own index, in class order

    @property
    def task_spec(self) -> TaskSpec:
        """The task that clips are labeled for and predictions are scored by."""
        return TaskSpec(self.classes, self.metric, self.task, self.label_separator)

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


def read_config(path: Path) -> Config:
    """Read and check an `akit.toml`. Raises AkitError that names the file and the first mistake."""
    from acoustic_kit.metrics.names import validate_name

    try:
        config = Config.model_validate(tomllib.loads(read_regular(path).decode("utf-8-sig")))
        config = with_own_metrics(config, path.parent)
        validate_name(config.metric, config.task)
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
        unknown = [found for found in error.errors() if found["type"] == "extra_forbidden"]  # most likely a typo
        first = (unknown or error.errors())[0]
        where = f"{path}: {'.'.join(map(str, first['loc']))}"
        if not unknown:
            raise AkitError(f"{where}: {first['msg'].removeprefix('Value error, ')}.") from error
        near = difflib.get_close_matches(str(first["loc"][0]), Config.model_fields, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"It has: {', '.join(Config.model_fields)}."
        raise AkitError(f"{where} is unknown. {hint}") from error


def with_own_metrics(config: Config, root: Path) -> Config:
    """Return the settings with a metric that is also looked up in the workspace's `metrics/`."""
    from acoustic_kit.metrics.names import MetricName

    return config.model_copy(update={"metric": MetricName(config.metric, root / OWN_METRICS)})


def config_text(config: Config) -> str:
    """Return a new `akit.toml`, with comments."""
    lines = [
        "# A workspace of akit; edit it as you like.",
        f"data = {_toml(config.data)}",
        f"layout = {_toml(config.layout)}",
        f"task = {_toml(config.task)}  # single: one label per clip, multi: several",
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


def with_features(text: str, names: Sequence[str]) -> str:
    """Return the text of an `akit.toml` with these features added, after the others if tomlkit can do that."""
    import tomlkit

    document = tomlkit.parse(text)
    document.setdefault("features", tomlkit.array()).extend(names)
    with suppress(tomllib.TOMLDecodeError):  # tomlkit omits the comma after a comment
        tomllib.loads(tomlkit.dumps(document))
        return tomlkit.dumps(document)
    document = tomlkit.parse(text)
    for name in reversed(names):
        document["features"].insert(0, name)
    return tomlkit.dumps(document)


def _toml(value: str | list[str]) -> str:
    """Return a TOML string or array of strings, which are those of JSON except for the delete character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
