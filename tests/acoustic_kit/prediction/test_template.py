"""The run of a recipe that was made from the template predicts in its own workspace, without --trust."""

from pathlib import Path

import numpy as np

from acoustic_kit.prediction import open_predictor, predict_clips
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.recipe.template import new_recipe
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace


def test_the_templates_run_predicts(workspace: Workspace) -> None:
    new_recipe("my_idea", workspace.recipes_path)
    recipe = load_recipe("my_idea", workspace.recipes_path)
    run, _ = run_recipe(workspace, recipe, recipe.settings({"n_trees": 5}), folds=["1"])
    assert run.test is not None
    test = workspace.manifest.filter(workspace.manifest["split"] == "test")
    files = {id: workspace.data_root / path for id, path in test.select("id", "path").iter_rows()}
    found = predict_clips(open_predictor(run.name, Path(workspace.root)), files)
    np.testing.assert_allclose(found.probabilities, run.test.aligned(found.ids), rtol=0, atol=1e-12)
