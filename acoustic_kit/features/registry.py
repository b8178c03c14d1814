"""The feature families by name, and the way back from stored parameters to a feature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from acoustic_kit.errors import AkitError
from acoustic_kit.features.feature import Feature
from acoustic_kit.features.logmel import LogMel
from acoustic_kit.features.stats import Stats
from acoustic_kit.features.wave import Wave

FEATURES: dict[str, type[Feature]] = {family.name: family for family in (Wave, LogMel, Stats)}


def feature_from_parameters(parameters: Mapping[str, Any]) -> Feature:
    """The feature whose `parameters()` these are, as the store keeps them.

    Raises AkitError where this version of akit, or of a library that decides values, would compute something else.
    """
    try:
        family = FEATURES[parameters["name"]]
        own = {f.name: parameters[f.name] for f in fields(family)}
        feature = family(**{name: _from_json(value) for name, value in own.items()})
    except (KeyError, TypeError) as error:
        raise AkitError(
            f"A feature with the parameters {dict(parameters)} is unknown to this version of akit."
        ) from error
    if feature.parameters() != parameters:
        raise AkitError(f"{feature.name} was built by another version of akit or of a library; build it anew.")
    return feature


def _from_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return feature_from_parameters(value)
    return tuple(value) if isinstance(value, list) else value
