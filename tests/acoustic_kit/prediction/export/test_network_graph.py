"""The networks of a run as a file that reads features."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from acoustic_kit.data.clips import Clips
from acoustic_kit.errors import RunError, UsageError
from acoustic_kit.features import build_features
from acoustic_kit.prediction.export import NetworkGraph, OnnxModel, export_model, export_networks
from acoustic_kit.prediction.export.plan import Plan
from acoustic_kit.prediction.new_clips import NewClip, manifest_rows
from acoustic_store import FeatureStore

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

Made = Callable[..., Any]
Waves = Callable[[int, float], list[np.ndarray]]
SECONDS = 0.8


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["logmel_cnn", "tiny_resnet_transformer", "resnet34_attention"])
def test_networks_and_a_whole_file_predict_the_same(tmp_path: Path, untrained: Made, waves: Waves, recipe: str) -> None:
    run = untrained(recipe)
    export_networks(run, SECONDS, tmp_path / "networks.onnx")  # raises unless they are equal to torch
    networks = NetworkGraph.open(tmp_path / "networks.onnx")
    (path,) = export_model(run, tmp_path / "whole.onnx", seconds=SECONDS)
    whole = OnnxModel.open(path)
    decoded = waves(whole.sample_rate, SECONDS)
    files = [tmp_path / f"{i}.wav" for i in range(len(decoded))]
    for file, wave in zip(files, decoded, strict=True):
        soundfile.write(file, wave, whole.sample_rate, subtype="FLOAT")
    features = run.members[0].features_of("1")
    rows = manifest_rows([NewClip(file.name, file, file.name) for file in files])
    store = FeatureStore.open(tmp_path / "features.zarr", create=True)
    build_features(rows, Path("/"), store, list(features.values()))
    stored = {name: store[feature.key] for name, feature in features.items()}
    clips = Clips(rows, run.task_spec.names, run.task_spec.task, stored)
    np.testing.assert_allclose(networks.predict(clips), whole.predict(decoded), atol=1e-4)


def test_networks_that_read_more_than_sound_are_refused(tmp_path: Path, untrained: Made) -> None:
    run = untrained("resnet34_salience_fusion_film_attention", salience="manifest")
    with pytest.raises(UsageError, match="--engine torch"):
        export_networks(run, SECONDS, tmp_path / "networks.onnx")
    assert not list(tmp_path.iterdir())


def test_networks_that_differ_from_torch_are_not_written(
    tmp_path: Path, untrained: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plan, "difference", lambda *_: 0.002)
    with pytest.raises(RunError, match="differ from torch"):
        export_networks(untrained("logmel_cnn", width=4), SECONDS, tmp_path / "networks.onnx")
    assert not list(tmp_path.iterdir())
