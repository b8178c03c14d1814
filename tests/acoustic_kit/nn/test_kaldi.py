import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import ASTFeatureExtractor

from acoustic_kit.features.ast_input import AstInput
from acoustic_kit.nn.kaldi import KaldiFilterBank


def noise(n: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def on_the_device(wave: np.ndarray, device: str = "cpu") -> np.ndarray:
    return KaldiFilterBank().to(device)(torch.from_numpy(wave[None]).to(device))[0].cpu().numpy()


@pytest.mark.parametrize("compute", [AstInput().compute, on_the_device], ids=["store", "device"])
@pytest.mark.parametrize("n", [400, 16_000, 170_000])
def test_the_store_and_the_device_agree_with_transformers(compute, n: int) -> None:
    wave = noise(n)
    theirs = ASTFeatureExtractor()(wave, sampling_rate=16000, return_tensors="np")["input_values"][0]
    ours = compute(wave)
    assert (ours.shape, ours.dtype) == ((1024, 128), np.float32)
    np.testing.assert_allclose(ours, theirs, atol=4e-4)


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_store() -> None:
    wave = noise(80_000)
    np.testing.assert_allclose(on_the_device(wave, "cuda"), AstInput().compute(wave), atol=4e-4)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 9000), min_size=1, max_size=4), st.integers(4, 64), st.integers(1, 60))
def test_padded_batches_give_what_each_clip_gives_alone(lengths: list[int], n_mels: int, max_length: int) -> None:
    waves = np.zeros((len(lengths), max(lengths)), np.float32)
    for row, n in zip(waves, lengths, strict=True):
        row[:n] = noise(n, seed=n)
    feature = AstInput(n_mels=n_mels, max_length=max_length)
    batch = KaldiFilterBank(n_mels, max_length)(torch.from_numpy(waves), torch.tensor(lengths)).numpy()
    assert batch.shape == (len(lengths), max_length, n_mels)
    for made, row, n in zip(batch, waves, lengths, strict=True):
        np.testing.assert_allclose(made, feature.compute(row[:n]), atol=4e-4)


def test_autocast_leaves_it_in_float32() -> None:
    bank, waves = KaldiFilterBank(), torch.from_numpy(noise(16_000))[None]
    with torch.autocast("cpu", torch.bfloat16):
        made = bank(waves)
    assert torch.equal(made, bank(waves))


def test_it_has_nothing_to_learn_or_to_save() -> None:
    assert KaldiFilterBank().state_dict() == {}


def test_gradients_reach_the_wave() -> None:
    waves = torch.from_numpy(noise(1000))[None].requires_grad_()
    KaldiFilterBank(n_mels=20, max_length=8)(waves).sum().backward()
    assert waves.grad is not None
    assert torch.isfinite(waves.grad).all()
    assert waves.grad.abs().max() > 0
