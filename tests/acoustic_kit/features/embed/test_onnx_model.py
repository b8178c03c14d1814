"""ONNX files that take waves, built by the tests."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features import Embed, feature_from_parameters
from acoustic_kit.features.embed.embed import weights_digest

RATE, KERNEL, HOP = 8000, 16, 8
WEIGHTS = np.random.default_rng(0).standard_normal((4, 1, KERNEL)).astype(np.float32)


def save(
    path: Path, shape: tuple[int | str, ...] = ("batch", "samples"), metadata: dict | None = None, **options: Any
) -> Path:
    """Save a convolution with a ReLU: its frames, and their mean. `options` are those of `onnx.save`."""
    inputs = [helper.make_tensor_value_info("wave", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("embedding", "frames")]
    nodes = [
        helper.make_node("Reshape", ["wave", "shape"], ["channel"]),
        helper.make_node("Conv", ["channel", "weights"], ["conv"], strides=[HOP]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("Transpose", ["relu"], ["frames"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["frames", "axis"], ["embedding"], keepdims=0),
    ]
    batch = shape[0] if len(shape) > 1 and isinstance(shape[0], int) else -1
    length = shape[-1] if isinstance(shape[-1], int) else -1
    form = [1, 1, -1] if len(shape) == 1 or batch == 1 else [0, 1, -1] if length == -1 else [-1, 1, length]
    constants = [
        numpy_helper.from_array(WEIGHTS, "weights"),
        numpy_helper.from_array(np.array(form), "shape"),
        numpy_helper.from_array(np.array([1]), "axis"),
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"sample_rate": str(RATE), "output": "embedding"} if metadata is None else metadata)
    onnx.save(model, path, **options)
    return path


def frames(wave: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(wave, KERNEL)[::HOP]
    return np.maximum(windows @ WEIGHTS[:, 0].T, 0)


def waves(*lengths: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.standard_normal(n).astype(np.float32) for n in lengths]


@pytest.mark.parametrize("shape", [("batch", "samples"), ("samples",), (1, "samples"), ("batch", 1, "samples")])
def test_inputs_of_any_length_are_computed_whole(tmp_path: Path, shape: tuple[int | str, ...]) -> None:
    feature = Embed(str(save(tmp_path / "m.onnx", shape)))
    clips = waves(400, 240, 400)
    found = feature.compute_batch(clips)
    assert {x.dtype for x in found} == {np.dtype(np.float32)}
    for clip, embedding in zip(clips, found, strict=True):
        np.testing.assert_allclose(embedding, frames(clip).mean(axis=0), atol=1e-5)
    whole = Embed(feature.model, "frames", pool="none").compute(clips[1])
    np.testing.assert_allclose(whole, frames(clips[1]), atol=1e-5)
    assert feature.source.sample_rate == RATE


@pytest.mark.parametrize("shape", [(1, 400), ("batch", 400), (400,), ("batch", 1, 400)])
def test_inputs_of_one_length_are_windowed_and_padded(tmp_path: Path, shape: tuple[int | str, ...]) -> None:
    short, long = waves(200, 1000)
    feature = Embed(str(save(tmp_path / "m.onnx", shape)))
    found = feature.compute_batch([short, long])
    np.testing.assert_allclose(found[0], frames(np.pad(short, (0, 200))).mean(axis=0), atol=1e-5)
    parts = [frames(long[i : i + 400]).mean(axis=0) for i in (0, 300, 600)]
    np.testing.assert_allclose(found[1], np.mean(parts, axis=0), atol=1e-5)
    pooled = Embed(feature.model, "frames", pool="none").compute(short)
    np.testing.assert_allclose(pooled, frames(np.pad(short, (0, 200)))[:25], atol=1e-5)  # the clip's half


def test_metadata_may_name_the_window(tmp_path: Path) -> None:
    metadata = {"sample_rate": str(RATE), "output": "embedding", "window": "0.05"}
    feature = Embed(str(save(tmp_path / "m.onnx", metadata=metadata)))
    (short,) = waves(200)
    np.testing.assert_allclose(feature.compute(short), frames(np.pad(short, (0, 200))).mean(axis=0), atol=1e-5)
    with pytest.raises(UsageError, match=r"window is 0.06; .* at most 0.05 s"):
        _ = Embed(feature.model, window=0.06).key


def test_parameters_stand_in_for_metadata(tmp_path: Path) -> None:
    path = str(save(tmp_path / "m.onnx", metadata={}))
    with pytest.raises(UsageError, match=r"several outputs; .*layer=embedding[|]frames"):
        _ = Embed(path, sample_rate=RATE).key
    with pytest.raises(UsageError, match="sample_rate=16000"):
        _ = Embed(path, "frames").key
    with pytest.raises(UsageError, match=r"no output 'x'.*layer=embedding[|]frames"):
        _ = Embed(path, "x", sample_rate=RATE).key
    feature = Embed(path, "embedding", sample_rate=RATE)
    (clip,) = waves(400)
    np.testing.assert_allclose(feature.compute(clip), frames(clip).mean(axis=0), atol=1e-5)
    assert feature.key != Embed(path, "embedding", sample_rate=16000).key


@pytest.mark.parametrize("rate", ["fast", "-1", "inf"])
def test_senseless_metadata_is_refused(tmp_path: Path, rate: str) -> None:
    with pytest.raises(AkitError, match=f"m.onnx.*sample_rate='{rate}'"):
        _ = Embed(str(save(tmp_path / "m.onnx", metadata={"sample_rate": rate}))).key


def test_the_key_is_of_the_file_and_no_path(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx")
    other = shutil.copy(path, tmp_path / "other.onnx")
    feature = Embed(str(path))
    assert feature.key == Embed(str(other)).key
    assert str(tmp_path) not in str(feature.parameters())
    save(Path(other), ("batch", 1, "samples"))
    assert feature.key != Embed(str(other)).key
    assert feature.key != Embed(str(path), "frames").key
    assert feature_from_parameters(feature.parameters(), {weights_digest(str(path)): str(path)}).key == feature.key


BESIDE: dict[str, Any] = {"save_as_external_data": True, "location": "m.bin", "size_threshold": 100}


def test_tensors_in_other_files_are_part_of_the_key(tmp_path: Path) -> None:
    path, (clip,) = save(tmp_path / "m.onnx", **BESIDE), waves(400)
    before = Embed(str(path))
    np.testing.assert_allclose(before.compute(clip), frames(clip).mean(axis=0), atol=1e-5)
    assert before.key
    data = bytearray((tmp_path / "m.bin").read_bytes())
    data[: 4 * KERNEL] = bytes(4 * KERNEL)
    (tmp_path / "m.bin").write_bytes(data)
    assert Embed(str(path)).key != before.key
    assert Embed(str(path)).compute(clip)[0] == 0
    (tmp_path / "m.bin").unlink()
    with pytest.raises(AkitError, match=r"m.bin cannot be read"):
        _ = Embed(str(path)).key


@pytest.mark.parametrize("location", ["../m.bin", "/etc/passwd", "link.bin"])
def test_tensors_outside_of_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = save(folder / "m.onnx", **BESIDE)
    (folder / "m.bin").rename(tmp_path / "m.bin")
    (folder / "link.bin").symlink_to(tmp_path / "m.bin")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data[:1]:
            entry.value = location
    path.write_bytes(model.SerializeToString())
    with pytest.raises(AkitError, match=f"m.onnx .*'{location}', which is outside of its folder"):
        _ = Embed(str(path)).key


def change(path: Path, edit: Callable[[onnx.ModelProto], object]) -> None:
    model = onnx.load(path)
    edit(model)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: setattr(m.graph.node[2], "domain", "evil"), r"the operator evil.Relu of a library"),
        (lambda m: m.graph.input.add(name="second"), "has wave, second"),
        (lambda m: m.graph.input[0].type.tensor_type.shape.dim.add(dim_value=3), "one input of waves"),
        (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.INT64), "one input of waves"),
        (lambda m: setattr(m.graph.node[2], "op_type", "NoneSuch"), "m.onnx cannot be loaded"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, edit: Callable[[onnx.ModelProto], object], message: str
) -> None:
    path = save(tmp_path / "m.onnx")
    change(path, edit)
    with pytest.raises(AkitError, match=message):
        Embed(str(path)).compute(waves(400)[0])


def test_a_clip_that_the_graph_cannot_take_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(AkitError, match=r"m.onnx cannot be computed"):
        Embed(str(save(tmp_path / "m.onnx"))).compute(waves(3)[0])


def test_damaged_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\xff" * 50)
    with pytest.raises(AkitError, match=r"bad.onnx is no ONNX file"):
        _ = Embed(str(tmp_path / "bad.onnx")).key
    with pytest.raises(AkitError, match=r"no file .*none.onnx"):
        _ = Embed(str(tmp_path / "none.onnx")).key


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_a_missing_extra_is_named(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from acoustic_kit.features.embed import onnx_model

    path = save(tmp_path / f"without {name}.onnx")
    monkeypatch.setitem(sys.modules, name, None)
    onnx_model._session.cache_clear()
    with pytest.raises(AkitError, match=rf"{name}.*pip install 'acoustic-kit\[onnx\]'"):
        Embed(str(path)).compute(waves(400)[0])


def test_a_sample_rate_is_only_for_onnx(tiny_ast: Path) -> None:
    with pytest.raises(UsageError, match="sample_rate is 8000"):
        _ = Embed(str(tiny_ast), sample_rate=8000).key
