"""Noise of many numbers a clip: its distributions, and that it belongs to the clip."""

import numpy as np
import torch
from scipy import stats

from acoustic_kit.recipe.end_to_end_audio.clip_noise import normal_noise, uniform_noise
from acoustic_kit.training import ClipRng
from acoustic_kit.training.clip_rng import digests

N = 20_001


def rng(*ids: str, key: str = "seed") -> ClipRng:
    return ClipRng(key, digests(ids), torch.device("cpu"))


def test_uniform_noise_is_uniform() -> None:
    x = uniform_noise(rng("a", "b", "c"), "x", N)
    assert x.shape == (3, N)
    assert x.dtype == torch.float32
    assert 0 <= float(x.min()) < float(x.max()) < 1
    for row in x.numpy():
        assert stats.kstest(row, "uniform").pvalue > 1e-3


def test_normal_noise_is_normal() -> None:
    x = normal_noise(rng("a", "b", "c"), "x", N)
    assert x.shape == (3, N)
    assert bool(x.isfinite().all())
    for row in x.numpy():
        assert stats.kstest(row, "norm").pvalue > 1e-3


def test_neighbours_clips_purposes_and_keys_are_uncorrelated() -> None:
    first = normal_noise(rng("a", "b"), "x", N).numpy()
    rows = [*first, np.roll(first[0], 1), normal_noise(rng("a"), "y", N).numpy()[0]]
    rows.append(normal_noise(rng("a", key="next epoch"), "x", N).numpy()[0])
    correlation = np.corrcoef(rows) - np.eye(len(rows))
    assert np.abs(correlation).max() < 5 / np.sqrt(N)


def test_the_spectrum_is_flat() -> None:
    power = np.abs(np.fft.rfft(normal_noise(rng("a"), "x", 2**16).numpy()[0]))[1:-1] ** 2 / 2**16
    for part in np.array_split(power, 16):
        assert abs(part.mean() - 1) < 5 / np.sqrt(len(part))


def test_a_clips_noise_depends_on_the_clip_alone() -> None:
    together = normal_noise(rng("a", "b", "c"), "x", 100)
    torch.testing.assert_close(normal_noise(rng("b"), "x", 100)[0], together[1])
    assert torch.equal(uniform_noise(rng("c", "a"), "x", 100)[1], uniform_noise(rng("a"), "x", 100)[0])
