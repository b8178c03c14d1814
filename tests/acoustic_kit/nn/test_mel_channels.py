"""Spectrograms of several resolutions as channels, and masks of them."""

import pytest
import torch

from acoustic_kit.nn import ClipMasks, MelChannels, MelSpectrogram


def test_resolutions_are_channels_and_bands_are_normalized() -> None:
    torch.manual_seed(0)
    waves = 0.1 * torch.randn(6, 2048)
    layer = MelChannels(8000, (512, 256), 128, 8)
    channels = layer(waves)
    assert channels.shape == (6, 2, 8, 17)
    torch.testing.assert_close(channels.mean(dim=(0, 3)), torch.zeros(2, 8), atol=1e-4, rtol=0)
    torch.testing.assert_close(channels.std(dim=(0, 3)), torch.ones(2, 8), atol=1e-2, rtol=0)
    layer.eval()
    layer.norm.reset_running_stats()
    for channel, n_fft in enumerate((512, 256)):
        plain = MelSpectrogram(8000, n_fft, 128, 8, scale="db")(waves)
        torch.testing.assert_close(layer(waves)[:, channel], plain, rtol=1e-4, atol=1e-3)


def test_pcen_is_trained() -> None:
    layer = MelChannels(8000, (256,), 128, 8, scale="pcen")
    layer(0.1 * torch.randn(2, 1024)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in layer.scales.parameters())
    assert len(list(layer.scales.parameters())) == 3


@pytest.mark.parametrize("n", [1, 3])
def test_each_clip_has_its_own_masks_in_all_channels(n: int) -> None:
    torch.manual_seed(0)
    masks, x = ClipMasks(4, 6, n), torch.ones(64, 2, 16, 32)
    masked = masks(x) == 0
    assert torch.equal(masked[:, 0], masked[:, 1])
    bands, frames = masked[:, 0].all(dim=2), masked[:, 0].all(dim=1)
    assert torch.equal(masked[:, 0], bands[:, :, None] | frames[:, None, :])
    assert len({tuple(row.tolist()) for row in bands}) > 10
    assert 0 < bands.sum(dim=1).float().mean() <= 3 * n
    assert bands.sum(dim=1).max() <= 3 * n
    assert frames.sum(dim=1).max() <= 5 * n
    assert torch.equal(masks.eval()(x), x)
