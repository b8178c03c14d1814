"""Runs as models of the feature `embed`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import acoustic_kit as akit
from acoustic_kit.data.folds import training_rows
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features import Embed, build_features, fingerprints, for_folds, with_sources
from acoustic_kit.prediction import predict_clips, run_encoder
from acoustic_kit.prediction.saved_models import TENSORS
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.feature_usage import unused_keys
from acoustic_kit.runs.run import Run, open_run
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace

NETWORK = '''"""A network on crops of a spectrogram."""
import torch
from torch import nn
import acoustic_kit as akit
from acoustic_kit.training import Batches, Phase, constant

class Settings(akit.Settings):
    crops: int = 3

def features(s): return {"mel": akit.LogMel(akit.Wave(8000), n_fft=256, hop_length=128, n_mels=8)}
def batches(s): return Batches("mel", 16, frames=8, crops=s.crops)
def build_model(s, n_classes):
    return nn.Sequential(nn.Conv1d(8, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, n_classes))
def train(fold, s): return akit.fit(fold, "net", build_model(s, fold.n_classes), batches=batches(s),
    phases=[Phase(1, constant(1e-2))], optimizer=torch.optim.Adam)
'''
HEAD = '''"""Nearest class means of an embedding."""
from sklearn.linear_model import LogisticRegression
import acoustic_kit as akit

class Settings(akit.Settings):
    model: str = ""

def features(s): return {"x": akit.Embed(s.model)}
def train(fold, s): return LogisticRegression().fit(fold.train["x"], fold.train.labels)
def predict(model, clips, s): return akit.class_probabilities(model, clips["x"], len(clips.classes))
'''


@pytest.fixture(scope="module")
def trained(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a run of the network on folds 1 and 2 of four."""
    workspace = Workspace.find(shutil.copytree(built, tmp_path_factory.mktemp("trained") / "work"))
    workspace.recipes_path.mkdir(exist_ok=True)
    (workspace.recipes_path / "network.py").write_text(NETWORK)
    (workspace.recipes_path / "head.py").write_text(HEAD)
    run_recipe(workspace, load_recipe("network", workspace.recipes_path), folds=["1", "2"])
    return workspace


@pytest.fixture
def run(trained: Workspace) -> Run:
    return open_run(next(trained.runs_path.glob("network-*")))


def built_folds(workspace: Workspace, feature: akit.Feature, *folds: str) -> dict[str, akit.Feature]:
    found = {f: x[0] for f, x in for_folds([feature], workspace.manifest, workspace.data_root, folds).items()}
    build_features(workspace.manifest, workspace.data_root, workspace.store(), list(found.values()))
    return found


def penultimate(workspace: Workspace, run: Run, fold: str, id: str) -> np.ndarray:
    """The input of the last layer, of the crops that the recipe predicts, by the model of a fold."""
    recipe = load_recipe("network", workspace.recipes_path)
    s = recipe.settings()
    net = recipe.module.build_model(s, 3).eval()
    from safetensors.torch import load_file

    net.load_state_dict(load_file(run.path / "folds" / fold / TENSORS))
    mel = workspace.store()[next(iter(recipe.features(s).values())).key]
    spec = workspace.task_spec
    clips = akit.Clips(workspace.manifest.filter(pl.col("id") == id), spec.names, spec.task, {"mel": mel})
    loader = recipe.module.batches(s).open(clips, torch.device("cpu"))
    with torch.inference_mode():
        return torch.cat([net[:-1](x) for (x,) in loader.in_order(loader.crops(None, s.crops))]).numpy()


def test_a_clip_is_embedded_by_the_model_of_its_fold(trained: Workspace, run: Run) -> None:
    feature = Embed(str(run.path))
    folds = built_folds(trained, feature, "1", "2")
    held_out = {fold: training_rows(trained.manifest, fold).valid["id"].to_list() for fold in folds}
    for fold, id in (("1", held_out["1"][0]), ("1", held_out["2"][0]), ("2", held_out["2"][0])):
        frames = penultimate(trained, run, fold, id)
        assert len(frames) == 3  # crops
        found = trained.store()[folds[fold].key].read(id)
        np.testing.assert_allclose(found, frames.mean(axis=0), atol=1e-5)
        predicted = run.predictions("oof", run.record.classes, fold)
        assert predicted is not None
        assert set(predicted.ids) == set(held_out[fold])  # what the model of the fold has not seen
    assert folds["1"].key != folds["2"].key
    test = trained.manifest.filter(pl.col("split") == "test")["id"][0]
    different = [trained.store()[folds[fold].key].read(test) for fold in folds]
    assert not np.allclose(*different)


def test_clips_of_one_shape_are_embedded_together(
    trained: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = built_folds(trained, Embed(str(run.path), pool="none"), "1")["1"]
    rng = np.random.default_rng(0)
    n_mels, frames = trained.store()[with_sources([fold])[1].key].read(trained.manifest["id"][0]).shape
    lengths = [frames, 3 * frames, frames, frames, 3 * frames, frames]
    sources = [rng.standard_normal((n_mels, n)).astype(np.float32) for n in lengths]
    alone = [fold.compute(source) for source in sources]
    calls: list[int] = []
    predict = run_encoder._Loaded._predict
    monkeypatch.setattr(
        run_encoder._Loaded, "_predict", lambda self, *args: (calls.append(len(args[1])), predict(self, *args))
    )
    for found, expected in zip(fold.compute_batch(sources), alone, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert sorted(n for n in calls if n > 1) == [2, 4]


def test_its_source_is_the_runs_own_feature(trained: Workspace, run: Run) -> None:
    sources = with_sources([Embed(str(run.path))])
    assert [feature.name for feature in sources] == ["wave", "logmel", "embed"]
    assert sources[1].key == run.record.features["mel"]


def test_other_layers_are_taken_by_name(trained: Workspace, run: Run) -> None:
    feature = Embed(str(run.path), "0", pool="none")
    fold = built_folds(trained, feature, "1")["1"]
    id = trained.manifest["id"][0]
    assert trained.store()[fold.key].read(id).shape[1] == 6
    with pytest.raises(UsageError, match=r"no layer 'head'; .*0"):
        _ = Embed(str(run.path), "head").key


def test_the_key_is_of_the_networks_and_no_path(trained: Workspace, run: Run, tmp_path: Path) -> None:
    copy = shutil.copytree(run.path, tmp_path / "copy")
    shutil.copytree(trained.recipes_path, tmp_path / "recipes")
    shutil.copy(trained.root / "akit.toml", tmp_path)
    feature = Embed(str(copy))
    assert feature.key == Embed(str(run.path)).key
    assert str(tmp_path) not in json.dumps(feature.parameters())
    path = copy / "folds" / "1" / TENSORS
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert feature.key != Embed(str(copy)).key


def test_a_fold_that_the_run_lacks_is_refused(trained: Workspace, run: Run) -> None:
    with pytest.raises(AkitError, match="no model of fold 3, only of 1, 2"):
        built_folds(trained, Embed(str(run.path)), "3")
    with pytest.raises(AkitError, match="no model of fold full"):
        built_folds(trained, Embed(str(run.path)), "full")


def test_other_folds_are_refused(trained: Workspace, run: Run) -> None:
    ids = trained.manifest.filter(pl.col("fold") == 2)["id"].to_list()
    swapped = pl.when(pl.col("id") == ids[0]).then(pl.lit(1)).otherwise(pl.col("fold")).alias("fold")
    manifest = trained.manifest.with_columns(swapped)
    with pytest.raises(AkitError, match=f"did not hold out 1 of the 13 clips of fold 1 .*{ids[0]}"):
        for_folds([Embed(str(run.path))], manifest, trained.data_root, ["1"], fingerprints(manifest, trained.data_root))


@pytest.mark.parametrize("changes", [{"window": 1.0}, {"hop": 1.0}, {"sample_rate": 8000}, {"revision": "x"}])
def test_parameters_of_other_models_are_refused(run: Run, changes: dict) -> None:
    with pytest.raises(UsageError, match=next(iter(changes))):
        _ = Embed(str(run.path), **changes).key


def change(path: Path, edit: Callable[[dict], object]) -> None:
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))


def test_a_run_that_chose_its_epoch_on_the_fold_is_optimistic(run: Run, tmp_path: Path) -> None:
    copy = shutil.copytree(run.path, tmp_path / "copy")
    assert not Embed(str(copy)).sees_validation
    change(copy / "folds" / "1" / "fold.json", lambda record: record.update(optimistic=["the epoch was chosen"]))
    assert Embed(str(copy)).sees_validation


def test_a_run_without_networks_is_refused(run: Run, tmp_path: Path) -> None:
    copy = shutil.copytree(run.path, tmp_path / "copy")
    (copy / "folds" / "2" / TENSORS).rename(copy / "folds" / "2" / "model.skops")
    with pytest.raises(AkitError, match="copy has no network"):
        _ = Embed(str(copy)).key


def test_a_head_on_a_run_predicts_new_clips(trained: Workspace, run: Run, tmp_path: Path) -> None:
    recipe = load_recipe("head", trained.recipes_path)
    head, _ = run_recipe(trained, recipe, recipe.settings({"model": run.name}), folds=["1", "2"])
    embedded = {feature.key for feature in built_folds(trained, Embed(str(run.path)), "1", "2").values()}
    assert embedded.isdisjoint(unused_keys(trained))  # the head refers to them
    own = head.test
    assert own is not None
    test = trained.manifest.filter(pl.col("split") == "test")
    files = {row["id"]: trained.data_root / row["path"] for row in test.head(4).iter_rows(named=True)}
    found = predict_clips(head.path, files, trust=True)
    np.testing.assert_allclose(found.probabilities, own.aligned(found.ids), atol=1e-6)
    alone = trained.root / "alone" / head.name
    shutil.copytree(head.path, alone)
    with pytest.raises(AkitError, match=rf"of the run {run.name} .*not next to it"):
        predict_clips(alone, files, trust=True)
    moved = shutil.copytree(run.path, tmp_path / "moved")
    with pytest.raises(AkitError, match="network, as it trained moved, is not installed"):
        predict_clips(alone, files, trust=True, weights=moved)
    found = predict_clips(alone, files, trust=True, weights=run.path)
    np.testing.assert_allclose(found.probabilities, own.aligned(found.ids), atol=1e-6)


def test_a_name_is_looked_up_in_the_workspace(trained: Workspace, run: Run) -> None:
    for name in (run.name, f"runs/{run.name}"):
        found = Embed(name).located(trained.model_folders)
        assert found.key == Embed(str(run.path)).key
    assert Embed("owner/name").located(trained.model_folders).model == "owner/name"
