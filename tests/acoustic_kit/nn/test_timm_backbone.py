"""Networks of timm as backbones: any layout becomes a map, and weights are loaded whole or refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.nn import TimmBackbone
from acoustic_kit.nn.timm_backbone import timm_weights_name

Save = Callable[[dict[str, torch.Tensor]], Path]
SIZE = (32, 70)  # bands, frames
WIDTHS = {"test_resnet": 96, "test_efficientnet": 256, "test_vit": 64, "test_convnext": 64, "mambaout_femto": 1152}


@pytest.fixture
def saved(tmp_path: Path) -> Save:
    """A function that writes weights to a file."""

    def save(tensors: dict[str, torch.Tensor]) -> Path:
        save_file(tensors, tmp_path / "model.safetensors")
        return tmp_path / "model.safetensors"

    return save


@pytest.mark.parametrize("name", WIDTHS)
def test_any_layout_becomes_a_map(name: str) -> None:
    backbone = TimmBackbone(name, 2, SIZE)
    maps = backbone(torch.randn(2, 2, *SIZE))
    assert backbone.width == maps.shape[1] == WIDTHS[name]
    assert maps.shape[2] < maps.shape[3]
    assert backbone.net.training
    longer = backbone(torch.randn(2, 2, SIZE[0], 2 * SIZE[1]))
    assert longer.shape[3] > maps.shape[3]


@pytest.mark.parametrize("name", ["test_vit", "mambaout_femto", "test_convnext"])
def test_frames_of_the_map_are_in_order(name: str) -> None:
    """Only the last frames of the map follow the last frames of a spectrogram; layers for all positions are removed."""
    torch.manual_seed(0)
    backbone, x = TimmBackbone(name, 1, SIZE).eval(), torch.randn(1, 1, *SIZE)
    if name == "test_vit":
        backbone.net.blocks = torch.nn.Sequential()
    other = x.clone()
    other[..., -5:] = 0
    with torch.no_grad():
        moved = (backbone(x) - backbone(other)).abs().amax(dim=(0, 1, 2))
    assert moved[-1] > 10 * moved[0]
    assert moved.argmax() >= len(moved) - 2


def test_a_model_that_pools_always_gives_its_features() -> None:
    assert TimmBackbone("efficientvit_b0", 1, SIZE).forward(torch.randn(1, 1, *SIZE)).shape == (1, 128, 1, 3)


@pytest.mark.parametrize(("name", "near"), [("test_resnt", "test_resnet"), ("resnet18.nothing", "resnet18.a1_in1k")])
def test_an_unknown_model_is_a_mistake(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=near) as error:
        TimmBackbone(name, 1, SIZE)
    assert name in str(error.value)


def test_a_model_that_cannot_read_the_size_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="mixer_s32_224") as error:
        TimmBackbone("mixer_s32_224", 1, SIZE)
    assert "32 bands × 70 frames" in str(error.value)


def test_the_name_on_the_hub_is_that_of_the_tag() -> None:
    assert timm_weights_name("tf_efficientnetv2_s.in21k") == "timm/tf_efficientnetv2_s.in21k"
    assert timm_weights_name("test_resnet") == "timm/test_resnet.r160_in1k"


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit"])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_weights_answer_as_timms_own_model_does(saved: Save, name: str, n_channels: int) -> None:
    torch.manual_seed(1)
    published = timm.create_model(name)
    for buffer in published.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    state = torch.random.get_rng_state()
    backbone = TimmBackbone(name, n_channels, SIZE)
    torch.random.set_rng_state(state)
    backbone.load_pretrained(saved(published.state_dict()))
    assert torch.equal(torch.random.get_rng_state(), state)
    expected = timm.create_model(
        name,
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": published.state_dict()},
        in_chans=n_channels,
        num_classes=0,
    ).eval()
    x = torch.randn(2, n_channels, 160, 160)
    with torch.no_grad():
        maps, wanted = backbone.eval()(x), expected.forward_features(x)
    if wanted.ndim == 3:
        wanted = wanted[:, 1:].transpose(1, 2).unflatten(2, (10, 10))
    torch.testing.assert_close(maps, wanted, rtol=1e-4, atol=1e-4)


def test_one_channel_gets_the_sum_over_colors(saved: Save) -> None:
    published, backbone = timm.create_model("test_resnet"), TimmBackbone("test_resnet", 1, SIZE)
    backbone.load_pretrained(saved(published.state_dict()))
    first = dict(backbone.net.named_parameters())["conv1.0.weight"]
    torch.testing.assert_close(first, dict(published.named_parameters())["conv1.0.weight"].sum(1, keepdim=True))


@pytest.mark.parametrize("what", ["another model", "a part"])
def test_weights_that_do_not_fit_are_refused(saved: Save, what: str) -> None:
    tensors = timm.create_model("test_resnet").state_dict()
    if what == "another model":
        tensors = timm.create_model("test_convnext").state_dict()
    else:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("layer4")}
    path = saved(tensors)
    with pytest.raises(AkitError, match="test_resnet") as error:
        TimmBackbone("test_resnet", 1, SIZE).load_pretrained(path)
    assert str(path) in str(error.value)


def test_pickles_are_not_read(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "model.pth")
    with pytest.raises(AkitError, match=r"model\.pth"):
        TimmBackbone("test_resnet", 1, SIZE).load_pretrained(tmp_path / "model.pth")
