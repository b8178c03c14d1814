"""The residual backbones."""

import math

import pytest
import torch
from torchvision.models.resnet import Bottleneck, ResNet

from acoustic_kit.nn import CbamResnet34, DeepStemResnet, resnet34


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
