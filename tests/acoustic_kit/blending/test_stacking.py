"""Stacks: the optimum, the prior, and the confusions that they correct."""

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import expit
from threadpoolctl import threadpool_info, threadpool_limits

from acoustic_kit.blending import geometric, mean, stack, stacking
from acoustic_kit.blending.stacking import _Objective, design
from acoustic_kit.metrics.scores import score


def confused(seed, runs=6, clips=600, swap=True):
    """Runs that all take class 1 for class 0 too often."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 4, clips)
    logits = rng.standard_normal((runs, clips, 4)) + rng.standard_normal((clips, 4))
    logits[:, np.arange(clips), targets] += 2.5
    if swap:
        logits[:, :, 0] += 3.0 * (targets == 1)
    p = np.exp(logits)
    return (p / p.sum(axis=2, keepdims=True)).astype(np.float32), targets


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("multi", [False, True])
def test_gradients_match_finite_differences(multi, diagonal, monkeypatch):
    monkeypatch.setattr("acoustic_kit.blending.stacking.FULL_CLASSES", 2 if diagonal else 3)
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), size=(2, 20))
    targets = rng.random((20, 3)) < 0.4 if multi else rng.integers(0, 3, 20)
    x = design(list(p), np.arange(20), "multi" if multi else "single")
    objective = _Objective(x.astype(np.float64), targets, 3, 0.1, own=3)
    theta = 0.1 * rng.standard_normal(3 * (2 * (1 if diagonal else 3) + 1) + 1)
    error = check_grad(lambda t: objective(t)[0], lambda t: objective(t)[1], theta, epsilon=1e-4)
    assert error < 1e-3 * np.linalg.norm(objective(theta)[1])


def test_the_strongest_stack_is_a_tempered_geometric_mean():
    p, targets = confused(1)
    tempered = np.log(stack(p, targets, strength=1e6).predict(p))
    plain = np.log(geometric(p))
    tempered, plain = (z - z.mean(axis=1, keepdims=True) for z in (tempered, plain))
    slope = (tempered * plain).sum() / (plain**2).sum()
    assert np.allclose(tempered, slope * plain, atol=0.01)


def test_a_stack_corrects_common_confusions():
    p, targets = confused(2)
    fit, half = p[:, :300], p[:, 300:]
    before = score("f1", targets[300:], mean(half))
    assert score("f1", targets[300:], stack(fit, targets[:300]).predict(half)) > before + 0.03


def test_a_diagonal_stack_weighs_runs_class_by_class(monkeypatch):
    """The values of each of two runs are noisy for one half of the classes."""
    monkeypatch.setattr("acoustic_kit.blending.stacking.FULL_CLASSES", 7)
    rng = np.random.default_rng(7)
    targets = rng.integers(0, 8, 800)
    noise = np.where((np.arange(8) < 4)[None] == np.array([[True], [False]]), 4.0, 1.0)
    logits = noise[:, None] * rng.standard_normal((2, 800, 8)) + 2.5 * np.eye(8)[targets]
    p = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    fit = stack(p[:, :400], targets[:400])
    assert fit.parameters["coefficients"].shape == (2, 8)
    assert score("f1", targets[400:], fit.predict(p[:, 400:])) > score("f1", targets[400:], mean(p[:, 400:])) + 0.02


def test_copies_of_a_run_change_nothing():
    p, targets = confused(3, runs=2)
    many = np.repeat(p, 20, axis=0)
    assert np.allclose(stack(p, targets).predict(p), stack(many, targets).predict(many), atol=5e-3)


def test_groups_make_the_prior_stronger():
    p, targets = confused(5, clips=80)
    one, other = stack(p, targets), stack(p, targets, groups=np.arange(80) // 8)
    spread = [np.ptp(fit.parameters["coefficients"], axis=0).sum() for fit in (one, other)]
    assert spread[1] < spread[0]


def test_several_labels_are_independent():
    rng = np.random.default_rng(6)
    targets = rng.random((200, 3)) < 0.3
    p = expit(rng.standard_normal((4, 200, 3)) + 3 * (targets - 0.5) - 2.0)  # all too low
    fit = stack(p, targets)
    assert score("f1", targets, fit.predict(p)) > score("f1", targets, mean(p)) + 0.1
    assert fit.weights.sum() == pytest.approx(1)


@pytest.mark.parametrize(("limit", "expected"), [(1 << 22, 1), (0, 2)])
def test_small_fits_use_one_thread_of_blas_and_large_ones_all(limit, expected, monkeypatch):
    seen = []

    def log_loss(logits, targets, log_loss=stacking._log_loss):
        seen.append({lib["num_threads"] for lib in threadpool_info() if "numpy.libs" in lib["filepath"]} or {expected})
        return log_loss(logits, targets)

    monkeypatch.setattr(stacking, "ONE_THREAD", limit)
    monkeypatch.setattr(stacking, "_log_loss", log_loss)
    with threadpool_limits(2, "blas"):
        stack(*confused(5, clips=50))
    assert seen
    assert all(threads == {expected} for threads in seen)
