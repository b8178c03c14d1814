import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from acoustic_kit.dsp.statistics import STATISTICS, summarize

FINITE = st.floats(-1e10, 1e10, width=32) | st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-30])
ROWS = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=FINITE)


@settings(deadline=None, max_examples=200)
@given(ROWS)
def test_order_statistics_are_numpys(rows: np.ndarray) -> None:
    found = dict(zip(STATISTICS, summarize(rows).T, strict=True))
    np.testing.assert_array_equal(found["median"], np.median(rows.astype(float), axis=1).astype(np.float32))
    np.testing.assert_array_equal(found["min"], rows.min(axis=1))
    np.testing.assert_array_equal(found["max"], rows.max(axis=1))


@settings(deadline=None, max_examples=200)
@given(ROWS)
def test_all_statistics_of_finite_rows_are_finite(rows: np.ndarray) -> None:
    assert np.isfinite(summarize(rows)).all()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(10, 700), st.floats(0.1, 3.0), st.floats(-30, 30))
def test_moments_are_scipys_within_1e5(seed: int, frames: int, power: float, offset: float) -> None:
    noise = np.random.default_rng(seed).standard_normal((3, frames))
    rows = (np.sign(noise) * np.abs(noise) ** power + offset).astype(np.float32)
    exact = rows.astype(float)
    theirs = np.stack(
        [exact.mean(1), exact.std(1), scipy.stats.skew(exact, axis=1), scipy.stats.kurtosis(exact, axis=1)], axis=1
    )
    np.testing.assert_allclose(summarize(rows)[:, :4], theirs, rtol=1e-5, atol=1e-6 * max(1.0, np.abs(exact).max()))


def test_a_constant_row_has_no_spread_skewness_or_kurtosis() -> None:
    for value in (0.0, 0.1, -80.0, 1e10):
        found = summarize(np.full((1, 217), value, dtype=np.float32))[0]
        np.testing.assert_array_equal(found, np.array([value, 0, 0, 0, value, value, value], dtype=np.float32))


@pytest.mark.filterwarnings("ignore:Precision loss")
def test_a_row_that_varies_by_rounding_has_no_skewness() -> None:
    row = np.full((1, 100), 1000.0, dtype=np.float32)
    row[0, 7] = np.nextafter(np.float32(1000.0), np.float32(2000.0))
    assert np.isnan(scipy.stats.skew(row, axis=1)[0])
    found = dict(zip(STATISTICS, summarize(row)[0], strict=True))
    assert found["skew"] == 0
    assert found["kurtosis"] == 0
