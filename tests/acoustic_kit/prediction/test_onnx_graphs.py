"""Exported graphs predict clips and windows as torch would, by a made graph whose output is known."""

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import soundfile

import acoustic_kit as akit
from acoustic_kit.data.windows import Windows
from acoustic_kit.device import AUTO, Compute
from acoustic_kit.ensemble.run_blend import blend_runs
from acoustic_kit.errors import RunError, UsageError
from acoustic_kit.prediction import RowPlan, onnx_graphs, open_predictor, predict, waves
from acoustic_kit.prediction.budget import Budget
from acoustic_kit.prediction.engine import PredictOptions, predict_plan
from acoustic_kit.prediction.models import MemberModel, Predictor
from acoustic_kit.prediction.onnx_graphs import networks_of, open_file
from acoustic_kit.prediction.slices import FinishedSlices
from acoustic_kit.prediction.within_budget import Forecast
from acoustic_kit.workspace.workspace import Workspace

pytest.importorskip("onnxruntime")
RATE, CLASSES = 8000, ("sound_00", "sound_01", "sound_02")
FEATURE = akit.Wave(RATE, trim_top_db=None)


SAMPLES = 2 * RATE


def save(path: Path, wave: str, length: str, metadata: Mapping[str, str] = MappingProxyType({})) -> Path:
    """Write a graph: a clip's loudness a gives the probabilities a, (1 - a) / 2 twice.

    - `wave`, `length`: names of the inputs
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    inputs = [
        helper.make_tensor_value_info(wave, TensorProto.FLOAT, ["clips", SAMPLES]),
        helper.make_tensor_value_info(length, TensorProto.INT64, ["lengths"]),
    ]
    constants = {
        length: np.array([SAMPLES]),
        "axes": np.array([1]),
        "half": np.float32([-0.5]),
        "b": np.float32([0.5]),
    }
    nodes = [
        helper.make_node("Abs", [wave], ["loud"]),
        helper.make_node("ReduceSum", ["loud", "axes"], ["sum"], keepdims=1),
        helper.make_node("Cast", [length], ["n"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["n", "axes"], ["column"]),
        helper.make_node("Div", ["sum", "column"], ["a"]),
        helper.make_node("Mul", ["a", "half"], ["less"]),
        helper.make_node("Add", ["less", "b"], ["rest"]),
        helper.make_node("Concat", ["a", "rest", "rest"], ["probabilities"], axis=1),
    ]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["clips", 3])]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)
    return path


def write_graph(path: Path, **metadata: str) -> Path:
    """Write a whole graph with the metadata of `akit export`."""
    wave = {"name": "wave", "length": "length", "sample_rate": RATE, "samples": SAMPLES}
    about = {"classes": json.dumps(CLASSES), "task": "single", "metric": "accuracy", "waves": json.dumps([wave])}
    return save(path, "wave", "length", about | {"side": "[]"} | metadata)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_graph(tmp_path_factory.mktemp("graph") / "made.onnx")


@pytest.fixture
def sounds(tmp_path: Path) -> dict[str, Path]:
    """Return files of constant loudness, of 1 and 2 s, one of them at another sample rate, and one that is no sound."""
    folder, found = tmp_path / "sounds", dict[str, Path]()
    folder.mkdir()
    for name, loud, seconds, rate in [("a.wav", 0.25, 1, RATE), ("b.flac", 0.5, 2, RATE), ("c.wav", 0.75, 2, 16000)]:
        soundfile.write(found.setdefault(name, folder / name), np.full(seconds * rate, loud), rate, subtype="PCM_16")
    (folder / "d.wav").write_text("no sound")
    return {**found, "d.wav": folder / "d.wav"}


def test_a_file_predicts_clips_of_any_length_and_rate(graph: Path, sounds: dict[str, Path]) -> None:
    frame = akit.predict(graph, sounds, progress=False)
    assert frame.columns == ["id", *CLASSES, "error"]
    np.testing.assert_allclose(frame["sound_00"].to_numpy()[:3], [0.25, 0.5, 0.75], atol=1e-3)
    assert frame["error"].to_list() == [None] * 3 + ["it cannot be decoded: Format not recognised"]
    np.testing.assert_allclose(frame.row(3)[1:4], 1 / 3)  # this file names no class frequencies


def test_windows_are_cut_from_a_recording_that_is_decoded_once(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loud = np.arange(1, 201) / 250  # 0.5 s each, so 100 s
    soundfile.write(tmp_path / "night.flac", np.repeat(loud, RATE // 2), RATE)
    opened, original = list[Path](), waves.Recording
    monkeypatch.setattr(waves, "Recording", lambda path: opened.append(path) or original(path))
    frame = akit.predict(graph, [tmp_path / "night.flac"], window=1, hop=0.5, progress=False)
    assert frame["id"].to_list() == [f"night_{end}" for end in range(1, 101)]
    assert len(opened) == 1
    half = np.concatenate([loud[:1], loud, loud[-1:]])  # a row has half of the windows before and after it
    windows = (half[:-1] + half[1:]) / 2
    expected = [(0.5 * windows[k - 1] + windows[k] + 0.5 * windows[k + 1]) / 2 for k in range(3, 199, 2)]
    np.testing.assert_allclose(frame["sound_00"].to_numpy()[1:-1], expected, atol=1e-3)


def test_metadata_decides_frequencies_windows_and_channels(tmp_path: Path) -> None:
    about = {
        "class_indices": "[7, 8, 9]",
        "frequencies": "[0.5, 0.25, 0.25]",
        "windows": json.dumps({"length": 2.0, "hop": 2.0}),
        "mono": json.dumps({"wave": "left"}),
    }
    stereo = np.stack([np.full(4 * RATE, 0.5), np.zeros(4 * RATE)], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, RATE)
    predictor, file = open_file(write_graph(tmp_path / "made.onnx", **about))
    assert dict(predictor.task_spec.classes) == dict(zip(CLASSES, (7, 8, 9), strict=True))
    assert predictor.windows == Windows(length=2.0, hop=2.0)
    plan = RowPlan.of_windows({"s": tmp_path / "stereo.wav", "none": tmp_path / "none.wav"}, predictor.windows)
    _, found = predict_plan(predictor, plan, PredictOptions(engine="onnx"), file=file)
    np.testing.assert_allclose(found.probabilities, [[0.5, 0.25, 0.25]] * 3, atol=1e-3)
    assert list(found.errors.values()) == ["the file does not exist"]


def test_a_file_that_was_not_exported_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_text("nothing")
    with pytest.raises(RunError, match=r"no\.onnx"):
        akit.predict(tmp_path / "no.onnx", [tmp_path], progress=False)


def test_options_that_do_not_go_together_are_refused(graph: Path, sounds: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="--engine torch"):
        akit.predict(graph, sounds, engine="torch", progress=False)
    with pytest.raises(UsageError, match="cuda"):
        PredictOptions(engine="onnx", compute=Compute("cuda"))
    with pytest.raises(UsageError, match="tflite"):
        PredictOptions(engine="tflite")  # type: ignore[arg-type]


@pytest.fixture
def pair(trained: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    """Return a blend of two runs, whose networks are made ones that read the same feature."""
    workspace = Workspace.find(shutil.copytree(trained.root, tmp_path / "pair"))
    names = [path.name for path in workspace.runs_path.iterdir() if not path.name.startswith("logmel")]
    result = blend_runs(workspace, runs=names, method="mean", name="graphs")
    networks = save(tmp_path / "networks.onnx", "wave.values", "wave.frames")
    monkeypatch.setattr(onnx_graphs, "_exported", lambda *_: networks)
    monkeypatch.setattr(MemberModel, "features_of", lambda *_: {"wave": FEATURE})
    return open_predictor(result, workspace.root)


def test_a_blend_combines_the_networks_of_its_members(pair: Predictor, sounds: dict[str, Path]) -> None:
    steps: list[tuple[str, int, int]] = []
    options = PredictOptions(engine="onnx", on_progress=lambda *step: steps.append(step))
    _, found = predict_plan(pair, RowPlan.of_files(sounds), options)
    np.testing.assert_allclose(found.probabilities[:3, 0], [0.25, 0.5, 0.75], atol=1e-3)
    frequencies = [np.mean([member.frequencies(fold) for fold in member.folds], axis=0) for member in pair.members]
    np.testing.assert_allclose(found.probabilities[3], np.mean(frequencies, axis=0))
    assert list(found.errors) == ["d.wav"]
    assert [step for step in steps if step[0] == "wave"][-1] == ("wave", 4, 4)  # once for both members
    assert steps[-1] == ("predictions", 4 * pair.n_models, 4 * pair.n_models)


def test_a_budget_is_measured_by_the_networks(pair: Predictor, sounds: dict[str, Path]) -> None:
    told: list[Forecast] = []
    options = PredictOptions(engine="onnx", budget=Budget(1000.0), on_forecast=told.append)
    chosen, _ = predict_plan(pair, RowPlan.of_files(sounds), options)
    assert chosen is pair
    costs = told[0].costs
    assert min(costs.decoding, *costs.models) > 0
    assert costs.needs == (frozenset({FEATURE.key}),) * 2  # a member that is dropped saves no feature


def test_a_member_without_a_graph_predicts_by_itself(
    pair: Predictor, sounds: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, first = onnx_graphs._exported, pair.members[0]

    def exported(predictor: Predictor, *rest: Any) -> Path:
        if predictor.name == first.run.name:
            raise UsageError(f"{predictor.name} cannot be exported: numba computes it")
        return made(predictor, *rest)

    monkeypatch.setattr(onnx_graphs, "_exported", exported)
    monkeypatch.setattr(predict, "predict_fold", lambda member, fold, clips, _: np.full((len(clips), 3), 1 / 3))
    notes: list[str] = []
    options = PredictOptions(engine="onnx", on_note=notes.append)
    _, found = predict_plan(pair, RowPlan.of_files({"b.flac": sounds["b.flac"]}), options)
    np.testing.assert_allclose(found.probabilities[0, 0], (1 / 3 + 0.5) / 2, atol=1e-3)
    assert notes == [f"{first.run.name} cannot be exported: numba computes it. It predicts as with --engine torch."]
    with pytest.raises(UsageError, match="numba"):
        networks_of(replace(pair, members=(first,), blend=None), RowPlan.of_files(sounds).clips)


def test_a_budget_of_a_file_is_measured(graph: Path, sounds: dict[str, Path]) -> None:
    told: list[Forecast] = []
    predictor, file = open_file(graph)
    options = PredictOptions(engine="onnx", budget=Budget(1000.0), on_forecast=told.append)
    predict_plan(predictor, RowPlan.of_files(sounds), options, file=file)
    assert min(told[0].costs.decoding, *told[0].costs.models) > 0


def test_long_clips_are_decoded_in_smaller_parts(
    graph: Path, sounds: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, file = open_file(graph)
    clips = RowPlan.of_files({f"{i}": sounds["a.wav"] for i in range(5)}).clips
    monkeypatch.setattr(onnx_graphs, "CHUNK_SECONDS", 2 * SAMPLES / RATE)
    told: list[int] = []
    file.predict(clips, told.append)
    assert told == [2, 2, 1]


def test_slices_of_the_engines_are_not_mixed(pair: Predictor, sounds: dict[str, Path], tmp_path: Path) -> None:
    by_torch = FinishedSlices.beside(tmp_path / "out.csv", pair, AUTO)
    networks = networks_of(pair, RowPlan.of_files(sounds).clips)
    assert by_torch.of(pair, AUTO, "") == by_torch
    assert by_torch.of(pair, AUTO, networks.digest).key != by_torch.key


def test_clips_that_are_too_long_for_a_graph_are_refused(pair: Predictor, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.flac", np.zeros(601 * 1000), 1000)
    with pytest.raises(UsageError, match="--window"):
        networks_of(pair, RowPlan.of_files({"long": tmp_path / "long.flac"}).clips)


@pytest.mark.slow
def test_a_run_is_exported_once_and_predicts_as_torch_does(
    trained: Workspace, new_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = next(trained.runs_path.glob("logmel_cnn-*"))
    files = {**new_files, "gone": tmp_path / "gone.wav"}
    frames = []
    for engine in ("torch", "onnx", "onnx"):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            frames.append(akit.predict(run, files, engine=engine, workers=0, progress=False))
        assert any("Exported" in str(one.message) for one in told) == (engine == "onnx" and len(frames) == 2)
    by_torch, by_onnx = (frame.select(CLASSES).to_numpy() for frame in frames[:2])
    np.testing.assert_allclose(by_onnx, by_torch, rtol=0, atol=1e-4)
    assert frames[2].equals(frames[1])
