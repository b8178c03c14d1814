"""From waves to normalised spectrograms."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from acoustic_kit.features.wave import Wave
from acoustic_kit.nn import WaveFrontEnd


@pytest.fixture
def reference(originals: Callable[[str], dict]) -> dict[str, np.ndarray]:
    """The original's mel spectrogram and PCEN of one clip."""
    return originals("pcen_public.npz")


@pytest.mark.parametrize("extra_eps", [0.0, 1e-6])
def test_a_real_clip_is_the_originals(esc10: Path, reference: dict[str, np.ndarray], extra_eps: float) -> None:
    """Mel and PCEN; the resampler is another, so that cells differ by a few per mille and more near the top."""
    wave = Wave(32000, trim_top_db=None, seconds=4.0).compute(esc10 / "audio" / str(reference["clip"]))
    layer = WaveFrontEnd(n_fft=1024, n_mels=64, extra_eps=extra_eps).eval()
    with torch.no_grad():
        mel = layer.mels[0](torch.from_numpy(wave)[None, None])
        pcen = layer.pcens[0](torch.from_numpy(reference["mel"])[None, None])
    expected = reference["trainable_init_extra_eps" if extra_eps else "trainable_init"]
    np.testing.assert_allclose(pcen[0, 0].numpy(), expected, atol=5e-6)
    assert mel.shape == (1, 1, 64, 401)
    difference = np.abs(mel[0, 0].numpy() - reference["mel"])
    assert difference.mean() < 0.01 * reference["mel"].mean()


def test_mel_spectrograms_are_torchaudios_magnitudes() -> None:
    transforms = pytest.importorskip("torchaudio").transforms
    waves = torch.randn(2, 1, 16000) * 0.1
    for mel, n_fft in zip(WaveFrontEnd(n_fft=[2048, 1024]).mels, (2048, 1024), strict=True):
        theirs = transforms.MelSpectrogram(32000, n_fft, hop_length=320, n_mels=128, f_min=20, f_max=16000, power=1)
        torch.testing.assert_close(mel(waves), theirs(waves), rtol=1e-4, atol=1e-4)


def test_each_window_is_a_channel_with_a_pcen_of_its_own() -> None:
    layer, waves = WaveFrontEnd(n_fft=[2048, 1024], n_mels=16).eval(), torch.randn(2, 1, 8000) * 0.1
    with torch.no_grad():
        layer.pcens[1].power.fill_(0.25)
        found = layer(waves)
        expected = [pcen(mel(waves)) for pcen, mel in zip(layer.pcens, layer.mels, strict=True)]
    assert found.shape == (2, 2, 16, 26)
    torch.testing.assert_close(found, torch.cat(expected, dim=1) / (1 + layer.norm.eps) ** 0.5)


def test_pcen_trains_though_the_mel_spectrogram_has_no_gradient() -> None:
    layer, waves = WaveFrontEnd(n_mels=16), torch.randn(4, 1, 8000, requires_grad=True)
    (layer(waves) ** 3).sum().backward()
    assert waves.grad is None
    assert all(p.grad is not None and p.grad.any() for p in layer.pcens.parameters())


def test_the_smoothers_weight_is_that_of_60_milliseconds() -> None:
    assert WaveFrontEnd().pcens[0].b.item() == pytest.approx(1 / 6)
    assert WaveFrontEnd(16000, 1024, 160).pcens[0].b.item() == pytest.approx(1 / 6)
    assert WaveFrontEnd(hop_length=640).pcens[0].b.item() == pytest.approx(1 / 3)


def test_masks_are_drawn_in_training_only() -> None:
    torch.manual_seed(0)
    layer, waves = WaveFrontEnd(n_mels=32, max_mask_bands=30, max_mask_frames=20), torch.randn(2, 1, 8000)
    assert not torch.equal(layer(waves), layer(waves))
    layer.eval()
    assert torch.equal(layer(waves), layer(waves))
