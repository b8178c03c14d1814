"""Small forms that learn an easy task, in a few steps."""

import numpy as np
import pytest
import soundfile

from acoustic_kit.device import Compute
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Three classes of 16 tones each, half a second at 8 kHz, far apart in pitch; two folds."""
    data, rng = tmp_path_factory.mktemp("tones"), np.random.default_rng(0)
    time = np.arange(4000) / 8000
    for label, pitch in (("low", 300), ("middle", 900), ("high", 2700)):
        (data / label).mkdir()
        for take in range(16):
            hz = pitch * (1 + 0.05 * rng.standard_normal())
            wave = 0.3 * np.sin(2 * np.pi * hz * time + rng.uniform(0, 6)) + 0.03 * rng.standard_normal(len(time))
            soundfile.write(data / label / f"{label}-{take}.wav", wave, 8000)
    return init_workspace(tmp_path_factory.mktemp("work") / "work", data, n_folds=2)


SLOW = [
    "tiny_resnet_transformer",
    "eat_s_esc50",  # the variants share one small form
    "itmo_ast_inception",
    "freesound_mobilenet_pca",
    "sed_cnn",
    "resnet34_pcen_sam_8fold",
    "resnet34_pcen_sam_8f_200e",
    "resnet34_attention",
    "resnet34_pcen_salience_fusion_attention",
    "resnet34_salience_fusion_film_attention",
    "resnet34_mr_salience_fusion_film_attention",
    "wideresnet",
    "res2net50",
]


@pytest.mark.parametrize(
    "name",
    ["logmel_cnn", "embedding_linear", "embedding_mlp", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)],
)
def test_the_small_form_beats_chance(tones: Workspace, name: str) -> None:
    recipe = load_recipe(name)
    run, _ = run_recipe(tones, recipe, recipe.settings(fast=True), fast=True, compute=Compute("cpu"))
    assert run.record.metrics["accuracy"] > 0.6
    assert run.warnings == []
