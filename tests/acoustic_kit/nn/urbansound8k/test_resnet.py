"""The residual backbones, and CBAM against a plain loop."""

import math

import numpy as np
import pytest
import torch
from torchvision.models.resnet import Bottleneck, ResNet

from acoustic_kit.nn import Cbam, CbamResnet34, DeepStemResnet, resnet34


def test_convolutions_start_as_in_torch_and_torchvision() -> None:
    torch.manual_seed(0)
    net = resnet34(1, 10)
    assert net.conv1.weight.abs().max() <= 1 / 7  # uniform within 1 / √49
    assert net.conv1.weight.std().item() == pytest.approx(1 / 7 / math.sqrt(3), rel=0.05)
    for conv, n_out in ((net.layer1[0].conv1, 64), (net.layer4[2].conv2, 512)):
        assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / (n_out * 9)), rel=0.05)


@pytest.mark.parametrize(("max_pool", "size"), [(True, (2, 4)), (False, (4, 7))])
def test_without_the_max_pool_maps_are_twice_as_large(max_pool: bool, size: tuple[int, int]) -> None:
    net = CbamResnet34(2, max_pool=max_pool).eval()
    with torch.no_grad():
        assert net(torch.randn(1, 2, 64, 101)).shape == (1, 512, *size)


def test_the_cbams_stand_after_the_stages() -> None:
    net, x = CbamResnet34().eval(), torch.randn(1, 1, 32, 50)
    with torch.no_grad():
        maps = net.maxpool(torch.relu(net.bn1(net.conv1(x))))
        for stage, cbam in ((net.layer1, net.cbam1), (net.layer2, net.cbam2), (net.layer3, net.cbam3)):
            maps = cbam(stage(maps))
        torch.testing.assert_close(net(x), net.cbam4(net.layer4(maps)))


def test_the_deep_stem_halves_the_map_once() -> None:
    net = DeepStemResnet(ResNet(Bottleneck, [1, 1, 1, 1], width_per_group=8)).eval()
    with torch.no_grad():
        assert net.stem(torch.randn(1, 1, 128, 401)).shape == (1, 64, 64, 201)
        assert net(torch.randn(1, 1, 32, 50)).shape == (1, net.width, 2, 4)
    assert net.width == 2048


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def by_hand(maps: np.ndarray, first: np.ndarray, second: np.ndarray, places: np.ndarray) -> np.ndarray:
    """One clip, (width, bands, frames), channel by channel and place by place."""
    width, bands, frames = maps.shape

    def opinion(values: np.ndarray) -> np.ndarray:
        return second @ np.maximum(first @ values, 0)

    mean = np.array([maps[c].sum() / (bands * frames) for c in range(width)])
    largest = np.array([maps[c].max() for c in range(width)])
    maps = maps * sigmoid(opinion(mean) + opinion(largest))[:, None, None]
    seen = np.pad(np.stack([maps.mean(axis=0), maps.max(axis=0)]), ((0, 0), (3, 3), (3, 3)))
    out = np.empty_like(maps)
    for i in range(bands):
        for j in range(frames):
            out[:, i, j] = maps[:, i, j] * sigmoid((places * seen[:, i : i + 7, j : j + 7]).sum())
    return out


def test_it_is_the_plain_loop() -> None:
    torch.manual_seed(0)
    layer, maps = Cbam(32).double(), torch.randn(2, 32, 5, 9, dtype=torch.float64)
    weights = [p.detach().numpy() for p in layer.parameters()]
    first, second, places = weights[0][:, :, 0, 0], weights[1][:, :, 0, 0], weights[2][0]
    found = layer(maps).detach().numpy()
    for clip, expected in zip(found, maps.numpy(), strict=True):
        np.testing.assert_allclose(clip, by_hand(expected, first, second, places), atol=1e-12)


@pytest.mark.parametrize(("width", "hidden"), [(32, 4), (64, 4), (128, 8), (256, 16), (512, 32), (2048, 128)])
def test_the_hidden_layer_is_a_sixteenth_but_at_least_four(width: int, hidden: int) -> None:
    with torch.device("meta"):
        shapes = [tuple(p.shape) for p in Cbam(width).parameters()]
    assert shapes == [(hidden, width, 1, 1), (width, hidden, 1, 1), (1, 2, 7, 7)]


def test_it_only_makes_smaller_and_keeps_the_sign() -> None:
    maps = torch.randn(3, 16, 4, 6)
    with torch.no_grad():
        share = Cbam(16)(maps) / maps
    assert share.min() > 0
    assert share.max() < 1
