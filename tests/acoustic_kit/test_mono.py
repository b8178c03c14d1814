"""Which channel features are computed from."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from acoustic_kit.cli import app
from acoustic_kit.data import odd_clips
from acoustic_kit.errors import UsageError
from acoustic_kit.features import LogMel, Pca, Stats, Wave, feature_from_parameters
from acoustic_kit.prediction import predict_clips
from acoustic_kit.runs.run import list_runs
from acoustic_kit.workspace.workspace import Workspace

RATE = 8000


@pytest.fixture(scope="module")
def opposite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of tones in stereo, whose right channel is the left one with its sign changed."""
    root = tmp_path_factory.mktemp("opposite")
    rng = np.random.default_rng(0)
    for number in range(8):
        wave = 0.4 * np.sin(2 * np.pi * (500, 900)[number % 2] * np.arange(4000) / RATE)
        wave += 0.01 * rng.standard_normal(len(wave))
        path = root / "xy"[number % 2] / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.stack([wave, -wave], axis=1), RATE)
    return root


def made(opposite: Path, folder: Path, *options: str) -> Workspace:
    result = CliRunner().invoke(app, ["init", str(folder), "--data", str(opposite), "--n-folds", "2", *options])
    assert result.exit_code == 0, result.output
    return Workspace.find(folder)


def test_channels_that_cancel_are_told(opposite: Path, tmp_path: Path) -> None:
    odd = odd_clips(made(opposite, tmp_path / "work").manifest)
    assert odd["what"].to_list() == ["silent once its 2 channels are mixed"] * 8


def test_a_workspace_of_one_channel(opposite: Path, tmp_path: Path) -> None:
    workspace = made(opposite, tmp_path / "work", "--mono", "left")
    assert workspace.manifest["peak"].to_numpy() == pytest.approx(0.42, abs=0.03)
    assert not len(odd_clips(workspace.manifest))
    command = ["-C", str(workspace.root), "recipe", "run", "stats_pca_linear", "--set", "sample_rate=8000"]
    result = CliRunner().invoke(app, [*command, "--workers", "0"])
    assert result.exit_code == 0, result.output
    (run,) = list_runs(workspace.runs_path)
    assert run.record.features["x"] == Stats(Wave(RATE, mono="left")).key
    stored = workspace.store()[Wave(RATE, mono="left").key].read("x/0.wav")
    np.testing.assert_allclose(stored, soundfile.read(opposite / "x" / "0.wav")[0][:, 0], atol=1e-4)
    # A run that is taken elsewhere computes its features from the same channel.
    paths = {id: opposite / path for id, path in workspace.manifest.select("id", "path").iter_rows()}
    found = predict_clips(run.path, paths, trust=True)
    assert [found.classes[k] for k in found.probabilities.argmax(axis=1)] == [id[0] for id in paths]


def test_the_mean_leaves_keys_as_they_were() -> None:
    assert Wave(mono="mean").key == Wave().key
    assert "mono" not in Wave().parameters()


@pytest.mark.parametrize("feature", [Wave(), LogMel(), Pca(Stats())])
def test_channel_is_part_of_the_keys_of_dependent_features(feature: Stats) -> None:
    left = feature.with_mono("left")
    assert left.key != feature.key
    assert feature.with_mono("mean") == feature
    assert left.with_mono("right") == left  # a choice of its own stays
    if not isinstance(feature, Pca):
        assert feature_from_parameters(left.parameters()) == left


def test_an_unknown_channel_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="centre"):
        Wave(mono="centre")  # type: ignore[arg-type]
