"""The feature families by name; features from text and from stored parameters."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType, ModuleType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features.ast import Ast
from acoustic_kit.features.ast_input import AstInput
from acoustic_kit.features.covariance import Covariance
from acoustic_kit.features.embed.embed import Embed
from acoustic_kit.features.feature import Feature
from acoustic_kit.features.logmel import LogMel
from acoustic_kit.features.modulation import Modulation
from acoustic_kit.features.pca import Pca
from acoustic_kit.features.pcen import Pcen
from acoustic_kit.features.stats import Stats
from acoustic_kit.features.wave import Wave

FEATURES: dict[str, type[Feature]] = {
    family.name: family for family in (Wave, LogMel, Pcen, AstInput, Ast, Embed, Stats, Modulation, Covariance, Pca)
}


def own_features(module: ModuleType) -> dict[str, type[Feature]]:
    """Return the feature families that a recipe's module defines or imports from beside it, by their names.

    Raises AkitError if a name is taken.
    """
    found: dict[str, type[Feature]] = {}
    for family in vars(module).values():
        is_own = isinstance(family, type) and issubclass(family, Feature) and family.defined_in is not None
        if not is_own or not hasattr(family, "name"):
            continue
        if family.name in FEATURES or found.setdefault(family.name, family) is not family:
            raise AkitError(
                f"{module.__file__}: the feature {family.__name__} has the name {family.name!r}, which is taken."
            )
    return found


def feature_from_parameters(
    parameters: Mapping[str, Any],
    weights: Mapping[str, str] = MappingProxyType({}),
    own: Mapping[str, type[Feature]] = MappingProxyType({}),
) -> Feature:
    """Return the feature whose `parameters()` are stored, without the clips it was fitted on.

    `weights` are places of models that compute features, by `weights_digest`, which are used instead of a download.
    `own` are families that a recipe defines, by name.

    Raises AkitError if this version of akit, or of a library that affects values, would compute other values.
    """
    wanted = {name: value for name, value in parameters.items() if name != "training"}
    local: dict[str, Any] = {}
    try:
        family = {**own, **FEATURES}[wanted["name"]]
        place = weights.get(str(wanted.get("weights_sha256")))
        if place is not None and family.weights_parameter is not None:
            local = {family.weights_parameter: place}
        given = {f.name: wanted[f.name] for f in fields(family) if f.name in wanted} | local
        feature = family(**{name: _from_json(value, weights, own) for name, value in given.items()})
    except (KeyError, TypeError) as error:
        raise AkitError(
            f"A feature with the parameters {dict(parameters)} is unknown to this version of akit."
        ) from error
    place_names = {*local, "revision"} if local else set()  # differ for weights at another place
    found, wanted = ({k: v for k, v in p.items() if k not in place_names} for p in (feature.parameters(), wanted))
    if found != wanted:
        raise AkitError(f"{feature.name} was built by another version of akit or of a library; build it again.")
    return feature


def _from_json(value: Any, weights: Mapping[str, str], own: Mapping[str, type[Feature]]) -> Any:
    if isinstance(value, Mapping):
        return feature_from_parameters(value, weights, own)
    return tuple(value) if isinstance(value, list) else value


def feature_from_text(text: str) -> Feature:
    """Return the feature of a text: `logmel`, or `logmel:n_mels=64,wave.sample_rate=32000` to change defaults.

    A parameter of the source is written with a dot; several values in brackets, as in `pcen:n_fft=[2048,1024]`.

    Raises UsageError if the name or a parameter is unknown (the nearest known one is named) or a value is invalid.
    """
    name, _, rest = text.partition(":")
    if name not in FEATURES:
        raise UsageError(f"There is no feature {name!r}. There are: {', '.join(FEATURES)}.")
    feature = FEATURES[name]()
    for assignment in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", rest):
        key, equals, value = assignment.partition("=")
        if not equals:
            raise UsageError(f"{text}: write {assignment!r} as key=value.")
        try:
            feature = _with(feature, key.strip().split("."), value.strip())
        except ValidationError as error:
            raise UsageError(f"{text}: {key}: {error.errors()[0]['msg']} (got {value!r}).") from error
        except UsageError as error:
            raise UsageError(f"{text}: {error}") from error
    return feature


def _with(feature: Feature, path: list[str], text: str) -> Feature:
    """Return the feature with one parameter, at a dotted path, changed."""
    known = [f.name for f in fields(feature) if f.name not in {"training", "fit"}]
    if path[0] not in known:
        near = difflib.get_close_matches(path[0], known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"It has: {', '.join(known)}."
        raise UsageError(f"{feature.name} has no parameter {path[0]!r}. {hint}")
    old = getattr(feature, path[0])
    if isinstance(old, Feature):
        new: Any = _with(old, path[1:], text) if len(path) > 1 else feature_from_text(text)
    elif len(path) > 1:
        raise UsageError(f"{path[0]} is no feature; write {path[0]}=VALUE")
    else:
        new = _parsed(text, get_type_hints(type(feature))[path[0]])
    return replace(feature, **{path[0]: new})


def _parsed(text: str, hint: Any) -> Any:
    """Return the value of a text for a parameter's type; `none` is None. Raises ValidationError if it is invalid."""
    options = get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)
    if text.lower() == "none" and type(None) in options:
        return None
    is_list = any(get_origin(option) is tuple for option in options)
    value = [part.strip() for part in text.strip("[]() ").split(",")] if is_list else text
    return TypeAdapter(hint).validate_python(value)
