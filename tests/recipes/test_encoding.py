"""How the recipes that read waves store them."""

import pytest

from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.features import Feature
from acoustic_kit.recipe.recipe import find_recipes, load_recipe, recipe_folders

RECIPES = [name for name in find_recipes(recipe_folders()) if "encoding" in load_recipe(name).settings().model_dump()]


def wave_of(recipe: str, *settings: str) -> Feature:
    loaded = load_recipe(recipe)
    (feature,) = loaded.features(loaded.settings(parse_assignments(loaded, list(settings)))).values()
    return feature.source or feature


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_encoding_of_waves_is_a_setting(recipe: str) -> None:
    assert {wave_of(recipe, f"encoding={dtype}").storage_dtype for dtype in ("int16", "float32")} == {
        "int16",
        "float32",
    }
    # PCEN and logarithms lift what is quiet above the rounding of 16 bits; EAT reads the waves themselves.
    assert wave_of(recipe).storage_dtype == ("int16" if recipe.startswith("eat") else "float32")


def test_all_recipes_that_train_on_waves_have_it() -> None:
    assert len(RECIPES) >= 10
