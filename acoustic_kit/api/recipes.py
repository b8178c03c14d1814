"""Recipes of an open workspace, and settings as keywords."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.api.session import warn
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.recipe.catalog import find_recipes, recipe_folders, summarize
from acoustic_kit.recipe.recipe import Recipe, load_recipe
from acoustic_kit.recipe.settings import flattened
from acoustic_kit.recipe.template import new_recipe

if TYPE_CHECKING:
    import polars as pl

    from acoustic_kit.api.session import Session


class WorkspaceRecipes:
    """The recipes that a workspace can run: akit's own and those in its folder `recipes/`.

    >>> ws.recipes["stats_pca_linear"].settings()
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getitem__(self, name: str) -> Recipe:
        return load_recipe(name, self._session.files.recipes_path)

    def list(self) -> pl.DataFrame:
        """Return all recipes: `recipe`, `title`, `published` (score), `source`, `features`."""
        import polars as pl

        rows = []
        for name, path in find_recipes(recipe_folders(self._session.files.recipes_path)).items():
            try:
                found = summarize(name, path)
                rows.append((name, found.title, found.published, found.source, list(found.features)))
            except AkitError as error:
                warn(f"{name} is left out: {error}")
        texts = dict.fromkeys(("recipe", "title", "published", "source"), pl.String())
        return pl.DataFrame(rows, {**texts, "features": pl.List(pl.String)}, orient="row")

    def new(self, name: str, *, torch: bool = False) -> Path:
        """Write a commented, runnable recipe to the workspace's `recipes/`, and return the file.

        - `torch`: a network on log-mel spectrograms instead of a scikit-learn model

        Raises UsageError for a name that is taken or not a Python name.
        """
        return new_recipe(name, self._session.files.recipes_path, torch=torch)


def merged_settings(
    recipe: Recipe, settings: Mapping[str, object], keywords: Mapping[str, object]
) -> dict[str, object]:
    """Return settings by their full names, such as `augment.mixup`, from a mapping and from keywords.

    Raises UsageError for a setting that both give.
    """
    first, second = flattened(settings, recipe.fields), flattened(keywords, recipe.fields)
    if twice := sorted(first.keys() & second.keys()):
        raise UsageError(f"The setting {twice[0]} is given twice: in settings and as a keyword. Leave out one.")
    return first | second
