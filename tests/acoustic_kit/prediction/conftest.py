"""A workspace with trained runs, and recipes that the package does not have."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.run import Run, list_runs
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace

COMPONENTS = '''"""A recipe of the workspace's own, on principal components."""
from sklearn.linear_model import LogisticRegression
import acoustic_kit as akit

class Settings(akit.Settings):
    n: int = 6

def features(s): return {"pca": akit.Pca(akit.Stats(), s.n)}
def train(fold, s): return LogisticRegression(max_iter=500).fit(fold.train["pca"], fold.train.labels)
def predict(model, clips, s): return akit.class_probabilities(model, clips["pca"], len(clips.classes))
'''


@pytest.fixture(scope="session")
def trained(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of `built` with runs of a scikit-learn recipe, a torch recipe and one with `pca`; change nothing."""
    workspace = Workspace.find(shutil.copytree(built, tmp_path_factory.mktemp("trained") / "work"))
    workspace.recipes_path.mkdir()
    (workspace.recipes_path / "components.py").write_text(COMPONENTS)
    for name in ("stats_pca_linear", "components"):
        run_recipe(workspace, load_recipe(name, workspace.recipes_path))
    network = load_recipe("logmel_cnn")
    settings = network.settings({"epochs": 1, "width": 4})
    run_recipe(workspace, network, settings, folds=["1", "2"])
    return workspace


@pytest.fixture
def run_of(trained: Workspace, tmp_path: Path) -> Callable[[str], Run]:
    """A function that gives a copy of the trained run of a recipe, outside the workspace."""

    def copy(recipe: str) -> Run:
        run = next(run for run in list_runs(trained.runs_path) if run.record.recipe == recipe)
        return Run(shutil.copytree(run.path, tmp_path / "copies" / run.name), run.record)

    return copy


@pytest.fixture(scope="session")
def new_files(trained: Workspace) -> dict[str, Path]:
    """The files of the test clips, by id, in the manifest's order."""
    test = trained.manifest.filter(trained.manifest["split"] == "test")
    return {id: trained.data_root / path for id, path in test.select("id", "path").iter_rows()}
