"""Settings of a recipe: typed, frozen, with flat names for nested ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard, get_origin

from pydantic import BaseModel, ConfigDict

from acoustic_kit.errors import UsageError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


class Settings(BaseModel):
    """Base class of a recipe's settings: frozen, typed, the published values as defaults.

    >>> class Settings(akit.Settings):
    ...     n_components: int = 40
    ...     lr: float = Field(1e-3, gt=0)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Fast:
    """A recipe's small form, which executes the same code in a minute: fewer clips and folds, other settings.

    >>> FAST = akit.Fast(clips_per_class=8, folds=2, settings={"epochs": 2})

    All test clips are predicted, so that a small run can become a submission.
    """

    clips_per_class: int | None = None  # in each fold
    folds: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def setting_fields(settings: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return all settings by name; nested ones as `augment.mixup`."""
    found: dict[str, FieldInfo] = {}
    for name, info in settings.model_fields.items():
        inner = info.annotation
        found |= {f"{name}.{k}": v for k, v in setting_fields(inner).items()} if _has_fields(inner) else {name: info}
    return found


def read_lines(lines: Iterable[str], fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """Return the values of `key=value` lines, by which earlier versions passed and stored settings.

    Raises UsageError for a line without `=`.
    """
    return read_assignments(((repr(line), line) for line in lines), fields)


def read_assignments(assignments: Iterable[tuple[str, str]], fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """Return the texts of assignments `key=value`, by name; the last one counts if a setting is assigned twice.

    `assignments` are pairs of where an assignment is, for messages, and the assignment. The values of lists and
    tuples, `1,2,3` or `[1, 2, 3]`, are lists of texts.

    Raises UsageError for an assignment without `=`.
    """
    found: dict[str, Any] = {}
    for where, assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"{where}: write it as key=value.")
        is_sequence = name in fields and get_origin(fields[name].annotation) in (tuple, list)
        found[name] = _split(text) if is_sequence else text
    return found


def flat_settings(settings: BaseModel) -> dict[str, Any]:
    """Return all values by name, in their JSON form; nested ones as `augment.mixup`."""
    found: dict[str, Any] = {}
    for name, value in settings.model_dump(mode="json").items():
        inner = getattr(settings, name)
        found |= (
            {f"{name}.{k}": v for k, v in flat_settings(inner).items()} if _has_fields(type(inner)) else {name: value}
        )
    return found


def flattened(values: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return `{"augment": {"mixup": 0}}` as `{"augment.mixup": 0}`; a mapping that is a `known` setting stays."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and name not in known:
            found |= flattened({f"{name}.{key}": part for key, part in value.items()}, known)
        else:
            found[name] = value
    return found


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `{"augment.mixup": 0}` as `{"augment": {"mixup": 0}}`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *outer, last = name.split(".")
        part = found
        for key in outer:
            part = part.setdefault(key, {})
        part[last] = value
    return found


def _has_fields(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.strip("[]() ").split(",") if part.strip()]
