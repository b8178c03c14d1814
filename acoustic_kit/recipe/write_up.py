"""What a recipe's source says of each setting, beside what the recipe does.

A recipe file may define ``WRITE_UP``: what stood in the write-up, or in the code that scored, by the settings' names.
In a file of several recipes, a variant's name holds what stood there for that one alone. A setting that the source does
not have is left out; where the source says one thing and another ran, the entry is a few words. Whatever is not equal
to the default is shown as different, and the docstring's ``Differs:`` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from acoustic_kit.errors import AkitError
from acoustic_kit.recipe.recipe import Recipe


@dataclass(frozen=True)
class Compared:
    """One setting: what the source has, and the default here."""

    name: str
    said: bool  # whether the source says anything of it
    there: Any  # None where it does not
    here: Any

    @property
    def differs(self) -> bool:
        """Whether the default is not what the source has."""
        return self.said and self.there != self.here


def write_up(recipe: Recipe) -> dict[str, Any]:
    """What a recipe's source says of its settings, by their names; empty for a recipe without ``WRITE_UP``.

    Raises AkitError where it names something that is no setting.
    """
    variants = getattr(recipe.module, "VARIANTS", {})
    entries: Mapping[str, Any] = getattr(recipe.module, "WRITE_UP", {})
    said = {name: value for name, value in entries.items() if name not in variants}
    said |= entries.get(recipe.name, {}) if recipe.name in variants else {}
    if unknown := [name for name in said if name not in recipe.fields]:
        raise AkitError(f"{recipe.path}: WRITE_UP names {unknown[0]!r}, which is no setting of the recipe.")
    return said


def compare(recipe: Recipe) -> list[Compared]:
    """All settings of a recipe, in order. Raises as `write_up` does."""
    said, defaults = write_up(recipe), recipe.settings()
    return [Compared(name, name in said, said.get(name), attrgetter(name)(defaults)) for name in recipe.fields]
