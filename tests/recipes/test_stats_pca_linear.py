"""The baseline on real clips, on generated ones, and with several labels a clip."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace


def test_reaches_88_percent_on_the_official_folds_of_esc10(esc10: Path, tmp_path: Path) -> None:
    workspace = init_workspace(tmp_path / "work", esc10, metric="accuracy")
    run, _ = run_recipe(workspace, load_recipe("stats_pca_linear"), workers=2)
    assert sorted(run.done) == ["1", "2", "3", "4", "5"]
    assert run.record.metrics["accuracy"] >= 0.88
    assert run.record.metrics["f1"] >= 0.88


def test_the_small_form_walks_the_same_code_on_fewer_clips(workspace: Workspace) -> None:
    recipe = load_recipe("stats_pca_linear")
    run, _ = run_recipe(workspace, recipe, recipe.settings(fast=True), fast=True)
    assert run.finished
    assert run.oof is not None
    assert 0 < len(run.oof.ids) < 48


def test_more_components_than_clips_is_no_mistake(workspace: Workspace) -> None:
    recipe = load_recipe("stats_pca_linear")
    run, _ = run_recipe(workspace, recipe, recipe.settings({"n_components": 5000}), folds=["1"])
    assert run.record.metrics["accuracy"] > 0.6


def test_several_labels_a_clip(workspace: Workspace) -> None:
    """Each clip also bears the label `low` or `high`: two questions, each answered better than by chance."""
    labels = [[*label, "loud" if rms > 0.1 else "quiet"] if label else [] for label, rms in labels_and_rms(workspace)]
    classes = {**workspace.config.classes, "loud": 3, "quiet": 4}
    workspace.manifest.with_columns(label=pl.Series(labels)).write_parquet(workspace.manifest_path)
    config = workspace.config.model_copy(update={"task": "multi", "classes": classes, "label_separator": ","})
    run, _ = run_recipe(Workspace(workspace.root, config), load_recipe("stats_pca_linear"))
    assert run.record.metrics["map"] > 0.7
    assert run.oof is not None
    assert (run.oof.probabilities.sum(axis=1) > 1).any()


def labels_and_rms(workspace: Workspace) -> list[tuple[list[str], float]]:
    return workspace.manifest.select("label", "rms").rows()


def test_weights_of_clips(workspace: Workspace) -> None:
    """Clips of one class that weigh little are predicted less often; equal weights change nothing."""
    recipe, manifest = load_recipe("stats_pca_linear"), workspace.manifest
    rare = pl.col("label").list.first() == next(iter(workspace.config.classes))
    means = []
    for weight in (None, 2.0, pl.when(rare).then(0.001)):
        rows = manifest.with_columns(weight=pl.when(pl.col("split") == "train").then(weight).cast(pl.Float64))
        rows.write_parquet(workspace.manifest_path)
        run, _ = run_recipe(Workspace.find(workspace.root), recipe, folds=["1"])
        assert run.notes == []
        assert run.oof is not None
        means.append(run.oof.probabilities.mean(axis=0)[0])
    np.testing.assert_allclose(means[1], means[0], atol=1e-4)
    assert means[2] < means[0] / 2


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same_predictions(workspace: Workspace, seed: int) -> None:
    recipe = load_recipe("stats_pca_linear")
    first, _ = run_recipe(workspace, recipe, seed=seed, folds=["1"])
    again, _ = run_recipe(workspace, recipe, seed=seed, folds=["1"], fresh=True)
    assert first.oof is not None
    assert again.oof is not None
    np.testing.assert_array_equal(first.oof.probabilities, again.oof.probabilities)


FIT = """
import numpy as np
from acoustic_kit import load_recipe
rng = np.random.default_rng(0)
class Clips(dict): labels, weights = rng.integers(4, size=240), np.ones(240)
rows = rng.standard_t(2, (240, 300)).cumsum(axis=1) + 4 * rng.standard_normal((4, 300))[Clips.labels]
class Fold: train = Clips(x=rows.astype(np.float32))
recipe = load_recipe("stats_pca_linear")
model = recipe.module.train(Fold, recipe.settings()).model
print(model[-1].coef_.astype(float).tobytes().hex())
"""


def fitted(**environment: str) -> np.ndarray:
    command = [sys.executable, "-c", FIT]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    return np.frombuffer(bytes.fromhex(done.stdout.strip())).reshape(4, -1)


def test_other_threads_and_processors_give_the_same_figures() -> None:
    one = fitted(OPENBLAS_NUM_THREADS="1")
    np.testing.assert_array_equal(fitted(OPENBLAS_NUM_THREADS="2"), one)
    np.testing.assert_allclose(fitted(OPENBLAS_CORETYPE="Prescott"), one, atol=1e-6)
