"""Methods without parameters, against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import gmean

from acoustic_kit import blending

laws = settings(deadline=None, max_examples=50)
FIXED = {"mean": blending.mean, "geometric": blending.geometric, "rank": blending.rank, "power": blending.power}


def softmax_runs(seed, runs=4, clips=30, classes=5, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(classes, 0.3), size=(runs, clips)).astype(dtype)


@laws
@given(st.integers(0, 10_000), st.integers(1, 6), st.sampled_from([np.float32, np.float64]))
def test_methods_equal_their_definitions(seed, runs, dtype):
    p = softmax_runs(seed, runs=runs, dtype=dtype)
    wide = p.astype(np.float64)
    assert np.allclose(blending.mean(p), wide.mean(axis=0))
    product = gmean(np.clip(wide, 1e-7, 1), axis=0)
    assert np.allclose(blending.geometric(p), product / product.sum(axis=1, keepdims=True))
    clipped = np.clip(wide, 1e-7, 1 - 1e-7)
    assert np.allclose(blending.geometric(p, "multi"), expit(logit(clipped).mean(axis=0)))
    root = (wide**0.25).mean(axis=0) ** 4
    assert np.allclose(blending.power(p, "multi"), root)
    assert np.allclose(blending.power(p), root / root.sum(axis=1, keepdims=True))
    # the average rank is the number of smaller values plus half of the equal ones (the clip itself is one of these)
    smaller = (wide[:, :, None] > wide[:, None]).sum(axis=2)
    equal = (wide[:, :, None] == wide[:, None]).sum(axis=2)
    ranks = ((smaller + (equal + 1) / 2) / p.shape[1]).mean(axis=0)
    assert np.allclose(blending.rank(p, "multi"), ranks)
    assert np.allclose(blending.rank(p), ranks / ranks.sum(axis=1, keepdims=True))


@laws
@given(st.integers(0, 10_000), st.sampled_from(sorted(FIXED)), st.sampled_from(["single", "multi"]))
def test_every_method_keeps_the_laws_of_a_blend(seed, method, task):
    p = softmax_runs(seed)
    before = p.copy()
    blend = FIXED[method](p, task)
    assert np.array_equal(p, before)
    assert blend.shape == p.shape[1:]
    assert blend.dtype == np.float64
    assert ((blend >= 0) & (blend <= 1)).all()
    if task == "single":
        assert np.allclose(blend.sum(axis=1), 1)
    assert np.allclose(FIXED[method](p[::-1], task), blend)  # the order of runs does not matter
    assert np.allclose(FIXED[method](np.concatenate([p, p]), task), blend)
    if method != "rank":
        assert np.allclose(FIXED[method](p[:1], task), p[0], atol=1e-6)  # one run is its own blend


def test_a_hard_zero_does_not_veto():
    p = np.array([[[0.0, 1.0]], [[0.99999999, 1e-8]], [[0.9999999, 1e-7]]])
    blend = blending.geometric(p)
    assert blend[0, 0] > 0.99
    assert np.isfinite(blending.geometric(np.zeros((2, 3, 4)))).all()
    assert np.isfinite(blending.geometric(np.ones((2, 3, 4)), "multi")).all()


@pytest.mark.parametrize("method", sorted(FIXED))
def test_wrong_arrays_are_named(method):
    p = softmax_runs(0)
    p[2, 7, 1] = np.inf
    with pytest.raises(ValueError, match=r"run 2 .*non-finite.* clip 7, class 1"):
        FIXED[method](p)
    for wrong in (p[0], np.zeros((0, 3, 2)), np.zeros((1, 0, 2)), np.full((1, 1, 1), "a")):
        with pytest.raises(ValueError, match="probabilities must be"):
            FIXED[method](wrong)
