"""Each of the eight models of UrbanSound8K's winner learns twenty real clips by heart."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.data.clips import Clips, Fold
from acoustic_kit.device import Compute
from acoustic_kit.features import build_features
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace

# What makes learning by heart hard is off, and a low rate makes the pictures small, for two cores. After some 15 steps
# the clips are known; the others are for the running statistics of batch normalisation.
EASY = "mixup=0 max_mask_frames=0 rho=0.01 batch_size=20 epochs=30 checkpoint=last sample_rate=8000 seconds=5 n_mels=32"
HEAD = "max_mask_bands=0 label_smoothing=0 dropout=0"
OTHER = {
    "resnet34_pcen_sam_8fold": "max_mask_bands=0",
    "resnet34_pcen_sam_8f_200e": "freq_mask_ratio=0 label_smoothing=0 warm_up_epochs=0 lr=1e-3 epochs=40",
    "resnet34_attention": HEAD,
    "resnet34_pcen_salience_fusion_attention": f"{HEAD} salience=manifest",
    "resnet34_salience_fusion_film_attention": f"{HEAD} salience=manifest noise_and_gain=0 schedule=intended n_mels=16",
    "resnet34_mr_salience_fusion_film_attention": f"{HEAD} salience=manifest warm_up_epochs=0 n_mels=16",
    "wideresnet": f"{HEAD} salience=manifest bottleneck=16 epochs=45",
    "res2net50": f"{HEAD} salience=manifest base_width=8 epochs=40",
}


@pytest.fixture(scope="module")
def esc10_workspace(esc10: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return init_workspace(tmp_path_factory.mktemp("overfit") / "work", esc10, metric="accuracy")


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHER)
def test_it_over_fits_twenty_clips(esc10_workspace: Workspace, tmp_path: Path, name: str) -> None:
    workspace, recipe = esc10_workspace, load_recipe(name)
    settings = recipe.settings(parse_assignments(recipe, f"{EASY} {OTHER[name]}".split()))
    rows = workspace.manifest.filter(pl.int_range(pl.len()).over("label") < 2)
    rows = rows.with_columns(salience=pl.Series([1, 2] * 10))  # says nothing of the class
    wave = recipe.features(settings)["wave"]
    build_features(rows, workspace.data_root, workspace.store(), [wave])
    clips = Clips(
        rows, tuple(workspace.config.classes), "single", {"wave": workspace.store()[wave.key]}, Compute("cpu")
    )
    fold = Fold("1", clips, None, 0, "accuracy", tmp_path, lambda *_: None)
    probabilities = recipe.predict(recipe.train(fold, settings).model, clips, settings)
    assert len(clips) == 20
    assert np.mean(probabilities.argmax(axis=1) == clips.labels) >= 0.95
