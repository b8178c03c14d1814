"""The feature `embed`: windows, pooling, keys and builds."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features import Embed, Wave, build_features, feature_from_parameters, feature_from_text
from acoustic_kit.features.embed.embed import weights_digest
from acoustic_kit.features.embed.windows import batches, pool, split
from acoustic_kit.workspace.workspace import Workspace

RATE, LENGTH = 16000, 400 + 63 * 160  # of `tiny_ast`


def wave(n: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(n).standard_normal(n)).astype(np.float32)


def test_windows_are_spread_and_the_last_ends_with_the_clip() -> None:
    clip = np.arange(10)
    assert [list(x) for x in split(clip, 4, 3)] == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert [x[0] for x in split(clip, 4, 4)] == [0, 3, 6]
    assert [x[0] for x in split(clip, 9, 9)] == [0, 1]
    assert [len(x) for x in split(clip, 10, 1)] == [10]


def test_batches_hold_so_many_samples_of_one_length_unless_mixed() -> None:
    assert batches([5, 3, 5, 3, 20], 10, mixed=True) == [[1, 3], [0, 2], [4]]
    assert batches([5, 4, 5], 15, mixed=True) == [[1, 0, 2]]
    assert batches([5, 4, 5], 15, mixed=False) == [[1], [0, 2]]
    assert batches([], 15, mixed=True) == []


def test_pools() -> None:
    frames = np.array([[1, 5], [3, 5]], np.float32)
    assert pool(frames, "mean").tolist() == [2, 5]
    assert pool(frames, "max").tolist() == [3, 5]
    assert pool(frames, "mean+std").tolist() == [2, 5, 1, 0]
    assert pool(frames, "none") is frames


def test_long_clips_are_pooled_over_all_windows(tiny_ast: Path) -> None:
    whole, clip = Embed(str(tiny_ast)), wave(LENGTH + 4000)
    first, last = whole.compute(clip[:LENGTH]), whole.compute(clip[-LENGTH:])
    np.testing.assert_allclose(whole.compute(clip), (first + last) / 2, atol=1e-6)
    np.testing.assert_allclose(replace(whole, pool="max").compute(clip), np.maximum(first, last), atol=1e-6)
    both = replace(whole, pool="mean+std").compute(clip)
    np.testing.assert_allclose(both, np.concatenate([(first + last) / 2, np.abs(first - last) / 2]), atol=1e-6)
    narrow = replace(whole, window=0.25, hop=0.125, pool="none").compute(clip[:8000])
    assert narrow.shape == (3, 32)
    np.testing.assert_allclose(narrow[1], whole.compute(clip[2000:6000]), atol=1e-6)


def test_the_key_is_of_the_files_and_no_path(tiny_ast: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_ast, tmp_path / "copy")
    feature = Embed(str(copy))
    assert feature.key == Embed(str(tiny_ast)).key
    assert str(copy) not in json.dumps(feature.parameters())
    changes: list[dict] = [{"layer": "1"}, {"pool": "max"}, {"window": 0.5}, {"hop": 0.1}, {"wave": Wave(peak=1.0)}]
    keys = {feature.key, *(replace(feature, **change).key for change in changes)}
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        with (copy / name).open("ab") as file:
            file.write(b" ")
        keys.add(Embed(str(copy)).key)
    assert len(keys) == 1 + len(changes) + 3


def test_the_wave_has_the_rate_of_the_model(tiny_ast: Path) -> None:
    feature = feature_from_text(f"embed:model={tiny_ast},pool=mean+std,layer=-2,wave.peak=1").with_mono("left")
    assert feature.source == Wave(RATE, peak=1.0, mono="left")
    assert isinstance(feature, Embed)
    assert (feature.pool, feature.layer) == ("mean+std", "-2")


def test_a_stored_feature_is_found_again_with_the_folder(tiny_ast: Path) -> None:
    feature = Embed(str(tiny_ast), layer="1", pool="max", wave=Wave(trim_top_db=None))
    stored = json.loads(json.dumps(feature.parameters()))
    assert feature_from_parameters(stored, {weights_digest(str(tiny_ast)): str(tiny_ast)}).key == feature.key
    with pytest.raises(AkitError, match="from a folder"):
        feature_from_parameters(stored)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pool": "sum"}, "pool is 'sum'"),
        ({"window": 0.0}, "window is 0"),
        ({"hop": -1.0}, "hop is -1"),
        ({"window": 0.7}, r"window is 0.7; .* at most 0.655 s"),
    ],
)
def test_senseless_parameters_are_refused_before_any_work(changes: dict, message: str, tiny_ast: Path) -> None:
    with pytest.raises(UsageError, match=message):
        _ = Embed(str(tiny_ast), **changes).key


@pytest.mark.parametrize("clip", [np.zeros(0, np.float32), np.array([np.nan], np.float32)])
def test_waves_that_are_none_are_refused(clip: np.ndarray, tiny_ast: Path) -> None:
    with pytest.raises(AkitError):
        Embed(str(tiny_ast)).compute(clip)


def test_missing_weights_are_named_with_all_three_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acoustic_kit.features.weights._in_cache", lambda *_: None)
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: True)
    with pytest.raises(
        AkitError, match=r"owner/none .*config.json model.safetensors preprocessor_config.json"
    ) as raised:
        _ = Embed("owner/none").key
    assert "embed:model=FOLDER" in str(raised.value)


def test_a_build_stores_what_compute_returns(workspace: Workspace, tiny_ast: Path) -> None:
    feature, rows = Embed(str(tiny_ast)), workspace.manifest.head(10)
    reports = build_features(rows, workspace.data_root, workspace.store(), [feature], workers=0)
    assert [(report.feature.name, report.built) for report in reports] == [("wave", 10), ("embed", 10)]
    stored, waves = workspace.store()[feature.key], workspace.store()[feature.source.key]
    for id in rows["id"].head(2):
        np.testing.assert_allclose(stored.read(id), feature.compute(waves.read(id)), atol=1e-6)


def test_a_damaged_model_stops_the_build(workspace: Workspace, tiny_ast: Path, tmp_path: Path) -> None:
    copy, rows = shutil.copytree(tiny_ast, tmp_path / "copy"), workspace.manifest.head(3)
    (copy / "model.safetensors").write_bytes(b"\x80\x04" * 500)
    feature = Embed(str(copy))
    with pytest.raises(AkitError, match=f"{copy}.*model.safetensors is damaged"):
        build_features(rows, workspace.data_root, workspace.store(), [feature])
    assert not workspace.store()[feature.key].failures


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu(tiny_ast: Path) -> None:
    import torch

    feature, clips = Embed(str(tiny_ast)), [wave(8000), wave(12000)]
    found = feature.compute_on(torch.device("cuda:0"), [(clip, None) for clip in clips])
    np.testing.assert_allclose(found, feature.compute_batch(clips), atol=1e-3)
