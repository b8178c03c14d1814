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


@pytest.mark.parametrize(
    ("body", "features"),
    [
        ("wave = akit.Wave(s.rate)\n    return dict(mel=LogMel(wave), table=akit.Stats(wave))", ("LogMel", "Stats")),
        (
            "mel = akit.LogMel(akit.Wave())\n    return {'mel': mel} | ({'x': Pca(Stats())} if s.n else {})",
            ("LogMel", "Pca"),
        ),
        ("found = {}\n    found['x'] = akit.Stats(akit.Wave())\n    return found", ("Stats", "Wave")),
    ],
)
def test_features_are_the_classes_that_are_read(tmp_path: Path, body: str, features: tuple[str, ...]) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f'"""Mine."""\nraise SystemExit  # is never run\ndef features(s):\n    {body}\n')
    assert summarize("mine", path).features == features


@pytest.mark.parametrize(
    ("lines", "data", "score"),
    [
        ("Published: ESC-50, five folds, accuracy 0.9215 (others: 0.905).", "ESC-50", "accuracy 0.9215"),
        ("Published: UrbanSound8K, folds 9 and 10: accuracy 0.846, f1 0.9.", "UrbanSound8K", "accuracy 0.846"),
        ("Data: ITMO 2025.\nPublished: macro-F1 0.89353, 41 classes.", "ITMO 2025", "macro-F1 0.89353"),
        ("Data: AudioSet.\nPublished: balanced accuracy 0.464.", "AudioSet", "balanced accuracy 0.464"),
        ("Published: none (a forest: 0.727 accuracy on ESC-10).", "", ""),
        ("", "", ""),
    ],
)
def test_data_and_score_are_read_from_the_labels(tmp_path: Path, lines: str, data: str, score: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f'"""Mine.\n\nSource: a.b/c @ 12ab (code).\n{lines}\n"""\n')
    found = summarize("mine", path)
    assert (found.data, found.score, found.solution) == (data, score, "a.b/c")


def test_a_file_that_is_not_python_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("x = 1\nx = (\n")
    with pytest.raises(AkitError, match=r"broken\.py, line 2"):
        summarize("broken", path)
