import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from acoustic_kit.features.freesound2018.running_median import running_median

VALUES = st.floats(-(2.0**100), 2.0**100, width=32) | st.sampled_from([0.0, 1.0, -1.0])


@settings(deadline=None, max_examples=150)
@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=70), elements=VALUES))
def test_it_is_the_median_of_31_mirrored_neighbours(values: np.ndarray) -> None:
    mirrored = np.pad(values, ((15, 15), (0, 0)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(mirrored, 31, axis=0)
    np.testing.assert_array_equal(running_median(values), np.sort(windows, axis=2)[:, :, 15])


@pytest.mark.parametrize("shape", [(16, 1), (31, 513), (47, 40), (1025, 7), (60, 1025)])
def test_it_is_scipys_median_filter_that_librosa_uses(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(shape)
    values = random.standard_normal(shape).astype(np.float32)
    values[random.random(shape) < 0.3] = 0  # many equal values
    theirs = scipy.ndimage.median_filter(values, size=(31, 1), mode="reflect")
    np.testing.assert_array_equal(running_median(values), theirs)
