"""`--set`: texts, and files of them, become values of the recipe's settings."""

from pathlib import Path

import pytest

from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.errors import UsageError
from acoustic_kit.recipe.recipe import Recipe, load_recipe

RECIPE = """import acoustic_kit as akit
class Settings(akit.Settings):
    epochs: int = 3
    rate: float = 0.1
    lengths: tuple[int, ...] = (1, 2)
    share: int | float = 0.97
    name: str = "x"
def features(s): return {}
def train(fold, s): ...
def predict(model, clips, s): ...
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "mine.py").write_text(RECIPE)
    return load_recipe(tmp_path / "mine.py")


@pytest.mark.parametrize("lengths", ["4,5,6", "[4, 5, 6]", "(4, 5, 6,)"])
def test_assignments_become_values_of_the_settings_types(recipe: Recipe, lengths: str) -> None:
    found = parse_assignments(recipe, ["epochs=7", "rate=1e-3", f"lengths={lengths}", "share=40", "name=1"])
    expected = {"epochs": 7, "rate": 1e-3, "lengths": (4, 5, 6), "share": 40, "name": "1"}
    assert recipe.settings(found).model_dump() == expected


def test_an_assignment_without_equals_is_a_usage_error(recipe: Recipe) -> None:
    with pytest.raises(UsageError, match=r"--set epochs: .*key=value"):
        parse_assignments(recipe, ["epochs"])


def test_a_file_of_assignments_stands_for_its_lines(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "best of 3.txt"
    path.write_text("# what won\n\nepochs=7\n  name=x=y # z\nlengths=4,5\n")
    found = parse_assignments(recipe, ["share=40", f"@{path}", "rate=1", "share=50"])
    assert found == {"share": "50", "epochs": "7", "name": "x=y # z", "lengths": ["4", "5"], "rate": "1"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "none.txt cannot be read: No such file"),
        (b"epochs=1\n\nepochs 7\n", r"none.txt, line 3: 'epochs 7': write it as key=value"),
        (b"\xff\xfe\x00", "none.txt cannot be read: it is not text"),
    ],
)
def test_a_bad_file_of_assignments_is_named(recipe: Recipe, tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "none.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=says):
        parse_assignments(recipe, [f"@{path}"])
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        parse_assignments(recipe, [f"@{tmp_path}"])
