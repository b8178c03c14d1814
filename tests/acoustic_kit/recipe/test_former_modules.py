"""Recipes of earlier versions go on loading."""

import sys
from importlib import import_module

import pytest

from acoustic_kit.recipe.former_modules import FORMER
from acoustic_kit.recipe.recipe_file import RecipeFile


@pytest.mark.parametrize("former", FORMER)
def test_a_module_is_found_by_its_former_name(former, tmp_path):
    sys.modules.pop(former, None)
    path = tmp_path / "old.py"
    path.write_text(f"import {former}\nfrom {former} import __doc__ as doc\n", "utf-8")
    module = RecipeFile.read(path, "old").load()
    assert module.doc == import_module(FORMER[former]).__doc__
