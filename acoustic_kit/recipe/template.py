"""Templates of new recipes: for scikit-learn, and for a network."""

from __future__ import annotations

from pathlib import Path

from acoustic_kit.errors import UsageError
from acoustic_kit.recipe.catalog import find_recipes, recipe_folders


def new_recipe(name: str, folder: Path, *, torch: bool = False) -> Path:
    """Write a recipe template to `folder/name.py`: for scikit-learn, or for a network if `torch`.

    Raises UsageError for a name that exists or is not a Python identifier.
    """
    if not name.isidentifier() or name.startswith("_"):
        raise UsageError(f"{name!r} cannot name a recipe: use letters, digits and underscores, like my_idea.")
    taken = find_recipes(recipe_folders(folder))
    if name in taken:
        raise UsageError(f"The recipe {name} already exists: {taken[name]}.")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    template = "recipe_template_torch.txt" if torch else "recipe_template.txt"
    path.write_text((Path(__file__).parent / template).read_text("utf-8"), "utf-8")
    return path
