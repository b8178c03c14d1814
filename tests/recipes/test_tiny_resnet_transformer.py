"""The tiny network against its specification: shapes, parameters, front end, augmentation, schedule."""

import json
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from acoustic_kit.metrics.scores import score
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace

RECIPE = load_recipe("tiny_resnet_transformer")


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return RECIPE.build_model(n_classes=30)


@pytest.fixture
def reference(originals: Callable[[str], dict]) -> dict:
    """The figures of the original network."""
    return originals("tiny_resnet_transformer.json")


def test_parameters_and_shapes_are_the_originals(net: nn.Module, reference: dict) -> None:
    assert sum(p.numel() for p in net.parameters()) == reference["params_total"]
    for tensors, key in ((net.parameters(), "param_shapes"), (net.buffers(), "buffers_shapes")):
        assert Counter(tuple(t.shape) for t in tensors) == {tuple(shape): n for shape, n in reference[key]}
    assert list(net(torch.zeros(reference["input_shape"])).shape) == reference["output_shape"]


def test_it_has_124510_parameters_for_30_classes(net: nn.Module) -> None:
    assert sum(p.numel() for p in net.parameters()) == 124_510
    assert len(list(net.parameters())) == 36
    convolutional = sum(p.numel() for name, p in net.named_parameters() if name.startswith("blocks"))
    encoder = sum(p.numel() for name, p in net.named_parameters() if name.startswith("encoder"))
    assert (convolutional, encoder) == (76_416, 33_472)


def test_801_frames_become_402_tokens(net: nn.Module) -> None:
    seen: list[torch.Size] = []
    handle = net.encoder.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape))
    assert net(torch.zeros(2, 1, 80, 801)).shape == (2, 30)
    handle.remove()
    assert seen == [(402, 2, 64)]


def test_positions_are_sines_and_cosines_in_turn(net: nn.Module) -> None:
    angles = 7 * 10000 ** (-2 * np.arange(32) / 64)
    row = net.positions[0, 7].numpy()
    np.testing.assert_allclose(row[0::2], np.sin(angles), atol=1e-6)
    np.testing.assert_allclose(row[1::2], np.cos(angles), atol=1e-6)
    assert net.positions.shape == (1, 5000, 64)
    assert "positions" in net.state_dict()


def test_the_front_end_is_torchaudios_with_80_bands() -> None:
    torchaudio = pytest.importorskip("torchaudio")
    mel = RECIPE.features(RECIPE.settings())["mel"]
    wave = torch.randn(32_000) * 0.1
    expected = 10 * torch.log10(torchaudio.transforms.MelSpectrogram(n_mels=80)(wave).clamp(min=1e-10))
    found = mel.compute(wave.numpy())
    assert found.shape == (80, 161)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_masks_are_filled_with_zero_and_padding_too() -> None:
    form = RECIPE.module.batches(RECIPE.settings())
    assert (form.pad, form.frames, form.batch_size, form.mixup) == (0.0, None, 32, 0.0)


def test_the_rate_stays_constant_as_it_really_did(workspace: Workspace) -> None:
    for schedule, last in (("constant", 1e-3), ("cosine", 1.02e-5)):
        settings = RECIPE.settings({"schedule": schedule, "epochs": 5, "d_model": 8, "n_heads": 2})
        run, _ = run_recipe(workspace, RECIPE, settings, folds=["1"])
        log = [json.loads(line) for line in (run.path / "folds" / "1" / "tiny.jsonl").read_text().splitlines()]
        assert len(log) == 5
        if schedule == "constant":
            assert {entry["lr"] for entry in log} == {last}
        else:
            assert log[-1]["lr"] < 0.2 * 1e-3


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(0, 0), (0, 0), (1, 1)], 1),
        ([(0, 1), (1, 0)], 0),
        ([(0, 0), (0, 0), (1, 0)], 0.5),
        ([(0, 0), (1, 1), (0, 0), (0, 0), (1, 0), (0, 1)], 0.625),
        ([(1, 1), (0, 1), (2, 2)], 2 / 3),
    ],
)
def test_the_metrics_worked_examples(pairs: list[tuple[int, int]], expected: float) -> None:
    targets = np.array([target for target, _ in pairs])
    probabilities = np.eye(3)[[prediction for _, prediction in pairs]]
    assert score("balanced_accuracy", targets, probabilities) == pytest.approx(expected)
