"""What holds for every torch recipe: its small form runs, a kill changes nothing, weights are stored and read back."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.device import Compute
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.run import open_run
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.training import load_tensors
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace

RECIPES = ["tiny_resnet_transformer", "logmel_cnn"]
SMALL = {
    "tiny_resnet_transformer": ["d_model=8", "n_heads=2", "feedforward=8", "epochs=4"],
    "logmel_cnn": ["width=4", "frames=24", "n_mels=32", "epochs=4"],
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_small_form_runs_and_stores_weights_that_can_be_read(workspace: Workspace, name: str) -> None:
    recipe = load_recipe(name)
    settings = recipe.settings(fast=True)
    run, _ = run_recipe(workspace, recipe, settings, fast=True)
    assert run.finished
    assert run.bias_warnings == []
    assert run.done["1"].device in {"cpu", "cuda"}
    assert not (run.path / "checkpoints" / "1").exists()
    net = recipe.build_model(3, **settings.model_dump())
    net.load_state_dict(load_tensors(run.path / "folds" / "1" / "model.safetensors"))
    if name == "logmel_cnn":  # the longest clip has 22 frames
        assert settings.frames > 200
        assert net.frames == 22
    assert run.oof is not None
    np.testing.assert_allclose(run.oof.probabilities.sum(1), 1)


@pytest.mark.parametrize(("name", "length"), [("logmel_cnn", (24,)), ("eat_s_esc50", ())])
def test_settings_for_long_clips_are_those_of_the_batches(name: str, length: tuple[int, ...]) -> None:
    recipe = load_recipe(name)
    batches = [
        recipe.module.batches(recipe.settings(parse_assignments(recipe, assignments)), *length)
        for assignments in ([], ["window=loudest", "crops=3"])
    ]
    assert [(form.window, form.crops) for form in batches] == [("random", None), ("loudest", 3)]


@pytest.mark.parametrize("name", RECIPES)
def test_predictions_depend_on_seed_not_held_out_labels(workspace: Workspace, name: str) -> None:
    recipe = load_recipe(name)
    settings = recipe.settings(parse_assignments(recipe, SMALL[name]))
    first, _ = run_recipe(workspace, recipe, settings, folds=["2"], compute=Compute("cpu"))
    again, _ = run_recipe(workspace, recipe, settings, folds=["2"], compute=Compute("cpu"), fresh=True)
    other, _ = run_recipe(workspace, recipe, settings, folds=["2"], compute=Compute("cpu"), seed=1)
    in_fold = pl.col("fold") == 2
    turned = workspace.manifest.with_columns(
        label=pl.when(in_fold).then(pl.col("label").reverse().over("fold")).otherwise("label")
    )
    assert not turned["label"].equals(workspace.manifest["label"])
    turned.write_parquet(workspace.manifest_path)
    permuted, _ = run_recipe(Workspace.find(workspace.root), recipe, settings, folds=["2"], compute=Compute("cpu"))
    assert first.oof is not None
    for run, same in ((again, True), (permuted, True), (other, False)):
        assert run.oof is not None
        assert np.array_equal(run.oof.aligned(first.oof.ids), first.oof.probabilities) == same


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_killed_run_ends_with_same_predictions(workspace: Workspace, name: str) -> None:
    recipe = load_recipe(name)
    settings = recipe.settings(parse_assignments(recipe, SMALL[name]))
    whole, _ = run_recipe(workspace, recipe, settings, folds=["1"], compute=Compute("cpu"))
    expected = (whole.path / "oof.parquet").read_bytes()
    command = [sys.executable, "-c", "from acoustic_kit.cli import main; main()", "-C", str(workspace.root)]
    command += ["recipe", "run", name, "--folds", "1", "--device", "cpu", "--fresh"]
    for assignment in SMALL[name]:
        command += ["--set", assignment]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)
    state = whole.path / "checkpoints" / "1"
    while not list(state.glob("*/state.safetensors")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not Path(whole.path / "folds" / "1").exists()
    resumed = subprocess.run(
        [part for part in command if part != "--fresh"], check=True, capture_output=True, env=environment
    )
    assert b"already there" not in resumed.stderr
    assert (whole.path / "oof.parquet").read_bytes() == expected
    assert list(open_run(whole.path).done) == ["1"]


@pytest.mark.slow
def test_the_cnn_learns_a_fold_of_esc10(esc10: Path, tmp_path: Path) -> None:
    workspace = init_workspace(tmp_path / "work", esc10, metric="accuracy")
    run, _ = run_recipe(workspace, load_recipe("logmel_cnn"), folds=["4"], workers=2)
    assert run.record.metrics["accuracy"] >= 0.87
