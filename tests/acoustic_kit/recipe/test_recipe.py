"""Recipes: found by name, their settings checked, their contract held."""

from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.recipe.job import fast_manifest
from acoustic_kit.recipe.recipe import (
    find_recipes,
    load_recipe,
    match_recipes,
    recipe_folders,
)
from acoustic_kit.recipe.settings import flat_settings
from acoustic_kit.recipe.template import new_recipe
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace

MINIMAL = '''"""A title.

Source: a paper,
  on two lines.
Published: 0.9
"""
import acoustic_kit as akit

class Settings(akit.Settings):
    epochs: int = 3
    rate: float = 0.1
    lengths: tuple[int, ...] = (1, 2)
    share: int | float = 0.97
    name: str = "x"

FAST = akit.Fast(settings={"epochs": 1})

def features(s): return {"x": akit.Stats()}
def train(fold, s): return None
def predict(model, clips, s): return None
'''


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "minimal.py"
    path.write_text(MINIMAL)
    return path


def test_documentation_is_read_from_the_docstring(minimal: Path) -> None:
    recipe = load_recipe(minimal)
    assert recipe.name == "minimal"
    assert recipe.title == "A title."
    assert recipe.note("Source") == "a paper, on two lines."
    assert recipe.note("Published") == "0.9"
    assert recipe.note("Differs") == ""


def test_values_get_the_types_of_the_settings(minimal: Path) -> None:
    s = load_recipe(minimal).settings({"epochs": "7", "rate": 1, "lengths": range(4, 7), "share": 40, "name": "1"})
    assert s.model_dump() == {"epochs": 7, "rate": 1.0, "lengths": (4, 5, 6), "share": 40, "name": "1"}


def test_lines_of_earlier_versions_are_values_too(minimal: Path) -> None:
    recipe = load_recipe(minimal)
    lines = ["epochs=7", "lengths=4,5", "name=x=y"]
    assert recipe.settings(lines) == recipe.settings({"epochs": 7, "lengths": (4, 5), "name": "x=y"})
    assert recipe.settings(["lengths=[1, 2, 3]"]) == recipe.settings({"lengths": (1, 2, 3)})
    with pytest.raises(UsageError, match="'epochs 7'"):
        recipe.settings(["lengths=4,5", "epochs 7"])


def test_values_override_the_fast_settings(minimal: Path) -> None:
    recipe = load_recipe(minimal)
    assert recipe.settings(fast=True).epochs == 1
    assert recipe.settings({"epochs": 2}, fast=True).epochs == 2


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"epoch": 2}, "Did you mean epochs"),
        ({"zzz": 2}, "It has: epochs, rate"),
        ({"epochs": "two"}, "epochs"),
        ({"epochs": 2.5}, "epochs"),
        ({"lengths": [1, "a"]}, "lengths"),
    ],
)
def test_mistaken_values_are_usage_errors(minimal: Path, values: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load_recipe(minimal).settings(values)


def test_settings_are_frozen(minimal: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_recipe(minimal).settings().epochs = 4


def test_a_near_miss_of_a_name_is_suggested() -> None:
    with pytest.raises(UsageError, match="Did you mean stats_pca_linear"):
        load_recipe("stat_pca_linear")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = (", "line 1"),
        ("import acoustic_kit\n\n1 / 0\n", "line 3: ZeroDivisionError"),
        ("import nowhere_to_be_found\n", "line 1: ModuleNotFoundError"),
        ("def train(fold, s): ...\n", "lacks Settings, features, predict"),
    ],
)
def test_a_broken_recipe_says_where(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(AkitError, match=says):
        load_recipe(path)


def test_one_name_twice_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "stats_pca_linear.py").write_text(MINIMAL)
    with pytest.raises(AkitError, match="Two recipes are called stats_pca_linear"):
        find_recipes(recipe_folders(tmp_path))


def test_patterns_match_each_recipe_once(tmp_path: Path) -> None:
    for name in ("my_a", "my_b"):
        (tmp_path / f"{name}.py").write_text(MINIMAL)
    assert [recipe.name for recipe in match_recipes(["my_*", "my_a"], tmp_path)] == ["my_a", "my_b"]
    with pytest.raises(UsageError, match="your_"):
        match_recipes(["your_*"], tmp_path)


@pytest.mark.parametrize("torch", [False, True], ids=["scikit-learn", "torch"])
def test_a_template_runs_and_beats_chance(workspace: Workspace, torch: bool) -> None:
    recipe = load_recipe(new_recipe("my_idea", workspace.recipes_path, torch=torch))
    assert recipe.has_network == torch
    assert recipe.settings(fast=True) != recipe.settings()
    run, _ = run_recipe(workspace, recipe, folds=["1", "2"])
    assert run.record.metrics["accuracy"] > 0.6  # of three classes


def test_a_small_form_has_all_test_clips_and_some_of_each_class(workspace: Workspace, minimal: Path) -> None:
    minimal.write_text(MINIMAL.replace("Fast(settings", "Fast(clips_per_class=2, folds=3, settings"))
    manifest = fast_manifest(workspace.manifest, load_recipe(minimal).fast)
    counts = dict(manifest.group_by("split").len().iter_rows())
    tests = workspace.manifest.filter(pl.col("split") == "test")
    assert counts == {"train": 2 * 3 * 3, "test": len(tests)}
    assert manifest["fold"].drop_nulls().unique().sort().to_list() == [1, 2, 3]


def test_the_small_form_of_a_recipe_without_one_is_refused(minimal: Path) -> None:
    minimal.write_text(MINIMAL.replace("FAST =", "QUICK ="))
    with pytest.raises(UsageError, match=r"FAST.*minimal\.py"):
        load_recipe(minimal).settings(fast=True)


def test_the_name_of_a_new_recipe_is_checked(tmp_path: Path) -> None:
    new_recipe("my_idea", tmp_path)
    with pytest.raises(UsageError, match="already"):
        new_recipe("my_idea", tmp_path)
    for bad in ("../escape", "my-idea", "", "_hidden"):
        with pytest.raises(UsageError, match="cannot name"):
            new_recipe(bad, tmp_path)


VARIANTS = MINIMAL.replace(
    "class Settings(akit.Settings):",
    """class Augment(akit.Settings):
    mixup: float = 0.5
    masks: tuple[int, ...] = (1, 2)

class Settings(akit.Settings):
    augment: Augment = Augment()""",
).replace(
    "FAST = akit.Fast(settings={",
    """LONG = {"epochs": 9}
VARIANTS: dict[str, dict] = {"small": {}, "large": LONG | {"augment.mixup": 0.8}}
FAST = akit.Fast(settings={"augment.masks": (5,), """,
)
VARIANTS = VARIANTS.replace("Published: 0.9", "Published: 0.9\nPublished large: 0.95")


@pytest.fixture
def variants(tmp_path: Path) -> Path:
    path = tmp_path / "sizes.py"
    path.write_text(VARIANTS)
    return path


def test_a_file_of_variants_is_a_recipe_for_each(variants: Path) -> None:
    folder = variants.parent
    found = find_recipes([folder])
    assert found == {"small": variants, "large": variants}
    assert [recipe.name for recipe in match_recipes(["*"], folder) if recipe.path == variants] == ["small", "large"]
    with pytest.raises(UsageError, match="There is no recipe 'sizes'"):
        load_recipe("sizes", folder)
    (folder / "large.py").write_text(MINIMAL)
    with pytest.raises(AkitError, match="Two recipes are called large"):
        find_recipes([folder])


def test_a_second_setting_after_one_set_is_no_recipe() -> None:
    with pytest.raises(UsageError, match="--set width=8"):
        load_recipe("width=8")


def test_a_variant_has_its_own_defaults_and_score(variants: Path) -> None:
    small, large = (load_recipe(name, variants.parent) for name in ("small", "large"))
    assert (small.settings().epochs, small.settings().augment.mixup) == (3, 0.5)
    assert (large.settings().epochs, large.settings().augment.mixup) == (9, 0.8)
    assert (small.note("Published"), large.note("Published")) == ("0.9", "0.95")
    fast = large.settings({"rate": 1}, fast=True)  # over the variant's lie the small form's, over those the user's
    assert (fast.epochs, fast.augment.mixup, fast.augment.masks, fast.rate) == (1, 0.8, (5,), 1)


def test_by_its_path_it_has_the_defaults_of_its_settings(variants: Path) -> None:
    recipe = load_recipe(variants)
    assert (recipe.name, recipe.settings().epochs) == ("sizes", 3)
    large = load_recipe("large", variants.parent).settings()
    copy = recipe.settings_class(**large.model_dump(mode="json"))  # as a run's folder holds recipe and settings
    assert copy.model_dump() == large.model_dump()


def test_settings_inside_settings_are_named_with_a_dot(variants: Path) -> None:
    recipe = load_recipe("large", variants.parent)
    assert list(recipe.fields)[:3] == ["augment.mixup", "augment.masks", "epochs"]
    s = recipe.settings({"augment.mixup": 0, "augment.masks": [3, 4]})
    assert (s.augment.mixup, s.augment.masks, s.epochs) == (0, (3, 4), 9)
    flat = flat_settings(s)
    assert list(flat)[:3] == list(recipe.fields)[:3]
    assert (flat["augment.mixup"], flat["augment.masks"]) == (0, [3, 4])


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("mixup", 0, "no setting 'mixup'. Did you mean augment.mixup"),
        ("augment.mixop", 0, "Did you mean augment.mixup"),
        ("augment", 0, "no setting 'augment'"),
        ("augment.mixup", "much", r"setting augment.mixup: .*got 'much'"),
        ("augment.masks", [1, "a"], "setting augment.masks"),
    ],
)
def test_mistakes_in_them_are_named(variants: Path, name: str, value: object, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load_recipe("large", variants.parent).settings({name: value})


def test_settings_that_do_not_go_together_say_why(tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    rule = """    name: str = "x"

    @pydantic.model_validator(mode="after")
    def _fits(self):
        if self.epochs > 5 and self.rate > 1: raise ValueError("too long at such a rate")
        return self"""
    text = MINIMAL.replace("import acoustic_kit as akit", "import acoustic_kit as akit, pydantic")
    path.write_text(text.replace('    name: str = "x"', rule))
    with pytest.raises(UsageError, match=r"^odd: too long at such a rate\.$"):
        load_recipe(path).settings({"epochs": 6, "rate": 2})


# What the runner does for every recipe

NETWORK = MINIMAL.replace("def predict(model, clips, s): return None\n", "").replace(
    "def train(fold, s): return None",
    """import numpy as np, torch
def build_model(s, n_classes): return None
def batches(s): return ("batches", s.epochs)
def train(fold, s): return np.random.rand(), torch.rand(1).item()""",
)


def test_torch_and_numpy_are_seeded_before_training(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    recipe = load_recipe(tmp_path / "net.py")
    first, again, other = (recipe.train(SimpleNamespace(seed=seed), recipe.settings()).model for seed in (1, 1, 2))
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]


def test_a_recipe_without_predict_predicts_over_its_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acoustic_kit.training.forward", lambda *given: given)
    (tmp_path / "net.py").write_text(NETWORK)
    recipe = load_recipe(tmp_path / "net.py")
    assert recipe.predict("model", "clips", recipe.settings()) == ("model", "clips", ("batches", 3))


def test_without_batches_predict_is_required(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK.replace("def batches", "def other"))
    with pytest.raises(AkitError, match="lacks predict"):
        load_recipe(tmp_path / "net.py")
