"""The feature `modulation`: its columns at any rate, and what it tells apart."""

import numpy as np
import pytest

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features.modulation import Modulation
from acoustic_kit.features.wave import Wave


@pytest.mark.parametrize(
    ("rate", "hop", "seconds"), [(4000, 60, 2.0), (8000, 64, 2.5), (22050, 128, 2.0), (44100, 333, 3.7)]
)
@pytest.mark.parametrize("samples", [1, 3000, 100_000])
def test_all_numbers_are_finite_and_named(rate: int, hop: int, seconds: float, samples: int) -> None:
    feature = Modulation(Wave(sample_rate=rate), 4 * hop, hop, n_mels=8, seconds=seconds)
    found = feature.compute(np.random.default_rng(0).standard_normal(samples).astype(np.float32))
    assert found.dtype == np.float32
    assert found.shape == (len(feature.columns()),)
    assert len(set(feature.columns())) == len(found)
    assert np.isfinite(found).all()


def test_noise_that_beats_like_a_rotor_differs_from_steady_noise() -> None:
    rng, time = np.random.default_rng(0), np.arange(5 * 22050) / 22050
    noise = rng.standard_normal((2, len(time))).astype(np.float32)
    rotor = noise[0] * (1 + 0.6 * np.sin(2 * np.pi * 14 * time)).astype(np.float32)
    feature = Modulation()
    names = feature.columns()
    steady, beating = (feature.compute(wave) for wave in (noise[1], rotor))
    regular = [names.index(name) for name in names if name.endswith("regularity")]
    assert steady[regular].max() < beating[regular].min()
    np.testing.assert_allclose(feature.compute(rotor * np.float32(0.01)), beating, atol=1e-2)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"hop_length": 400}, "hop_length is 400; at 22050 Hz it must be at most 334"),
        ({"seconds": 1.0}, "seconds is 1.0"),
        ({"n_mels": 0}, "n_mels is 0"),
        ({"n_fft": 511}, "n_fft is 511"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, float], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Modulation(**parameters)  # type: ignore[arg-type]


def test_an_empty_wave_is_refused() -> None:
    with pytest.raises(AkitError):
        Modulation().compute(np.zeros(0, np.float32))
