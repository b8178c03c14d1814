"""Recipes of earlier versions go on loading."""

import sys
from importlib import import_module

import pytest

from acoustic_kit.recipe.former_modules import FORMER, FORMER_NAMES
from acoustic_kit.recipe.recipe_file import RecipeFile


@pytest.mark.parametrize("former", FORMER)
def test_a_module_is_found_by_its_former_name(former, tmp_path):
    sys.modules.pop(former, None)
    path = tmp_path / "old.py"
    path.write_text(f"import {former}\nfrom {former} import __doc__ as doc\n", "utf-8")
    module = RecipeFile.read(path, "old").load()
    assert module.doc == import_module(FORMER[former]).__doc__


@pytest.mark.parametrize(("name", "former"), [(m, old) for m, names in FORMER_NAMES.items() for old in names])
def test_a_class_is_found_by_its_former_name(name, former, tmp_path):
    path = tmp_path / "old.py"
    path.write_text(f"from {name} import {former} as found\n", "utf-8")
    module = RecipeFile.read(path, "old").load()
    assert module.found is getattr(import_module(name), FORMER_NAMES[name][former])
