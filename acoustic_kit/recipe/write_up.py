"""Settings whose default is not the published value, with the value and the reason.

A recipe file may define ``WRITE_UP``: name of a setting → (published value, reason for the default here). If the source
states one value and another ran, the value is a few words. All settings that it does not name are as published, or
options that only akit has. In a file of several recipes, the name of a variant holds entries of that variant alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from acoustic_kit.errors import RecipeError
from acoustic_kit.recipe.recipe import Recipe


@dataclass(frozen=True)
class Difference:
    """One setting whose default is not the published value."""

    published: Any
    default: Any
    reason: str


def has_write_up(recipe: Recipe) -> bool:
    """Return whether the recipe states how its defaults relate to published ones."""
    return hasattr(recipe.module, "WRITE_UP")


def differences(recipe: Recipe) -> dict[str, Difference]:
    """Return the differences of a recipe by the names of its settings.

    Raises RecipeError if ``WRITE_UP`` names an unknown setting, or lacks a value or its reason.
    """
    variants = getattr(recipe.module, "VARIANTS", {})
    entries: Mapping[str, Any] = getattr(recipe.module, "WRITE_UP", {})
    named = {name: entry for name, entry in entries.items() if name not in variants}
    named |= entries.get(recipe.name, {}) if recipe.name in variants else {}
    defaults, found = recipe.settings(), dict[str, Difference]()
    for name, entry in named.items():
        if name not in recipe.fields:
            raise RecipeError(f"{recipe.path}: WRITE_UP names {name!r}, which is not a setting of the recipe.")
        match entry:
            case (published, str() as reason):
                found[name] = Difference(published, attrgetter(name)(defaults), reason)
            case _:
                raise RecipeError(f"{recipe.path}: WRITE_UP[{name!r}] must be (published value, reason).")
    return found
