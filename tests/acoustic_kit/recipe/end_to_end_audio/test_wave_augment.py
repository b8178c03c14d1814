"""The law of each change of a wave, against direct evaluation clip by clip."""

import numpy as np
import pytest
import torch

from acoustic_kit.recipe.end_to_end_audio.wave_augment import flip_sign, gain, mask, rotate, segment_gain, shift
from acoustic_kit.training import ClipRng
from acoustic_kit.training.clip_rng import digests

N, CLIPS = 1000, 300
DRAWS = ClipRng("seed", digests([str(i) for i in range(CLIPS)]), torch.device("cpu"))


@pytest.fixture
def waves() -> torch.Tensor:
    return torch.randn(CLIPS, N, generator=torch.Generator().manual_seed(0))


def covers(values: np.ndarray, low: float, high: float) -> bool:
    """Whether numbers reach through a range and not beyond, as uniform ones do."""
    share = (np.asarray(values, dtype=float).ravel() - low) / (high - low)
    return bool(-1e-6 <= share.min() < 0.03 and 0.97 < share.max() <= 1 + 1e-6 and abs(share.mean() - 0.5) < 0.1)


def test_gain_is_one_factor_a_clip(waves: torch.Tensor) -> None:
    factor = (gain(0.5, 1.3)(waves, DRAWS) / waves).numpy()
    np.testing.assert_allclose(factor, factor[:, :1].repeat(N, 1), rtol=1e-5)
    assert covers(factor[:, 0], 0.5, 1.3)


def test_flip_sign(waves: torch.Tensor) -> None:
    assert torch.equal(flip_sign()(waves, DRAWS), -waves)


def test_rotation_is_circular(waves: torch.Tensor) -> None:
    found = rotate()(waves, DRAWS).numpy()
    starts = [int(np.flatnonzero(row == wave[0])[0]) for row, wave in zip(found, waves.numpy(), strict=True)]
    for row, wave, start in zip(found, waves.numpy(), starts, strict=True):
        np.testing.assert_array_equal(row, np.roll(wave, start))
    assert covers(starts, 0, N - 1)


def test_shift_is_integer_with_zeros_then_fraction_with_wrap(waves: torch.Tensor) -> None:
    most = 100
    found = shift(most)(waves, DRAWS).double().numpy()
    steps, parts = [], []
    frequency = np.fft.fftfreq(N)
    ends = np.zeros(most)
    for row, wave in zip(found[:40], waves[:40].double().numpy(), strict=True):
        # The delay that fits best, and then its part from the phases.
        padded = np.concatenate([ends, wave, ends])
        moved = {d: padded[most - d : most - d + N] for d in range(-most, most + 1, 2)}
        step = max(moved, key=lambda d: float(row @ moved[d]))
        spectrum = np.fft.fft(moved[step])
        errors = [
            np.abs(np.fft.ifft(spectrum * np.exp(-2j * np.pi * frequency * part)).real - row).max()
            for part in np.arange(-50, 51) / 100
        ]
        assert min(errors) < 1e-3
        steps.append(step)
        parts.append((int(np.argmin(errors)) - 50) / 100)
    assert min(steps) < -50
    assert max(steps) > 50
    assert min(parts) < -0.3
    assert max(parts) > 0.3


def test_a_mask_is_consecutive_samples_of_near_silence(waves: torch.Tensor) -> None:
    length = 100
    found = mask(length)(waves, DRAWS)
    firsts, levels = [], []
    for row, wave in zip(found.numpy(), waves.numpy(), strict=True):
        (places,) = np.nonzero(row != wave)
        assert len(places) == length == places[-1] - places[0] + 1
        firsts.append(places[0])
        levels.append(row[places].std())
    assert covers(firsts, 0, N - length)
    assert np.mean(levels) == pytest.approx(1e-6, rel=0.05)


def test_a_segments_gain_falls_near_the_start(waves: torch.Tensor) -> None:
    length = 100
    factor = (segment_gain(length, 0.5, 1.3)(waves, DRAWS) / waves).numpy()
    firsts, factors = [], []
    for row in factor:
        (places,) = np.nonzero(np.abs(row - 1) > 1e-5)
        if not len(places):  # a factor of one
            continue
        assert len(places) == length == places[-1] - places[0] + 1
        np.testing.assert_allclose(row[places], row[places[0]], rtol=1e-4)
        firsts.append(places[0])
        factors.append(row[places[0]])
    assert covers(firsts, 0, length - 1)
    assert covers(factors, 0.5, 1.3)
