"""The recipe in docs/features.md, which has a feature of its own, in worker processes and from a copy of its run."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from acoustic_kit.errors import AkitError
from acoustic_kit.prediction import predict_clips
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.feature_usage import rebuildable
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace

PAGE = Path(__file__).parents[3] / "docs" / "features.md"


@pytest.fixture
def recipe_path(workspace: Workspace) -> Path:
    texts = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    (text,) = (text for text in texts if "(akit.Feature)" in text)
    workspace.recipes_path.mkdir()
    path = workspace.recipes_path / "loudness_forest.py"
    path.write_text(text)
    return path


def test_it_is_built_by_workers_and_predicts_from_a_copy(
    workspace: Workspace, recipe_path: Path, tmp_path: Path
) -> None:
    recipe = load_recipe("loudness_forest", workspace.recipes_path)
    run, _ = run_recipe(workspace, recipe, folds=["1"], workers=1)
    assert run.test is not None
    (feature,) = recipe.features(recipe.settings()).values()
    stored = workspace.store()[feature.key]
    assert not stored.failures
    assert stored.stack().shape[1] == 20
    again = rebuildable(Workspace.find(workspace.root), stored.attributes)
    assert again is not None
    assert again.key == feature.key
    test = workspace.manifest.filter(workspace.manifest["split"] == "test")
    files = {id: workspace.data_root / path for id, path in test.select("id", "path").iter_rows()}
    copy = shutil.copytree(run.path, tmp_path / "elsewhere" / run.name)
    recipe_path.unlink()
    with pytest.raises(AkitError, match="--trust"):
        predict_clips(copy, files)
    found = predict_clips(copy, files, trust=True)
    np.testing.assert_allclose(found.probabilities, run.test.aligned(found.ids), rtol=0, atol=1e-12)
