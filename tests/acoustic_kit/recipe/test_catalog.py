"""Recipes are listed from their files, which are read and not run."""

import subprocess
import sys
from pathlib import Path

import pytest

from acoustic_kit.errors import AkitError
from acoustic_kit.recipe.catalog import find_recipes, recipe_folders, summarize
from acoustic_kit.recipe.recipe import load_recipe


def test_the_list_imports_no_heavy_library() -> None:
    program = (
        "import sys; from acoustic_kit.cli import app\n"
        "try: app(['recipe', 'list'])\n"
        "finally: assert not {'torch', 'sklearn', 'numba', 'transformers', 'timm'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "stats_pca_linear" in done.stdout


@pytest.mark.parametrize("name", ["stats_pca_linear", "eat_s_us8k", "itmo_ast_inception"])
def test_a_file_says_what_the_loaded_recipe_says(name: str) -> None:
    path = find_recipes(recipe_folders())[name]
    found, recipe = summarize(name, path), load_recipe(name)
    assert (found.title, found.published, found.source) == (
        recipe.title,
        recipe.note("Published"),
        recipe.note("Source"),
    )


def test_features_are_the_classes_that_the_file_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        '"""Mine."""\nraise SystemExit  # is never run\nimport acoustic_kit as akit\n'
        "def features(s):\n    wave = akit.Wave(s.rate)\n    return dict(mel=LogMel(wave), table=akit.Stats(wave))\n"
    )
    assert summarize("mine", path).features == ("Wave", "LogMel", "Stats")


def test_a_file_that_is_not_python_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("x = 1\nx = (\n")
    with pytest.raises(AkitError, match=r"broken\.py, line 2"):
        summarize("broken", path)
