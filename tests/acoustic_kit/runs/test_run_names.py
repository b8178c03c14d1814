"""What the name of a run depends on, and that files are digested once for it."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from acoustic_kit.features import fingerprints
from acoustic_kit.recipe.job import Job, make_job
from acoustic_kit.recipe.recipe import Recipe, load_recipe
from acoustic_kit.runs.run import list_runs
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace

HONEST = "return akit.class_probabilities(model, clips['x'], len(clips.classes))"


def test_the_name_depends_on_what_decides_the_result(workspace: Workspace, write_recipe: Callable[..., Recipe]) -> None:
    recipe = write_recipe()
    names = [
        run_recipe(workspace, recipe)[0].name,
        run_recipe(workspace, recipe, seed=1)[0].name,
        run_recipe(workspace, recipe, full=True)[0].name,
        run_recipe(workspace, recipe, recipe.settings({"scale": 3}))[0].name,
        run_recipe(workspace, write_recipe(predict=HONEST + "  # changed"))[0].name,
    ]
    assert len(set(names)) == 5
    assert len(list_runs(workspace.runs_path)) == 5


def test_a_changed_clip_makes_another_run(workspace: Workspace, recipe: Recipe, tmp_path: Path) -> None:
    data = shutil.copytree(workspace.data_root, tmp_path / "data")
    config = workspace.config.model_copy(update={"data": str(data)})
    first, _ = run_recipe(Workspace(workspace.root, config), recipe, folds=["1"])
    path = data / workspace.manifest["path"][0]
    path.write_bytes((data / workspace.manifest["path"][1]).read_bytes())
    second, trained = run_recipe(Workspace(workspace.root, config), recipe, folds=["1"])
    assert trained
    assert second.name != first.name


@pytest.mark.parametrize("what", ["column", "metric", "helper"])
def test_a_runs_name_has_all_that_a_recipe_can_read(
    workspace: Workspace, tmp_path: Path, what: str, write_recipe: Callable[..., Recipe]
) -> None:
    helper = tmp_path / "_akit_aside.py"
    helper.write_text("X = 1")
    path = write_recipe().path
    path.write_text(path.read_text() + "\nif False:\n    import _akit_aside\n")
    manifest = workspace.manifest.with_columns(salience=pl.lit(1))

    def name(manifest: pl.DataFrame, workspace: Workspace = workspace) -> str:
        recipe = load_recipe(path)
        return Job(workspace, recipe, recipe.settings(), manifest).name

    before = name(manifest)
    moved = manifest.with_columns(path=pl.lit("elsewhere/") + pl.col("path"), mtime_ns=pl.lit(0))
    assert name(moved.with_columns(pl.lit(0.5).alias("peak"))) == before
    if what == "column":
        assert name(manifest.with_columns(salience=pl.lit(2))) != before
    elif what == "metric":
        config = workspace.config.model_copy(update={"metric": "accuracy"})
        assert name(manifest, Workspace(workspace.root, config)) != before
    else:
        helper.write_text("X = 2")
        assert name(manifest) != before


def test_all_seeds_of_a_recipe_without_chance_are_one_run(
    workspace: Workspace, write_recipe: Callable[..., Recipe]
) -> None:
    recipe = write_recipe()
    assert make_job(workspace, recipe, recipe.settings(), 1).name != make_job(workspace, recipe, recipe.settings()).name
    recipe.path.write_text(recipe.path.read_text() + "\nSEEDED = False\n")
    recipe = load_recipe(recipe.path)
    one, other = (make_job(workspace, recipe, recipe.settings(), seed) for seed in (0, 3))
    assert (one.name, one.seed) == (other.name, other.seed)


def test_files_are_digested_once_a_run(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, pca_recipe: Recipe
) -> None:
    calls: list[object] = []

    def noted(*arguments: object) -> dict[str, str]:
        calls.append(arguments)
        return fingerprints(*arguments)

    for module in ("recipe.job", "features.fingerprints", "features.build.plan"):
        monkeypatch.setattr(sys.modules[f"acoustic_kit.{module}"], "fingerprints", noted)
    run_recipe(workspace, pca_recipe)
    assert len(calls) == 1
