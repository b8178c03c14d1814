"""Features as layers of waves: `compute` of each clip, in torch and as exported to ONNX Runtime."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from acoustic_kit.dsp.decoding import Sound, decode_as, resample
from acoustic_kit.errors import UsageError
from acoustic_kit.features import Ast, AstInput, Feature, LogMel, Pcen, Stats, Wave
from acoustic_kit.nn.mel_channels import MelChannels
from acoustic_kit.nn.urbansound8k.wave_front_end import WaveFrontEnd
from acoustic_store.block import encode

RATE = 8000

FEATURES: Sequence[tuple[Feature, float]] = (  # and how far the layer may be from `compute`
    (Wave(RATE, trim_top_db=None, encoding="float32"), 0.0),
    (Wave(RATE, trim_top_db=40.0, peak=0.9), 3e-5),  # one step of int16: rounding decides which
    (Wave(RATE, trim_pad="reflect", seconds=0.5), 0.0),
    (Wave(RATE, seconds=2.0), 0.0),
    (LogMel(Wave(RATE, trim_top_db=40.0), n_fft=512, hop_length=128, n_mels=32), 1e-3),
    (LogMel(Wave(RATE, peak=1.0), n_fft=400, hop_length=150, n_mels=20, pad_mode="reflect", top_db=None), 1e-3),
    (LogMel(Wave(RATE), n_fft=512, hop_length=160, n_mels=32, scale="magnitude", fmin=50, fmax=3000), 1e-4),
    (Pcen(Wave(RATE), n_fft=(512, 256), hop_length=128, n_mels=24, precision="float64"), 1e-3),
    (Pcen(Wave(RATE), n_fft=(512,), hop_length=160, n_mels=24, spectrum="power", full_scale=1.0, start="first"), 1e-3),
    (AstInput(Wave(16000), n_mels=32, max_length=64), 1e-3),
)


def waves() -> list[np.ndarray]:
    """Noise and tones of several lengths: faint at the ends, silent, and of one sample."""
    random, time = np.random.default_rng(0), np.arange(RATE) / RATE
    loud = 0.3 * np.sin(2 * np.pi * 440 * time) + 0.05 * random.standard_normal(RATE)
    middle = loud * np.exp(-(((time - 0.4) / 0.05) ** 2))
    found = [loud, middle, np.zeros(RATE // 2), loud[:1], middle[: RATE // 2 + 17], 1e-3 * middle, loud[:300]]
    return [wave.astype(np.float32) for wave in found]


def together(clips: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """The clips with zeros after their ends, and their lengths."""
    batch = np.zeros((len(clips), max(map(len, clips))), np.float32)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    return torch.from_numpy(batch), torch.tensor([len(clip) for clip in clips])


def root_of(feature: Feature) -> Feature:
    return feature if feature.source is None else root_of(feature.source)


def computed(feature: Feature, wave: np.ndarray) -> np.ndarray:
    """The feature of a decoded wave, each source as the store would hold it."""
    source = Sound(wave, feature.decoding.sample_rate) if feature.source is None else computed(feature.source, wave)
    values, scale = encode(feature.compute(source), feature.storage_dtype)
    return values if scale is None else values.astype(np.float32) * scale


def difference(feature: Feature, clips: Sequence[np.ndarray], values: np.ndarray, frames: np.ndarray) -> float:
    """The largest difference of the values of a layer from those of the feature; shapes are equal."""
    largest = 0.0
    for clip, ours, own in zip(clips, values, frames, strict=True):
        theirs = computed(feature, clip)
        assert ours[..., :own].shape == theirs.shape
        largest = max(largest, float(np.abs(ours[..., :own] - theirs).max()))
    return largest


@pytest.mark.parametrize(("feature", "tolerance"), FEATURES)
def test_a_layer_has_the_values_of_its_feature(feature: Feature, tolerance: float) -> None:
    clips = waves()
    with torch.no_grad():
        values, frames = feature.torch_layer()(*together(clips))
    assert difference(feature, clips, values.numpy(), frames.numpy()) <= tolerance


def exported(layer: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> Callable[..., list[np.ndarray]]:
    """The layer in ONNX Runtime, exported with two clips; for any number of clips of one length."""
    pytest.importorskip("onnxscript")
    runtime, batch = pytest.importorskip("onnxruntime"), torch.export.Dim("batch")
    shapes = tuple({0: batch} for _ in inputs)
    example = tuple(x[:2] for x in inputs)
    torch.onnx.export(layer.eval(), example, path, dynamo=True, dynamic_shapes=shapes, verbose=False)
    session = runtime.InferenceSession(path)
    names = [one.name for one in session.get_inputs()]
    return lambda *arrays: session.run(None, {name: x.numpy() for name, x in zip(names, arrays, strict=True)})


@pytest.mark.slow
@pytest.mark.parametrize(("feature", "tolerance"), FEATURES)
def test_exported_layers_have_the_values_of_their_features(feature: Feature, tolerance: float, tmp_path: Path) -> None:
    clips = waves()
    inputs = together(clips)
    values, frames = exported(feature.torch_layer(), inputs, tmp_path / "layer.onnx")(*inputs)
    assert difference(feature, clips, values, frames) <= tolerance


@pytest.mark.slow
def test_exported_ast_has_the_values_of_its_feature(tiny_ast: Path, tmp_path: Path) -> None:
    clips, feature = waves(), Ast(AstInput(n_mels=32, max_length=64), str(tiny_ast))
    inputs = together(clips)
    values, _ = exported(feature.torch_layer(), inputs, tmp_path / "layer.onnx")(*inputs)
    assert values.shape == (len(clips), 32)
    np.testing.assert_allclose(values, [computed(feature, clip) for clip in clips], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer",
    [
        MelChannels(RATE, (512, 256), 128, 24, scale="pcen"),
        MelChannels(RATE, (512,), 160, 24),
        nn.Sequential(nn.Unflatten(1, (1, -1)), WaveFrontEnd(RATE, (512, 256), 80, 24)),
    ],
)
def test_exported_front_ends_of_networks_have_their_values(layer: nn.Module, tmp_path: Path) -> None:
    inputs = together(waves())[0]
    (values,) = exported(layer, (inputs,), tmp_path / "layer.onnx")(inputs)
    with torch.no_grad():
        np.testing.assert_allclose(values, layer(inputs), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("feature", "tolerance"),
    [
        (LogMel(Wave(22050)), 1e-2),
        (LogMel(Wave(16000, trim_top_db=None), n_fft=400, hop_length=160, n_mels=64, top_db=None), 0.2),
        (Pcen(Wave(22050), precision="float64"), 1e-3),
        (AstInput(Wave(16000)), 2e-3),
    ],
)
def test_exported_layers_of_real_clips(feature: Feature, tolerance: float, esc10: Path, tmp_path: Path) -> None:
    files, decoding = sorted((esc10 / "audio").iterdir())[::10], root_of(feature).decoding
    clips = [resample(*decode_as(file, [decoding])[decoding], decoding.sample_rate) for file in files]
    inputs = together(clips)
    values, frames = exported(feature.torch_layer(), inputs, tmp_path / "layer.onnx")(*inputs)
    assert difference(feature, clips, values, frames) <= tolerance


def test_a_feature_without_a_layer_says_why() -> None:
    with pytest.raises(UsageError, match=r"stats.*numba"):
        Stats().torch_layer()
