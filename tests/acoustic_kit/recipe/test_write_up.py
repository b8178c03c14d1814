"""A write-up's settings beside a recipe's: what is equal, what differs, what the write-up does not have."""

from pathlib import Path

import pytest

from acoustic_kit.errors import AkitError
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.recipe.write_up import Compared, compare

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
WRITE_UP = {"epochs": 3, "lengths": (1, 2), "decay": "0.9, never used", "augment.flip": False, "large": {"epochs": 8}}

def features(s): return {}
def train(fold, s): return None
def predict(model, clips, s): return None
'''


def sizes(folder: Path, text: str = TEXT) -> Path:
    (folder / "sizes.py").write_text(text)
    return folder


def test_settings_stand_beside_the_write_up(tmp_path: Path) -> None:
    settings = compare(load_recipe("small", sizes(tmp_path)))
    assert settings == [
        Compared("epochs", True, 3, 3),
        Compared("lengths", True, (1, 2), (1, 2)),
        Compared("decay", True, "0.9, never used", None),
        Compared("augment.flip", True, False, True),
        Compared("micro_batch", False, None, None),
    ]
    assert [setting.name for setting in settings if setting.differs] == ["decay", "augment.flip"]


def test_a_variant_has_entries_of_its_own(tmp_path: Path) -> None:
    first = compare(load_recipe("large", sizes(tmp_path)))[0]
    assert (first.there, first.here, first.differs) == (8, 9, True)


def test_a_variants_documentation_leaves_out_the_others_scores(tmp_path: Path) -> None:
    small, large = (load_recipe(name, sizes(tmp_path)) for name in ("small", "large"))
    assert small.doc == "Two sizes.\n\nPublished small: 0.8\nDiffers: nothing."
    assert large.doc == "Two sizes.\n\nPublished large: 0.9\n  on a private board.\nDiffers: nothing."
    assert "Published small" in load_recipe(tmp_path / "sizes.py").doc


def test_a_recipe_without_a_write_up_says_nothing(tmp_path: Path) -> None:
    text = "\n".join(line for line in TEXT.splitlines() if not line.startswith("WRITE_UP"))
    assert not any(setting.said for setting in compare(load_recipe("small", sizes(tmp_path, text))))


def test_an_entry_that_is_no_setting_is_told(tmp_path: Path) -> None:
    recipe = load_recipe("small", sizes(tmp_path, TEXT.replace('WRITE_UP = {"epochs"', 'WRITE_UP = {"epoch"')))
    with pytest.raises(AkitError, match=r"sizes\.py: WRITE_UP names 'epoch', which is no setting"):
        compare(recipe)
