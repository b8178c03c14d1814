"""EAT's chain of augmentations: each switch, and when batches are mixed."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from acoustic_kit.errors import AkitError
from acoustic_kit.recipe.end_to_end_audio.wave_chain import (
    WaveAugmentations,
    background,
    label_preserving,
    resampled_and_mixed,
)
from acoustic_kit.training import Batch, BatchRng, ClipRng
from acoustic_kit.training.clip_rng import digests

N, CLIPS, RATE = 4096, 40, 16000
SIGNAL = ["amp", "neg", "tshift", "tmask", "ampsegment", "cycshift"]
NOISE = ["awgn", "apgn", "argn", "abgn", "avgn", "aun", "phn", "sine"]
MIXING = ["mixup", "timemix", "freqmix", "phmix"]
OFF = dict.fromkeys([*SIGNAL, *NOISE, *MIXING, "noise", "resample", "mix"], 0)


def rng(key: str = "seed", epoch: int = 5) -> BatchRng:
    device = torch.device("cpu")
    clips = ClipRng(key, digests([str(i) for i in range(CLIPS)]), device)
    return BatchRng(epoch, clips, ClipRng(key, np.zeros(1, np.uint64), device))


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(0)
    return Batch((torch.randn(CLIPS, 1, N),), torch.eye(CLIPS))


def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (logits - targets).sum()


def changed(batch: Batch, **settings: float) -> torch.Tensor:
    """Which clips the label-preserving part changes: bool (clips,)."""
    x = batch.x
    for augment in label_preserving(WaveAugmentations(**{**OFF, **settings}), RATE):
        x = augment(x, rng().clips)
    assert x.shape == batch.x.shape
    return (x != batch.x).flatten(1).any(dim=1)


def test_everything_can_be_switched_off(batch: Batch) -> None:
    assert not changed(batch).any()
    assert not changed(batch, noise=1).any()  # no kind is on
    assert not changed(batch, **dict.fromkeys(NOISE, 1)).any()  # the kinds are on, but never come
    apply = resampled_and_mixed(WaveAugmentations(**OFF), RATE, 0, "union", loss)
    assert torch.equal(apply(batch, rng()).x, batch.x)
    apply = resampled_and_mixed(WaveAugmentations(**{**OFF, "mix": 1}), RATE, 0, "union", loss)
    assert apply(batch, rng()).loss is None


@pytest.mark.parametrize("name", SIGNAL)
def test_each_change_comes_by_its_own_switch(batch: Batch, name: str) -> None:
    assert changed(batch, **{name: 1}).all()
    assert 8 < changed(batch, **{name: 0.5}).sum() < 32


@pytest.mark.parametrize("name", NOISE)
def test_each_noise_comes_by_its_own_switch(batch: Batch, name: str) -> None:
    assert changed(batch, noise=1, **{name: 1}).all()
    assert 8 < changed(batch, noise=0.5, **{name: 1}).sum() < 32


@pytest.mark.parametrize("name", MIXING)
def test_each_mix_comes_by_its_own_switch(batch: Batch, name: str) -> None:
    apply = resampled_and_mixed(WaveAugmentations(**{**OFF, "mix": 1, name: 1}), RATE, 0, "union", loss)
    mixed = apply(batch, rng())
    assert mixed.x.shape == batch.x.shape
    assert mixed.loss is loss
    assert not torch.equal(mixed.x, batch.x)
    assert mixed.targets.unique().tolist() == [0, 1]
    assert (mixed.targets.diagonal() == 1).all()
    assert mixed.targets.sum(dim=1).max() == 2


def test_mixing_waits_for_its_epoch(batch: Batch) -> None:
    apply = resampled_and_mixed(WaveAugmentations(resample=0), RATE, 12, "union", loss)
    assert torch.equal(apply(batch, rng(epoch=12)).x, batch.x)
    assert apply(batch, rng(epoch=12)).loss is None
    assert not torch.equal(apply(batch, rng(epoch=13)).x, batch.x)


def test_batches_are_mixed_and_resampled_as_often_as_they_should(batch: Batch) -> None:
    form = WaveAugmentations(mix=0.25, freqmix=False, phmix=False)
    apply = resampled_and_mixed(form, RATE, 0, "union", loss)
    found = [apply(batch, rng(str(i))) for i in range(200)]
    assert 25 < sum(b.loss is loss for b in found) < 75
    plain = [b for b in found if b.loss is None]
    same = sum(torch.equal(b.x, batch.x) for b in plain)
    assert 0.35 * len(plain) < same < 0.65 * len(plain)


def test_shares_as_targets(batch: Batch) -> None:
    apply = resampled_and_mixed(WaveAugmentations(timemix=True, mixup=0, freqmix=0, phmix=0), RATE, 0, "shares", loss)
    targets = apply(batch, rng()).targets
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(CLIPS))
    assert (targets.diagonal() >= 0.5).all()


def test_background_is_read_lazily_and_skips_noise_recordings(tmp_path: Path, batch: Batch) -> None:
    augment = background(str(tmp_path), RATE)  # reads nothing yet
    with pytest.raises(AkitError, match="has no recording"):
        augment(batch.x, rng().clips)
    time = np.arange(2 * N) / RATE
    soundfile.write(tmp_path / "running_tap.wav", 0.3 * np.sin(2 * np.pi * 440 * time), RATE)
    soundfile.write(tmp_path / "white_noise.wav", np.random.default_rng(0).standard_normal(2 * N) * 0.1, RATE)
    added = (augment(batch.x, rng().clips) - batch.x).flatten(1)
    fired = added.any(dim=1)
    assert 8 < fired.sum() < 32
    power = torch.fft.rfft(added[fired] * torch.hann_window(N)).abs() ** 2
    near = round(440 * N / RATE)
    assert (power[:, near - 3 : near + 4].sum(dim=1) > 0.99 * power.sum(dim=1)).all()  # nothing but the tap
