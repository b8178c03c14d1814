"""What every recipe's scores rest on: nothing leaks from the fold that is scored; a seed decides all that is random.

Each recipe runs in its small form on generated sound; the two of `tests/recipes/test_torch_recipes.py` in the default
suite as well.
"""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.data import make_synthetic
from acoustic_kit.device import Compute
from acoustic_kit.recipe.recipe import find_recipes, load_recipe, recipe_folders
from acoustic_kit.recipe.settings import Settings
from acoustic_kit.runs.run import Run
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace

CHEAP = {"stats_pca_linear"}
RECIPES = [
    name if name in CHEAP else pytest.param(name, marks=pytest.mark.slow) for name in find_recipes(recipe_folders())
]
HONEST = {"checkpoint": "last", "pca_fit": "fold"}  # where a write-up looked at the fold that it is scored on
SHORT = {"epochs": 2, "epoch_mix": 0, "width": 8, "frames": 24}


def small_and_honest(name: str) -> Settings:
    """The settings of a recipe's small form, in a few steps, without what would look at the held-out fold."""
    recipe = load_recipe(name)
    short = {key: value for key, value in SHORT.items() if key not in recipe.fast.settings or key == "epochs"}
    chosen = {key: value for key, value in (short | HONEST).items() if key in recipe.fields}
    return recipe.settings(chosen, fast=True)


def train(workspace: Workspace, name: str, seed: int = 0) -> Run:
    """Fold 2 of a recipe, anew."""
    settings = small_and_honest(name)
    run, _ = run_recipe(
        workspace, load_recipe(name), settings, folds=["2"], seed=seed, compute=Compute("cpu"), fresh=True, workers=0
    )
    return run


def outcome(run: Run) -> dict[str, bytes]:
    """The weights of the fold's network, and its predictions, bit by bit."""
    assert run.oof is not None
    assert run.test is not None
    order = np.argsort(run.oof.ids)
    weights = run.path / "folds" / "2" / "model.safetensors"
    return {
        "held-out clips": run.oof.probabilities[order].tobytes(),
        "test clips": run.test.probabilities.tobytes(),
        "weights": weights.read_bytes() if weights.exists() else b"",
    }


@pytest.mark.parametrize("name", RECIPES)
def test_predictions_depend_on_seed_not_on_held_out_labels(workspace: Workspace, name: str) -> None:
    first = train(workspace, name)
    assert first.bias_warnings == []
    expected = outcome(first)
    assert outcome(train(workspace, name)) == expected
    assert (outcome(train(workspace, name, seed=1)) != expected) == load_recipe(name).is_seeded
    turned = workspace.manifest.with_columns(
        label=pl.when(pl.col("fold") == 2).then(pl.col("label").reverse().over("fold")).otherwise("label")
    )
    changed = turned["label"] != workspace.manifest["label"]
    assert set(turned.filter(changed)["fold"]) == {2}
    turned.write_parquet(workspace.manifest_path)
    again = train(Workspace.find(workspace.root), name)
    assert again.name != first.name
    assert outcome(again) == expected


@pytest.fixture(scope="module")
def shuffled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of 160 training clips of four classes, whose labels `labels.parquet` has in another order."""
    data, work = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("shuffled") / "work"
    make_synthetic(data, n_classes=4, clips_per_class=40, seconds=0.5, sample_rate=8000)
    workspace = init_workspace(work, data, metric="accuracy")
    rng = np.random.default_rng(5)
    labels = workspace.manifest["label"].to_list()
    mixed = pl.Series("label", [labels[i] for i in rng.permutation(len(labels))])
    workspace.manifest.with_columns(mixed).write_parquet(work / "shuffled.parquet")
    return work


@pytest.mark.parametrize(
    ("name", "assignments"),
    [
        ("stats_pca_linear", ["sample_rate=8000"]),
        pytest.param(
            "logmel_cnn",
            ["epochs=15", "batch_size=16", "ema=0", "width=8", "frames=24", "n_mels=32", "sample_rate=8000"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_shuffled_labels_give_scores_of_chance(shuffled: Path, name: str, assignments: list[str]) -> None:
    workspace, recipe = Workspace.find(shuffled), load_recipe(name)
    kept, scores = workspace.manifest_path.read_bytes(), {}
    try:
        for what in ("as they are", "shuffled"):
            if what == "shuffled":
                workspace.manifest_path.write_bytes((shuffled / "shuffled.parquet").read_bytes())
            run, _ = run_recipe(
                Workspace.find(shuffled),
                recipe,
                recipe.settings(parse_assignments(recipe, assignments)),
                compute=Compute("cpu"),
            )
            scores[what] = run.record.metrics["accuracy"]
    finally:
        workspace.manifest_path.write_bytes(kept)
    deviation = np.sqrt(0.25 * 0.75 / 160)  # of the score of 160 guesses
    assert scores["as they are"] > 0.7
    assert abs(scores["shuffled"] - 0.25) < 4 * deviation
