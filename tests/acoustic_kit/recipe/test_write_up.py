"""Settings whose default is not the published value."""

from pathlib import Path

import pytest

from acoustic_kit.errors import RecipeError
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.recipe.write_up import Difference, differences, has_write_up

TEXT = '''"""Two sizes.

Published small: 0.8
Published large: 0.9
  on a private board.
Differs: nothing.
"""
import acoustic_kit as akit

class Inner(akit.Settings):
    flip: bool = True

class Settings(akit.Settings):
    epochs: int = 3
    lengths: tuple[int, ...] = (1, 2)
    decay: float | None = None
    augment: Inner = Inner()
    micro_batch: int | None = None

VARIANTS = {"small": {}, "large": {"epochs": 9}}
WRITE_UP = {"decay": ("0.9, never used", "why"), "augment.flip": (False, "because"), "large": {"epochs": (8, "more")}}

def features(s): return {}
def train(fold, s): return None
def predict(model, clips, s): return None
'''


def sizes(folder: Path, text: str = TEXT) -> Path:
    (folder / "sizes.py").write_text(text)
    return folder


def test_differences_have_the_published_value_and_the_reason(tmp_path: Path) -> None:
    assert differences(load_recipe("small", sizes(tmp_path))) == {
        "decay": Difference("0.9, never used", None, "why"),
        "augment.flip": Difference(False, True, "because"),
    }


def test_a_variant_has_entries_of_its_own(tmp_path: Path) -> None:
    assert differences(load_recipe("large", sizes(tmp_path)))["epochs"] == Difference(8, 9, "more")


def test_a_variants_documentation_leaves_out_the_others_scores(tmp_path: Path) -> None:
    small, large = (load_recipe(name, sizes(tmp_path)) for name in ("small", "large"))
    assert small.doc == "Two sizes.\n\nPublished small: 0.8\nDiffers: nothing."
    assert large.doc == "Two sizes.\n\nPublished large: 0.9\n  on a private board.\nDiffers: nothing."
    assert "Published small" in load_recipe(tmp_path / "sizes.py").doc


def test_a_recipe_without_a_write_up_has_no_differences(tmp_path: Path) -> None:
    text = "\n".join(line for line in TEXT.splitlines() if not line.startswith("WRITE_UP"))
    recipe = load_recipe("small", sizes(tmp_path, text))
    assert not has_write_up(recipe)
    assert differences(recipe) == {}


@pytest.mark.parametrize(("entry", "says"), [('"decays": (1, "why")', "'decays'"), ('"decay": 3', "'decay'")])
def test_a_wrong_entry_is_named(tmp_path: Path, entry: str, says: str) -> None:
    recipe = load_recipe("small", sizes(tmp_path, TEXT.replace('"decay": ("0.9, never used", "why")', entry)))
    with pytest.raises(RecipeError, match=rf"sizes\.py: WRITE_UP.*{says}"):
        differences(recipe)
