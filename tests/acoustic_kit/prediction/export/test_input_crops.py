"""Crops inside a graph are those of `Loader`, for every form of `Batches`."""

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from acoustic_kit.data.clips import Clips
from acoustic_kit.errors import UsageError
from acoustic_kit.prediction.export.input_crops import InputCrops
from acoustic_kit.training import Batches, decibel_power
from acoustic_store import FeatureStore

LENGTHS = (97, 1, 2, 9, 10, 11, 14, 15, 16, 23, 40, 41, 96)
FORMS: list[dict[str, Any]] = [
    {"frames": None},
    {"frames": None, "channel_axis": True, "pad": -3.0},
    {"frames": 10},
    {"frames": 11, "short": "start", "crops": None},
    {"frames": range(4, 16), "pad": 7.0},
    {"frames": 10, "pad": "wrap", "crops": None},
    {"frames": 200, "pad": "wrap"},
    {"frames": 10, "pad": "symmetric", "crops": 3},
    {"frames": 150, "pad": "symmetric", "channel_axis": True},
    {"frames": 10, "window": "first"},
    {"frames": 10, "window": "loudest", "crops": None},
    {"frames": 10, "window": "loudest", "power": decibel_power, "crops": None},
    {"frames": 10, "window": "loudest", "crops": 4},
]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Clips of several lengths, two rows each."""
    rng, store = np.random.default_rng(0), FeatureStore.open(tmp_path_factory.mktemp("store"), create=True)
    ids = [str(number) for number in range(len(LENGTHS))]
    with store.writer("x", "float32", {"name": "x"}) as writer:
        rows = iter([rng.standard_normal((2, n)).astype(np.float32) for n in LENGTHS])
        for block in writer.plan([(id, "") for id in ids]):
            block.write([next(rows) for _ in block.clips])
    return Clips(pl.DataFrame({"id": ids, "weight": [None] * len(ids)}), ("a", "b"), "single", {"x": store["x"]})


@pytest.mark.parametrize("form", FORMS)
def test_crops_are_those_of_the_loader(clips: Clips, form: dict[str, Any]) -> None:
    batches = Batches("x", len(LENGTHS), **form)
    loader = batches.open(clips, torch.device("cpu"))
    crops = loader.crops(None, batches.crops)
    expected = torch.cat([x for x, *_ in loader.in_order(crops)])
    padded = torch.full((len(LENGTHS), 2, max(LENGTHS)), 1e6)  # the padding must have no effect
    for row, id in zip(padded, clips.ids, strict=True):
        values = torch.tensor(clips.features["x"].read(id))
        row[:, : values.shape[1]] = values

    layer = InputCrops(batches, max(LENGTHS))
    x, weights = layer(padded, torch.tensor(LENGTHS))

    assert torch.equal(x[weights.flatten() > 0], expected)
    mean = crops.mean_by_clip(expected.flatten(1).double().numpy())
    weighted = (x.unflatten(0, weights.shape).flatten(2) * weights[:, :, None]).sum(dim=1)
    np.testing.assert_allclose(weighted.numpy(), mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(LENGTHS)))


def test_inputs_of_several_lengths_have_no_graph() -> None:
    with pytest.raises(UsageError, match="halves"):
        InputCrops(Batches("x", 8, 16, halves=True), 100)


def test_a_power_of_its_own_has_no_graph() -> None:
    with pytest.raises(UsageError, match="loudest"):
        InputCrops(Batches("x", 8, 16, window="loudest", power=lambda x: x[0]), 100)
