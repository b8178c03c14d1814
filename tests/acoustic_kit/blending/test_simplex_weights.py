"""Weights on the simplex."""

import numpy as np
import pytest
from scipy.optimize import check_grad

from acoustic_kit.blending import weights
from acoustic_kit.blending.simplex_weights import _surrogate_loss
from acoustic_kit.metrics.scores import score


@pytest.mark.parametrize(
    ("metric", "multi"),
    [
        ("f1", False),
        ("accuracy", False),
        ("balanced_accuracy", False),
        ("0.5*f1+map", False),
        ("f1", True),
        ("map", True),
    ],
)
def test_gradients_match_finite_differences(metric, multi):
    rng = np.random.default_rng(0)
    targets = rng.random((12, 4)) < 0.4 if multi else rng.integers(0, 3, 12)  # class 3 does not occur
    surrogate = _surrogate_loss(metric, targets, 4)
    q = 0.9 * rng.dirichlet(np.ones(4), 12) + 0.025
    error = check_grad(
        lambda x: surrogate(x.reshape(12, 4))[0],
        lambda x: surrogate(x.reshape(12, 4))[1].ravel(),
        q.ravel(),
        epsilon=1e-7,
    )
    assert error < 1e-4 * np.linalg.norm(surrogate(q)[1])


@pytest.mark.parametrize("metric", ["f1", "accuracy", "map3", "balanced_accuracy"])
def test_skill_is_found_among_noise(metric):
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 5, 300)
    p = rng.dirichlet(np.ones(5), size=(30, 300)).astype(np.float32)
    p[:3, np.arange(300), targets] += 0.5
    p[:3] /= p[:3].sum(axis=2, keepdims=True)
    fit = weights(p, targets, metric=metric)
    assert fit.weights.sum() == pytest.approx(1)
    assert (fit.weights >= 0).all()
    assert fit.weights[:3].sum() > 0.6
    assert score(metric, targets, fit.predict(p)) > score(metric, targets, p.mean(axis=0))


def test_weights_without_effect_stay_equal():
    rng = np.random.default_rng(2)
    p = np.repeat(rng.dirichlet(np.ones(3), size=(1, 60)), 4, axis=0)
    assert np.allclose(weights(p, rng.integers(0, 3, 60)).weights, 0.25)
