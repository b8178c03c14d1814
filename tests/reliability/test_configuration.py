"""Mistakes in akit.toml, in settings and in the parameters of features are told before any work begins."""

import types
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

from acoustic_kit.cli.app import app
from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.errors import UsageError
from acoustic_kit.recipe.recipe import Recipe, find_recipes, load_recipe, recipe_folders
from acoustic_kit.workspace.config import CONFIG_NAME
from acoustic_kit.workspace.workspace import Workspace

RECIPES = list(find_recipes(recipe_folders()))


def told(workspace: Workspace, *arguments: str) -> tuple[int, str]:
    """The exit code and the message, of at most two lines; nothing was made."""
    before = sorted(workspace.root.rglob("*"))
    result = CliRunner().invoke(app, ["-C", str(workspace.root), *arguments])
    assert sorted(workspace.root.rglob("*")) == before
    message = result.stderr.strip()
    assert message.startswith("Error: ")
    assert message.count("\n") <= 1
    assert "defect" not in message
    return result.exit_code, message


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("metric =", "metrik =", "metrik is unknown. Did you mean metric?"),
        ("data =", "colour = 3\ndata =", "colour is unknown. It has: data, layout, task,"),
        ('"f1"', "3", "metric: Input should be a valid string"),
        ('"f1"', '"f2"', "metric: unknown metric 'f2'; did you mean 'f1'?"),
        ('"single"', '"singel"', "task: Input should be 'single' or 'multi'"),
        ('features = ["stats"]', "features = 7", "features: Input should be a valid tuple"),
        ('features = ["stats"]', 'features = ["stat"]', "It is listed in `features` of akit.toml."),
        ('features = ["stats"]', 'features = ["stats:n_fft=7"]', "n_fft is 7; it must be even and positive"),
        (" = 0\n", ' = "none"\n', "Input should be a valid integer"),
        (" = 0\n", " = 1\n", "have the same index, 1"),
        ("[classes]", "[classes", "is not valid TOML"),
    ],
)
def test_akit_toml(workspace: Workspace, old: str, new: str, says: str) -> None:
    path = workspace.root / CONFIG_NAME
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    code, message = told(workspace, "features", "build")
    assert code in {1, 2}
    assert says in message


def test_several_labels_where_the_task_is_single(workspace: Workspace) -> None:
    import polars as pl

    two = pl.when(pl.col("split") == "train").then(pl.lit(list(workspace.config.classes)[:2])).otherwise("label")
    workspace.manifest.with_columns(label=two).write_parquet(workspace.manifest_path)
    assert "task is single" in told(workspace, "features", "build")[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["recipe", "run", "stats_pca_linear", "--set", "n_component=3"], "Did you mean n_components?"),
        (["recipe", "run", "eat_s_esc50", "--set", "augment.mixup=maybe"], "valid boolean"),
        (["recipe", "run", "stats_pca_linear", "logmel_cnn", "--set", "epochs=3"], "no setting 'epochs'"),
        (["recipe", "run", "logmel_cnn", "--set", "epochs=many"], "valid integer"),
        (["recipe", "run", "logmel_cnn", "--set", "lr=nan"], "finite number"),
        (["recipe", "run", "tiny_resnet_transformer", "--set", "n_heads=7"], "must be a multiple of n_heads, 7"),
        (["recipe", "run", "logmel_cnn", "--set", "n_mels=0"], "greater than or equal to 1"),
        (["recipe", "run", "stats_pca_linear", "--folds", "1,9"], "There is no fold 9"),
        (["recipe", "tune", "stats_pca_linear", "--set", "clipp=3"], "Did you mean clip?"),
        (["features", "build", "wave:sample_rat=8000"], "Did you mean sample_rate?"),
        (["features", "build", "logmel:n_mels=0"], "it must be at least 1"),
        (["blend", "--metric", "f2"], "did you mean 'f1'"),
        (["blend", "--method", "magic"], "There is no blend method 'magic'"),
        (["blend", "--name", "../x"], "use letters, digits"),
    ],
)
def test_options(workspace: Workspace, arguments: list[str], says: str) -> None:
    code, message = told(workspace, *arguments)
    assert code == 2
    assert says in message


def test_a_template_that_is_gone_is_told_before_runs_are_blended(workspace: Workspace) -> None:
    path = workspace.root / CONFIG_NAME
    path.write_text(f'template = "gone.csv"\n{path.read_text("utf-8")}', "utf-8")
    assert "gone.csv" in told(workspace, "blend")[1]


@pytest.mark.parametrize("name", RECIPES)
def test_no_number_of_a_recipe_may_be_below_zero(name: str) -> None:
    recipe = load_recipe(name)
    numbers = {key: info for key, info in recipe.fields.items() if holds_numbers(info)}
    assert numbers
    for key in numbers:
        with pytest.raises(UsageError) as caught:
            check(recipe, f"{key}=-1")
        assert "\n" not in str(caught.value)


def check(recipe: Recipe, assignment: str) -> None:
    """What runs before any work."""
    for feature in recipe.features(recipe.settings(parse_assignments(recipe, [assignment]))).values():
        _ = feature.parameters()


def holds_numbers(info: FieldInfo) -> bool:
    """Whether a setting is a number, or a list of them."""
    return _is_number(info.annotation)


def _is_number(kind: Any) -> bool:
    if get_origin(kind) in {Union, types.UnionType, tuple}:
        return any(_is_number(part) for part in get_args(kind))
    if get_origin(kind) is Literal:
        return False
    return (get_args(kind) or (kind,))[0] in {int, float}
