"""An exported file predicts what `akit predict` predicts, or the export says why there is none."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import acoustic_kit as akit
from acoustic_kit.blending.blend import plain_blend
from acoustic_kit.dsp.decoding import Decoding, decode_as
from acoustic_kit.errors import AkitError, RunError, UsageError
from acoustic_kit.prediction import predict_clips
from acoustic_kit.prediction.export import OnnxModel, export_model
from acoustic_kit.prediction.export.export import TOLERANCE
from acoustic_kit.prediction.export.plan import Plan
from acoustic_kit.runs.run import list_runs
from acoustic_kit.workspace.workspace import Workspace

CLASSES = ["dog", "rain", "sea"]
Made = Callable[..., Any]
Waves = Callable[[int, float], list[np.ndarray]]
SECONDS = 1.2


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory, untrained: Made) -> OnnxModel:
    """Two random fold models of `logmel_cnn` in one file; the export compares it with torch."""
    out = tmp_path_factory.mktemp("cnn") / "cnn.onnx"
    assert export_model(untrained("logmel_cnn", ("1", "2"), width=4), out, seconds=SECONDS) == [out]
    return OnnxModel.open(out)


def test_inputs_outputs_and_metadata(cnn: OnnxModel) -> None:
    (wave,) = cnn.session.get_inputs()
    assert (wave.name, wave.type, wave.shape) == ("wave", "tensor(float)", ["clips", cnn.samples])
    assert cnn.samples == SECONDS * cnn.sample_rate
    outputs = {output.name: output.shape[1] for output in cnn.session.get_outputs()}
    assert outputs == {"probabilities": len(CLASSES), "embedding": 2 * 8 * 4 * 4}  # of two folds
    metadata = cnn.session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == CLASSES == list(cnn.classes)
    assert (metadata["task"], metadata["sample_rate"]) == ("single", "22050")
    assert json.loads(metadata["runs"]) == [
        {"name": "logmel_cnn-00000000", "recipe": "logmel_cnn", "folds": ["1", "2"]}
    ]


def test_the_file_names_no_path_of_this_machine(cnn: OnnxModel) -> None:
    assert str(Path(__file__).parents[4]).encode() not in cnn.path.read_bytes()


def test_any_number_of_clips_and_no_lengths(cnn: OnnxModel, waves: Waves) -> None:
    clips = waves(cnn.sample_rate, SECONDS)
    together = cnn.predict(clips)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    assert together.std(axis=0).max() > 1e-3  # clips differ
    for clip, expected in zip(clips, together, strict=True):
        np.testing.assert_allclose(cnn.predict([clip])[0], expected, atol=1e-5)
    (whole,) = cnn.session.run(["probabilities"], {"wave": clips[0][None]})
    np.testing.assert_allclose(whole[0], together[0], atol=1e-5)


def test_a_front_end_runs_once_for_all_folds(cnn: OnnxModel, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(cnn.path, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("Log") == 1  # decibels


def test_the_file_is_a_model_of_embed(cnn: OnnxModel, waves: Waves) -> None:
    feature = akit.Embed(str(cnn.path))
    (clip, *_) = waves(cnn.sample_rate, SECONDS)
    (expected,) = cnn.session.run(["embedding"], {"wave": clip[None]})
    np.testing.assert_allclose(feature.compute(clip), expected[0], rtol=1e-4, atol=1e-4)


def test_waves_that_do_not_fit_are_refused(cnn: OnnxModel) -> None:
    with pytest.raises(UsageError, match=str(cnn.samples)):
        cnn.predict([np.zeros(cnn.samples + 1, np.float32)])


@pytest.mark.parametrize("content", [b"", b"RIFF", None])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.onnx"
    if content is None:
        value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
        node = onnx.helper.make_node("Identity", ["x"], ["y"])
        output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
        graph = onnx.helper.make_graph([node], "other", [value], [output])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
        onnx.save(model, path)
    else:
        path.write_bytes(content)
    with pytest.raises(RunError, match=r"other\.onnx"):
        OnnxModel.open(path)


@pytest.mark.parametrize(
    ("recipe", "settings", "reason"),
    [
        ("stats_pca_linear", {}, "stats"),
        ("stats_modulation_linear", {}, "modulation"),
        ("freesound_mobilenet_pca", {}, "pca"),
        ("embedding_mlp", {}, "stats"),
        ("freesound_mobilenet_pca", {"n_pca": 0, "lengths": (30,)}, "acoustic_kit.forward"),
        ("sed_cnn", {"overlap": 2}, "acoustic_kit.forward"),
        ("logmel_cnn", {"short": "halves"}, "halves"),
    ],
)
def test_a_recipe_without_a_graph_says_why(
    tmp_path: Path, untrained: Made, recipe: str, settings: dict[str, Any], reason: str
) -> None:
    predictor = untrained(recipe, **settings)
    with pytest.raises(UsageError, match=f"{predictor.name} cannot be exported: .*{reason}"):
        export_model(predictor, tmp_path / "model.onnx", seconds=SECONDS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["folder", "model.txt"])
def test_an_output_that_is_no_onnx_file_is_refused(tmp_path: Path, untrained: Made, out: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=out):
        export_model(untrained("logmel_cnn"), tmp_path / out, seconds=SECONDS)


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_library_is_named(
    tmp_path: Path, untrained: Made, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(AkitError, match=rf"{library}.*pip install 'acoustic-kit\[onnx\]'"):
        export_model(untrained("logmel_cnn"), tmp_path / "model.onnx", seconds=SECONDS)


def test_a_run_without_a_workspace_needs_a_length(
    tmp_path: Path, untrained: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="--seconds"):
        export_model(untrained("logmel_cnn"), tmp_path / "model.onnx")


def test_a_graph_that_differs_from_torch_is_not_written(
    tmp_path: Path, untrained: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plan, "difference", lambda *_: 0.002)
    monkeypatch.setattr("acoustic_kit.prediction.export.export.write_graph", lambda *args: args[3].touch())
    monkeypatch.setattr(OnnxModel, "open", lambda *_: SimpleNamespace(predict=lambda *_: None))
    with pytest.raises(RunError, match=r"0\.002"):
        export_model(untrained("logmel_cnn", width=4), tmp_path / "x.onnx", seconds=0.5)
    assert not list(tmp_path.iterdir())


def test_a_blend_that_compares_clips_names_separate(tmp_path: Path, untrained_member: Made, blended: Made) -> None:
    members = untrained_member("logmel_cnn"), untrained_member("logmel_cnn", seed=1)
    predictor = blended(*members, blend=plain_blend(2, "rank", "single"))
    with pytest.raises(UsageError, match=r"compares clips.*--separate"):
        export_model(predictor, tmp_path / "model.onnx", seconds=SECONDS)


ALL: list[tuple[str, dict[str, Any]]] = [
    ("logmel_cnn", {"short": "repeat"}),
    ("logmel_cnn", {"frames": 20, "window": "first"}),
    ("logmel_cnn", {"frames": 20, "window": "loudest"}),
    ("tiny_resnet_transformer", {}),
    ("eat_s_esc50", {}),
    ("sed_cnn", {}),
    ("sed_cnn", {"spectrogram": "pcen", "n_fft": (512, 256), "shifts": (0.1,), "clip_output": "max"}),
    ("itmo_ast_inception", {"ast": "random"}),
    ("itmo_ast_inception", {"ast": "random", "head_input": "tokens"}),
    ("res2net50", {}),
    ("resnet34_attention", {}),
    ("resnet34_mr_salience_fusion_film_attention", {}),
    ("resnet34_pcen_salience_fusion_attention", {}),
    ("resnet34_pcen_sam_8f_200e", {}),
    ("resnet34_pcen_sam_8fold", {"tta": True}),
    ("resnet34_salience_fusion_film_attention", {"salience": "manifest"}),
    ("wideresnet", {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "settings"), ALL, ids=str)
def test_every_torch_recipe_is_exported(
    tmp_path: Path, untrained: Made, waves: Waves, recipe: str, settings: dict[str, Any]
) -> None:
    out = tmp_path / "model.onnx"
    export_model(untrained(recipe, **settings), out, seconds=SECONDS)  # raises unless it is equal to torch
    model = OnnxModel.open(out)
    clips = waves(model.sample_rate, SECONDS)
    side = np.eye(model.n_side, dtype=np.float32)[np.arange(len(clips)) % model.n_side] if model.n_side else None
    found = model.predict(clips, side)
    assert np.ptp(found, axis=0).max() > 2 * TOLERANCE  # clips differ by more than the file may from torch


@pytest.mark.slow
def test_a_blend_of_two_sample_rates_in_one_file(tmp_path: Path, untrained_member: Made, blended: Made) -> None:
    members = untrained_member("logmel_cnn", ("1", "2")), untrained_member("sed_cnn", seed=1)
    predictor = blended(*members, blend=plain_blend(2, "geometric", "single"))
    (path,) = export_model(predictor, tmp_path / "blend.onnx", seconds=SECONDS)
    assert [wave.name for wave in OnnxModel.open(path).waves] == ["wave_8000", "wave_22050"]
    files = export_model(predictor, tmp_path / "blend.onnx", seconds=SECONDS, separate=True)
    runs = [(member.run.name, fold) for member in members for fold in member.folds]
    assert [file.name for file in files] == [f"blend_{run}_{fold}.onnx" for run, fold in runs]


@pytest.mark.slow
def test_a_trained_run_predicts_new_clips_as_akit_does(
    trained: Workspace, new_files: dict[str, Path], tmp_path: Path
) -> None:
    run = next(run.path for run in list_runs(trained.runs_path) if run.record.recipe == "logmel_cnn")
    expected = predict_clips(run, new_files).probabilities
    decoding = Decoding(22050)
    waves = [decode_as(path, [decoding])[decoding].samples for path in new_files.values()]
    (path,) = akit.export(run, tmp_path / "model.onnx", progress=False)
    np.testing.assert_allclose(OnnxModel.open(path).predict(waves), expected, atol=1e-5)

    with pytest.warns(akit.AkitWarning, match=r"int8.*of the size.*times as fast.*probabilities change by"):
        akit.export(run, tmp_path / "int8.onnx", int8=True, progress=False)
    kinds = {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    found = OnnxModel.open(tmp_path / "int8.onnx").predict(waves)  # of four channels after one epoch: up to 0.20 off
    np.testing.assert_allclose(found, expected, atol=0.3)


def test_int8_needs_clips_of_a_workspace(tmp_path: Path, untrained: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="--int8"):
        export_model(untrained("logmel_cnn"), tmp_path / "model.onnx", seconds=SECONDS, int8=True)
