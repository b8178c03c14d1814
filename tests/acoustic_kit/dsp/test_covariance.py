"""The logarithm of a covariance, against scipy's."""

import numpy as np
import pytest
import scipy.linalg

from acoustic_kit.dsp.covariance import log_covariance


def test_equals_the_matrix_logarithm_of_scipy() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((5, 5)) @ rng.standard_normal((5, 300))
    expected = scipy.linalg.logm(np.cov(rows, bias=True) + 0.5 * np.eye(5))
    np.testing.assert_allclose(log_covariance(rows, 0.5), expected[np.triu_indices(5)], atol=1e-9)


@pytest.mark.parametrize("rows", [np.ones((3, 1)), np.zeros((3, 40))])
def test_no_variance_is_the_floor(rows: np.ndarray) -> None:
    np.testing.assert_allclose(log_covariance(rows, 2.0), np.log(2.0) * np.eye(3)[np.triu_indices(3)], atol=1e-12)
