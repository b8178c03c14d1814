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


def fit(labels: np.ndarray, targets: np.ndarray, weights: np.ndarray, task: str) -> np.ndarray:
    """Return the predictions of a model of two columns, one a class."""

    class Clips(dict):
        pass

    x = np.concatenate([np.random.default_rng(0).normal(0, 1, (200, 1)), np.linspace(-1, 1, 200)[:, None]], axis=1)
    clips = Clips(x=(x + 2 * (labels if labels.ndim == 2 else np.eye(2)[labels])).astype(np.float32))
    clips.labels = np.nan_to_num(targets) > 0.5 if task == "multi" else labels
    clips.targets, clips.weights, clips.task, clips.classes = targets, weights, task, ("a", "b")
    recipe = load_recipe("stats_pca_linear")
    found = recipe.module.train(type("Fold", (), {"train": clips}), recipe.settings({"C": 1000.0}))
    assert found.uses == {"soft", "weights"} | ({"unknown"} if task == "multi" else set())
    return recipe.module.predict(found.model, clips, recipe.settings())


def test_soft_unknown_and_weighted_targets_of_several_labels() -> None:
    labels = np.random.default_rng(1).random((200, 2)) < 0.5
    hard, one = labels.astype(np.float32), np.ones(200, np.float32)
    plain = fit(labels, hard, one, "multi")
    np.testing.assert_allclose(fit(labels, hard, 2 * one, "multi"), plain, atol=1e-6)
    light = fit(labels, hard, np.where(labels[:, 0], np.float32(0.01), 1), "multi")
    assert light[:, 0].mean() < plain[:, 0].mean() - 0.1
    soft = fit(labels, np.column_stack([np.full(200, 0.3, np.float32), hard[:, 1]]), one, "multi")
    np.testing.assert_allclose(soft[:, 0], 0.3, atol=0.01)
    np.testing.assert_allclose(soft[:, 1], plain[:, 1], atol=1e-4)
    masked = hard.copy()
    masked[::2, 0] = np.nan
    unknown = fit(labels, masked, one, "multi")
    assert abs(unknown[:, 0].mean() - plain[:, 0].mean()) < 0.05  # as negatives they would halve it


def test_soft_targets_of_one_label() -> None:
    labels, one = np.arange(200) % 2, np.ones(200, np.float32)
    soft = fit(labels, np.tile(np.float32([0.3, 0.7]), (200, 1)), one, "single")
    np.testing.assert_allclose(soft, np.tile([0.3, 0.7], (200, 1)), atol=0.01)


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
class Clips(dict): labels, weights, task = rng.integers(4, size=240), np.ones(240), "single"
Clips.targets = np.eye(4)[Clips.labels]
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
