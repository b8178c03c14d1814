"""Modulation beside statistics or covariances: on real clips, on generated ones, with several labels and weights."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace

NAMES = ["stats_modulation_linear", "covariance_modulation_linear"]
SMALL = {"sample_rate": 8000}


@pytest.mark.slow
def test_reaches_92_percent_on_the_official_folds_of_esc10(esc10: Path, tmp_path: Path) -> None:
    workspace = init_workspace(tmp_path / "work", esc10, metric="accuracy")
    run, _ = run_recipe(workspace, load_recipe("stats_modulation_linear"), workers=2)
    assert run.record.metrics["accuracy"] >= 0.92


@pytest.mark.parametrize("name", NAMES)
def test_one_label_a_clip(workspace: Workspace, name: str) -> None:
    recipe = load_recipe(name)
    run, _ = run_recipe(workspace, recipe, recipe.settings(SMALL), folds=["1"])
    assert run.record.metrics["accuracy"] > 0.6
    assert run.notes == []
    assert run.oof is not None
    np.testing.assert_allclose(run.oof.probabilities.sum(axis=1), 1)


@pytest.mark.parametrize("name", NAMES)
def test_several_labels_a_clip(workspace: Workspace, name: str) -> None:
    rows = workspace.manifest.select("label", "rms").rows()
    labels = [[*label, "loud" if rms > 0.1 else "quiet"] if label else [] for label, rms in rows]
    classes = {**workspace.config.classes, "loud": 3, "quiet": 4}
    workspace.manifest.with_columns(label=pl.Series(labels)).write_parquet(workspace.manifest_path)
    config = workspace.config.model_copy(update={"task": "multi", "classes": classes, "label_separator": ","})
    recipe = load_recipe(name)
    run, _ = run_recipe(Workspace(workspace.root, config), recipe, recipe.settings(fast=True), fast=True)
    assert run.oof is not None
    assert (run.oof.probabilities.sum(axis=1) > 1).any()


def test_both_families_have_the_same_variance() -> None:
    """The statistics are many times as many columns, and would drown the modulation."""
    module, rng = load_recipe("stats_modulation_linear").module, np.random.default_rng(0)
    x = rng.standard_normal((50, 120)) * rng.uniform(0.1, 100, 120)
    found = module.standardizer(20, 100, 3.0).fit_transform(x)
    np.testing.assert_allclose(found[:, :20].var(axis=0).sum(), found[:, 20:].var(axis=0).sum(), rtol=0.05)
