"""Modulation spectra of bands: where their power is, and what a regular beat changes."""

import numpy as np
import pytest

from acoustic_kit.dsp.modulation import EDGES, modulation_bands, modulation_rows, modulation_spectrum

RATE = 172.0  # frames per second
TIME = np.arange(860) / RATE


def beating(hz: float, depth: float = 0.5) -> np.ndarray:
    """One band whose amplitude beats: float64 (1, 860)."""
    return 3.0 * (1 + depth * np.sin(2 * np.pi * hz * TIME))[None]


@pytest.mark.parametrize("hz", [2.5, 10.0, 40.0])
def test_the_power_of_a_beat_is_in_its_band(hz: float) -> None:
    logarithms = modulation_rows(beating(hz), RATE, 2.0)[0, : modulation_bands(RATE)]
    found = int(logarithms.argmax())
    assert EDGES[found] <= hz < EDGES[found + 1]


def test_the_sum_is_the_relative_variance() -> None:
    noise = 1 + 0.1 * np.random.default_rng(0).standard_normal((4, 20_000))
    power = modulation_spectrum(noise, 400)
    variance = 2 * power[:, 1:-1].sum(axis=1) + power[:, 0] + power[:, -1]
    np.testing.assert_allclose(variance / 400, 0.01, rtol=0.05)


def test_a_beat_is_regular_and_noise_is_not() -> None:
    noise = np.abs(1 + 0.35 * np.random.default_rng(0).standard_normal((1, len(TIME))))
    steady, rotor = modulation_rows(noise, RATE, 2.0)[0], modulation_rows(noise + beating(15) / 3, RATE, 2.0)[0]
    assert rotor[-2] > steady[-2] + 2
    assert steady[-1] < 0.3 < rotor[-1] <= 1


def test_loudness_changes_nothing() -> None:
    loud = np.abs(np.random.default_rng(0).standard_normal((3, 900)))
    np.testing.assert_allclose(modulation_rows(loud * 1e-4, RATE, 2.0), modulation_rows(loud, RATE, 2.0), rtol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 343, 345, 5000])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_short_and_constant_clips_have_finite_numbers(frames: int, value: float) -> None:
    rows = modulation_rows(np.full((2, frames), value, np.float32), RATE, 2.0)
    assert rows.shape == (2, 15)
    assert np.isfinite(rows).all()
