"""The recipe of winners of BirdCLEF: weights, losses and background, and windows of recordings."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
import timm
import torch
from safetensors.torch import save_file

from acoustic_kit import init
from acoustic_kit.device import Compute
from acoustic_kit.errors import AkitError, AkitWarning, UsageError
from acoustic_kit.prediction import predict_clips
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.run import Run
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.training import load_tensors
from acoustic_kit.workspace.workspace import Workspace

SMALL = {
    "sample_rate": 8000, "seconds": 0.5, "n_fft": (256,), "hop_length": 128, "n_mels": 32, "backbone": "test_resnet",
    "pretrained": False, "hidden": 8, "epochs": 1, "batch_size": 12,
}  # fmt: skip
CPU = Compute("cpu")


def run(workspace: Workspace, **settings: Any) -> Run:
    recipe = load_recipe("sed_cnn")
    return run_recipe(workspace, recipe, recipe.settings({**SMALL, **settings}), folds=["1"], compute=CPU)[0]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A file of weights as timm publishes them, for three colors and with a classifier."""
    torch.manual_seed(3)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "published.safetensors")
    return tmp_path / "published.safetensors"


def test_a_run_needs_neither_the_weights_nor_the_network(
    workspace: Workspace, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(workspace, pretrained=True, weights=str(published), n_fft=(512, 256), lr=1e-9, swa=1)
    assert any(str(published) in note for note in done.notes)
    tensors = load_tensors(done.path / "folds" / "1" / "model.safetensors")
    first = load_tensors(published)["conv1.0.weight"]
    repeated = first[:, [0, 1]] * 3 / 2  # as timm does
    torch.testing.assert_close(tensors["backbone.net.conv1.0.weight"], repeated, atol=1e-5, rtol=1e-4)
    published.unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert done.oof is not None
    ids = done.oof.ids[:3]
    paths = dict(workspace.manifest.select("id", "path").iter_rows())
    found = predict_clips(done.path, {id: workspace.data_root / paths[id] for id in ids}, compute=CPU)
    np.testing.assert_allclose(found.probabilities, done.oof.aligned(ids), atol=1e-5)


def test_missing_weights_are_an_error_before_any_work(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(AkitError, match="pretrained=false") as error:
        run(workspace, pretrained=True)
    assert "timm/test_resnet.r160_in1k" in str(error.value)
    assert not workspace.runs_path.exists() or not list(workspace.runs_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"backbone": "test_resnt"}, "test_resnet"),
        ({"backbone": "mixer_s32_224"}, "32 bands × 32 frames"),
        ({"fmax": 9000.0}, "fmax"),
        ({"pretrained": True, "weights": __file__}, "test_sed_cnn.py"),
        ({"background": "missing_folder"}, "missing_folder"),
        ({"background": "unlabeled"}, "background=FOLDER"),
    ],
)
def test_mistakes_are_named(workspace: Workspace, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(AkitError, match=named):
        run(workspace, **settings)


@pytest.mark.parametrize("settings", [{"ema": 0.9, "swa": 2}, {"weights": "x"}])
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(settings))):
        load_recipe("sed_cnn").settings({**SMALL, **settings})


def test_short_clips_take_a_part_of_the_input(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, lengths = load_recipe("sed_cnn"), set[int]()
    frame_output = recipe.module.SedCnn.frame_output

    def noted(net: torch.nn.Module, waves: torch.Tensor) -> object:
        lengths.add(waves.shape[-1])
        return frame_output(net, waves)

    monkeypatch.setattr(recipe.module.SedCnn, "frame_output", noted)
    settings = recipe.settings({**SMALL, "seconds": 2.5, "short": "halves", "backbone": "test_vit"})
    run_recipe(workspace, recipe, settings, folds=["1"], compute=CPU)
    assert lengths == {5000}  # clips of half a second at 8 kHz


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Eight recordings of 2 s of noise, in windows of 0.5 s, of which every second one has a low or a high tone."""
    data, rng = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    time, events = np.arange(4000) / 8000, []
    (data / "train").mkdir()
    for number in range(8):
        wave = 0.05 * rng.standard_normal(16000)
        for window in range(number % 2, 4, 2):
            label, pitch = (("low", 400), ("high", 2500))[(number + window) // 2 % 2]
            wave[window * 4000 : (window + 1) * 4000] += 0.3 * np.sin(2 * np.pi * pitch * time)
            events.append({"filename": f"{number}.wav", "start": window / 2, "end": window / 2 + 0.5, "label": label})
        soundfile.write(data / "train" / f"{number}.wav", wave, 8000)
    pl.DataFrame(events).write_csv(data / "train_events.csv")
    folder = tmp_path_factory.mktemp("windows") / "work"
    with pytest.warns(AkitWarning, match="16 of them have no label"):
        init(folder, data, train_csv="train_events.csv", window=0.5, n_folds=2, metric="roc_auc", progress=False)
    return Workspace.find(folder)


def test_windows_of_recordings_have_overlapping_inputs(recordings: Workspace) -> None:
    """With background, balanced sampling, two resolutions, focal loss and SWA."""
    options = {
        "background": "unlabeled", "noise": 0.5, "balanced": True, "loss": "focal", "mixup_labels": "union",
        "epochs": 12, "swa": 8, "lr": 3e-3, "clip_output": "max", "n_fft": (512, 256), "hop_length": 64,
        "mixup": 0.0, "dropout": 0.1,
    }  # fmt: skip
    single = run(recordings, **options)
    overlapping = run(recordings, overlap=2, **options)
    assert single.oof is not None
    assert overlapping.oof is not None
    assert single.record.metrics["roc_auc"] > 0.7
    assert single.oof.ids == overlapping.oof.ids
    assert abs(single.oof.probabilities - overlapping.oof.probabilities).max() > 1e-3
    tensors = [load_tensors(one.path / "folds" / "1" / "model.safetensors") for one in (single, overlapping)]
    torch.testing.assert_close(*tensors)  # only the prediction differs
