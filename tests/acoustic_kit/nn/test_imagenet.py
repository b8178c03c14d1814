"""ImageNet weights in networks for spectrograms."""

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from torchvision.models import ResNet34_Weights
from torchvision.models.resnet import Bottleneck, ResNet

from acoustic_kit.errors import AkitError
from acoustic_kit.nn import CbamResnet34, DeepStemResnet, load_imagenet, resnet34


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
