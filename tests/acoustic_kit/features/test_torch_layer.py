"""Features as layers of waves: `compute` of each clip, in torch and as exported to ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from acoustic_kit.dsp.decoding import Sound
from acoustic_kit.errors import UsageError
from acoustic_kit.features import Feature, LogMel, Stats, Wave
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


def computed(feature: Feature, wave: np.ndarray) -> np.ndarray:
    """The feature of a decoded wave, each source as the store would hold it."""
    source = Sound(wave, RATE) if feature.source is None else computed(feature.source, wave)
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


class _Layers(nn.Module):
    """Several layers of one wave, since it is the export that takes time, not the layers."""

    def __init__(self, features: Sequence[Feature]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(feature.torch_layer() for feature in features)

    def forward(self, wave: Tensor, length: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [layer(wave, length) for layer in self.layers]


def test_exported_layers_have_the_values_of_their_features(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    clips, features = waves(), [feature for feature, _ in FEATURES]
    runtime = pytest.importorskip("onnxruntime")
    layers, batch = _Layers(features).eval(), torch.export.Dim("batch")
    shapes = ({0: batch}, {0: batch})
    program = torch.onnx.export(layers, together(clips[:2]), dynamo=True, dynamic_shapes=shapes, verbose=False)
    program.save(tmp_path / "layers.onnx")
    session = runtime.InferenceSession(tmp_path / "layers.onnx")
    inputs = {one.name: x.numpy() for one, x in zip(session.get_inputs(), together(clips), strict=True)}
    found = session.run(None, inputs)
    for i, (feature, tolerance) in enumerate(FEATURES):
        assert difference(feature, clips, found[2 * i], found[2 * i + 1]) <= tolerance, feature


def test_a_feature_without_a_layer_says_why() -> None:
    with pytest.raises(UsageError, match=r"stats.*numba"):
        Stats().torch_layer()
