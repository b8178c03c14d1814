from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import ASTFeatureExtractor

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features.ast_input import AstInput
from acoustic_kit.features.wave import Wave

PADDING = 0.46703237  # of the default parameters


def extracted(feature: AstInput, wave: np.ndarray) -> np.ndarray:
    """What transformers makes of a wave, with the feature's parameters."""
    extractor = ASTFeatureExtractor(
        num_mel_bins=feature.n_mels, max_length=feature.max_length, mean=feature.mean, std=feature.std
    )
    return extractor(wave, sampling_rate=16000, return_tensors="np")["input_values"][0]


def noise(n: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def test_real_clips_are_transformers_to_1e3(esc10: Path) -> None:
    feature = AstInput()
    for path in sorted((esc10 / "audio").iterdir())[::40]:
        wave = feature.wave.compute(path)
        ours, theirs = feature.compute(wave), extracted(feature, wave)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype) == ((1024, 128), np.float32)
        assert np.abs(ours - theirs).max() <= 1e-3
        assert np.abs(ours - theirs).mean() <= 2e-6


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(400, 12_000),
    n_mels=st.integers(4, 160),
    max_length=st.integers(1, 80),
    mean=st.floats(-10, 0),
    std=st.floats(0.5, 10),
    offset=st.floats(-0.9, 0.9),
    seed=st.integers(0, 1000),
)
def test_noise_on_an_offset_is_transformers_for_all_parameters(
    n: int, n_mels: int, max_length: int, mean: float, std: float, offset: float, seed: int
) -> None:
    feature = AstInput(n_mels=n_mels, max_length=max_length, mean=mean, std=std)
    wave = noise(n, seed) + np.float32(offset)
    np.testing.assert_allclose(feature.compute(wave), extracted(feature, wave), atol=1e-3 * max(1, 4.57 / std))


def test_frames_after_the_end_are_the_normalised_zero() -> None:
    made = AstInput().compute(noise(20_000))
    np.testing.assert_allclose(made[123:], PADDING, rtol=1e-6)
    assert (made[:123].std(axis=1) > 0.1).all()


def test_a_long_clip_loses_its_end() -> None:
    wave = noise(200_000)
    np.testing.assert_array_equal(AstInput().compute(wave), AstInput().compute(wave[:164_080]))


@pytest.mark.parametrize("n", [1, 7, 399])
def test_clips_of_less_than_a_frame_are_filled_up_with_zeros(n: int) -> None:
    wave = noise(n)
    made = AstInput().compute(wave)
    np.testing.assert_array_equal(made, AstInput().compute(np.pad(wave, (0, 400 - n))))
    np.testing.assert_allclose(made[1:], PADDING, rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.3])
def test_silence_and_constants_are_cut_off_at_the_floor(value: float) -> None:
    made = AstInput().compute(np.full(5000, value, np.float32))[:29]
    floor = (np.log(np.finfo(np.float32).eps) + 4.2677393) / (2 * 4.5689974)
    np.testing.assert_allclose(made, floor, rtol=1e-5)


@pytest.mark.parametrize("wave", [np.zeros(0), np.array([0, np.nan]), np.array([np.inf]), np.array([1e20])])
def test_waves_that_are_no_sound_are_refused(wave: np.ndarray) -> None:
    with pytest.raises(AkitError):
        AstInput().compute(wave.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_other_types_and_strides_give_the_same(dtype: type) -> None:
    wave = noise(3000).astype(np.float16)
    strided = np.stack([wave.astype(dtype)] * 2, axis=1)[:, 0]
    np.testing.assert_array_equal(AstInput().compute(strided), AstInput().compute(wave.astype(np.float32)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wave": Wave(22050)}, "sample_rate is 22050; ast_input takes waves at 16000 Hz"),
        ({"n_mels": 0}, "n_mels is 0"),
        ({"max_length": 0}, "max_length is 0"),
        ({"std": 0.0}, "std 0.0"),
        ({"std": float("inf")}, "std inf"),
        ({"mean": float("nan")}, "mean is nan"),
    ],
)
def test_senseless_parameters_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AstInput(**changes)


def test_every_parameter_is_part_of_the_key() -> None:
    default = AstInput()
    changes = {"wave": Wave(16000, trim_top_db=None), "n_mels": 64, "max_length": 512, "mean": -4.0, "std": 4.0}
    keys = {default.key, *(replace(default, **{name: value}).key for name, value in changes.items())}
    assert len(keys) == 1 + len(changes)
