"""Modules are found by their former names, in recipes and elsewhere."""

import subprocess
import sys
from importlib import import_module

import pytest

from acoustic_kit.recipe.former_modules import FORMER, FORMER_NAMES
from acoustic_kit.recipe.recipe_file import RecipeFile


@pytest.mark.parametrize("former", FORMER)
def test_a_former_name_is_the_module_of_today(former, tmp_path):
    path = tmp_path / "old.py"
    path.write_text(f"import {former}\nfrom {former} import __name__ as name, __spec__ as spec\n", "utf-8")
    module = RecipeFile.read(path, "old").load()
    assert (module.name, module.spec.name) == (FORMER[former], FORMER[former])
    assert sys.modules[former] is sys.modules[FORMER[former]]


@pytest.mark.parametrize(("name", "former"), [(m, old) for m, names in FORMER_NAMES.items() for old in names])
def test_a_class_is_found_by_its_former_name(name, former, tmp_path):
    path = tmp_path / "old.py"
    path.write_text(f"from {name} import {former} as found\n", "utf-8")
    module = RecipeFile.read(path, "old").load()
    assert module.found is getattr(import_module(name), FORMER_NAMES[name][former])


def test_scripts_find_them_too_and_nothing_else():
    code = "from acoustic_kit.atomic_write import replacing\nimport acoustic_kit.never_was"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError" in done.stderr
    assert "never_was" in done.stderr
