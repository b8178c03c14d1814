"""The residual backbones."""

import math
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from torchvision.models import ResNet34_Weights
from torchvision.models.resnet import Bottleneck, ResNet

from acoustic_kit.errors import AkitError
from acoustic_kit.nn import CbamResnet34, DeepStemResnet, load_imagenet, resnet34


def test_the_first_convolution_starts_as_torchs_do_and_the_rest_as_torchvisions() -> None:
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


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """A stand-in for ImageNet's weights of ResNet-34 in torch's cache, and no network."""
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    torch.manual_seed(5)
    state = torchvision.models.resnet34().state_dict()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(state, folder / ResNet34_Weights.IMAGENET1K_V1.url.rpartition("/")[2])
    return state


def unreachable(*_args: object, **_kwargs: object) -> None:
    raise URLError("no network")


@pytest.mark.parametrize("n_channels", [1, 2])
def test_imagenets_weights_answer_a_grey_picture_as_they_did(cached: dict, n_channels: int) -> None:
    net = CbamResnet34(n_channels)
    before = net.cbam1.places.weight.clone()
    load_imagenet(net, ResNet34_Weights.IMAGENET1K_V1)
    assert torch.equal(net.layer3[1].conv2.weight, cached["layer3.1.conv2.weight"])
    assert torch.equal(net.cbam1.places.weight, before)
    grey = torch.randn(1, 1, 20, 20)
    expected = torch.nn.functional.conv2d(grey.expand(-1, 3, -1, -1), cached["conv1.weight"], stride=2, padding=3)
    torch.testing.assert_close(net.conv1(grey.expand(-1, n_channels, -1, -1)), expected, rtol=1e-4, atol=1e-4)


def test_imagenets_weights_leave_the_classifier_as_it_is(cached: dict) -> None:
    net = resnet34(1, 1000)
    before = net.fc.weight.clone()
    load_imagenet(net, ResNet34_Weights.IMAGENET1K_V1)
    assert torch.equal(net.fc.weight, before)
    assert torch.equal(net.bn1.running_var, cached["bn1.running_var"])


def test_weights_that_cannot_be_had_are_the_users_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(AkitError, match="pretrained=false") as error:
        load_imagenet(resnet34(), ResNet34_Weights.IMAGENET1K_V1)
    assert "resnet34" in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_weights_of_another_width_do_not_fit(cached: dict) -> None:
    other = DeepStemResnet(ResNet(Bottleneck, [3, 4, 6, 3], width_per_group=8))
    with pytest.raises(AkitError, match="do not fit"):
        load_imagenet(other, ResNet34_Weights.IMAGENET1K_V1)


def test_offline_means_that_the_network_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(torch.hub, "download_url_to_file", asked)
    with pytest.raises(AkitError, match="switched off"):
        load_imagenet(resnet34(), ResNet34_Weights.IMAGENET1K_V1)
