"""`search` in akit's own recipes: there is one in each, and what it gives are valid settings."""

import pytest

from acoustic_kit.recipe.recipe import find_recipes, load_recipe, recipe_folders


@pytest.mark.parametrize("fast", [False, True], ids=["full size", "small form"])
@pytest.mark.parametrize("name", sorted(find_recipes(recipe_folders())))
def test_every_recipe_has_a_search_space_of_valid_settings(name: str, fast: bool) -> None:
    optuna = pytest.importorskip("optuna")
    recipe = load_recipe(name)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = {recipe.settings(recipe.search(study.ask()), fast=fast).model_dump_json() for _ in range(5)}
    assert len(drawn) == 5
