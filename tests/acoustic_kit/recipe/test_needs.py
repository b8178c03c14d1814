from pathlib import Path

import pytest

from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.device import Compute
from acoustic_kit.errors import AkitError
from acoustic_kit.recipe.needs import Needs
from acoustic_kit.recipe.recipe import find_recipes, load_recipe, recipe_folders
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace

RECIPE = """
import acoustic_kit as akit
class Settings(akit.Settings):
    column: str = "id"
    best: bool = False
def needs(s): return akit.Needs(columns=(s.column,), validation=s.best)
def features(s): raise AssertionError("features were asked for")
train = predict = lambda *_: None
"""


def no_weights() -> None:
    raise AkitError("no weights")


def test_each_need_is_checked() -> None:
    Needs().check([], full=True)
    Needs(("a",), validation=True).check(["a", "b"], full=False)
    with pytest.raises(AkitError, match=r"'b'.*\n.*--set b=none"):
        Needs(("a", "b")).check(["a"], full=False)
    with pytest.raises(AkitError, match="--full"):
        Needs(validation=True).check([], full=True)
    with pytest.raises(AkitError, match="no weights"):
        Needs(weights=no_weights).check([], full=False)


def test_weights_that_random_ones_can_replace_are_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Needs(weights=dict, or_random=True).check([], full=False) is None
    assert "no weights" in str(Needs(weights=no_weights, or_random=True).check([], full=False))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    recipe = load_recipe("freesound_mobilenet_pca")
    settings = {False: recipe.settings({"checkpoint": "last"}), True: recipe.settings(fast=True)}
    assert "pretrained=false" in str(recipe.needs(settings[False]).check([], full=True))
    assert recipe.needs(settings[True]).check([], full=False) is None  # the small form asks for none


@pytest.mark.parametrize(("setting", "says"), [("column=salience", "salience"), ("best=true", "checkpoint=last")])
def test_missing_need_fails_before_features_and_leaves_no_run(
    workspace: Workspace, tmp_path: Path, setting: str, says: str
) -> None:
    (tmp_path / "needy.py").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "needy.py")
    with pytest.raises(AkitError, match=says):
        run_recipe(workspace, recipe, recipe.settings(parse_assignments(recipe, [setting])), full=True)
    assert not workspace.runs_path.exists() or not list(workspace.runs_path.iterdir())


@pytest.mark.parametrize("name", ["stats_pca_linear", "logmel_cnn"])
def test_a_missing_gpu_is_told_before_features_and_leaves_no_run(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("acoustic_kit.recipe.job.build_features", None)
    with pytest.raises(AkitError, match="--device cpu"):
        run_recipe(workspace, load_recipe(name), compute=Compute("cuda"))
    assert not workspace.runs_path.exists()


@pytest.mark.parametrize("name", sorted(find_recipes(recipe_folders())))
def test_the_recipes_say_what_they_need(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    if "salience" in recipe.fields:
        assert recipe.needs(recipe.settings({"salience": "manifest"})).columns == ("salience",)
        assert recipe.needs(recipe.settings({"salience": "none"})).columns == ()
    if "checkpoint" in recipe.fields:
        assert recipe.needs(recipe.settings({"checkpoint": "best"})).validation
        assert not recipe.needs(recipe.settings({"checkpoint": "last"})).validation
    if name.startswith("eat_"):
        with pytest.raises(AkitError, match="nowhere"):
            recipe.needs(recipe.settings({"pretrained": f"{tmp_path}/nowhere"})).check([], full=False)
    if name == "itmo_ast_inception":
        with pytest.raises(AkitError, match="nowhere"):
            recipe.needs(recipe.settings({"weights": f"{tmp_path}/nowhere"})).check([], full=False)
