"""Crops of long clips: covered from start to end, and the loudest by the mean power."""

import numpy as np
import pytest

from acoustic_kit.training.crops import Crops, decibel_power, loudest_crop, mean_square, spread_crops


@pytest.mark.parametrize(("length", "frames"), [(10, 10), (11, 10), (60, 5), (61, 5), (863, 216), (7, 3)])
def test_enough_windows_cover_a_clip(length: int, frames: int) -> None:
    first = spread_crops(length, frames, most=100)
    assert len(first) == -(-length // frames)
    if len(first) > 1 or length == frames:
        assert set(np.concatenate([np.arange(start, start + frames) for start in first])) == set(range(length))
    assert all(0 <= start <= length - frames for start in first)
    if len(first) > 1:
        assert (first[0], first[-1]) == (0, length - frames)
        assert (np.diff(first) <= frames).all()


def test_fewer_windows_are_spread_and_one_is_in_the_middle() -> None:
    assert spread_crops(60, 5, most=3).tolist() == [0, 28, 55]
    assert spread_crops(60, 5, most=1).tolist() == [28]
    assert spread_crops(1000, 5, most=12).tolist() == [round(i * 995 / 11) for i in range(12)]


def test_the_loudest_window_has_the_highest_mean_power() -> None:
    power = np.random.default_rng(0).random(50)
    for frames in (1, 7, 49):
        means = [power[start : start + frames].mean() for start in range(50 - frames + 1)]
        assert loudest_crop(power, frames) == np.argmax(means)
    assert loudest_crop(power, 50) == loudest_crop(power, 90) == 0


def test_power_of_frames_is_the_mean_over_the_other_axes() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    np.testing.assert_allclose(mean_square(x), (x.astype(float) ** 2).mean((0, 1)))
    np.testing.assert_allclose(mean_square(x[0, 0]), x[0, 0].astype(float) ** 2)
    np.testing.assert_allclose(decibel_power(x), (10 ** (x / 10.0)).mean((0, 1)), rtol=1e-5)


def test_the_mean_is_over_the_windows_of_each_clip() -> None:
    crops = Crops(np.array([0, 1, 1, 1, 2]), np.zeros(5, np.int64))
    values = np.arange(10.0).reshape(5, 2)
    np.testing.assert_array_equal(crops.mean_by_clip(values), [values[0], values[1:4].mean(0), values[4]])
