"""Thresholds of several labels."""

import numpy as np
import pytest

from acoustic_kit.blending import choose
from acoustic_kit.metrics.scores import score


def low_runs(seed, offset, clips=400):
    """Runs of a task with three labels whose log-odds are too low by ``offset``."""
    rng = np.random.default_rng(seed)
    targets = rng.random((clips, 3)) < 0.3
    return 1 / (1 + np.exp(-(rng.standard_normal((2, clips, 3)) + 3 * (targets - 0.5) - offset))), targets


@pytest.mark.parametrize("method", ["mean", "auto"])
def test_thresholds_are_tuned_where_they_gain(method):
    p, targets = low_runs(3, offset=2 if method == "mean" else 0.3)
    tuned, plain = (choose(p, targets, method=method, decision=decision) for decision in ("tuned", "argmax"))
    if method == "mean":
        assert (tuned.decision > 1).all()
        assert tuned.decision_gain > 0.05
        assert tuned.nested_score > plain.nested_score + 0.05
    assert tuned.score == score("f1", targets, tuned.predict(p))
    assert tuned.weights.tolist() == plain.weights.tolist()


def test_thresholds_are_not_kept_where_they_do_not_gain():
    p, targets = low_runs(4, offset=0)
    blend = choose(p, targets, method="mean", decision="tuned")
    assert blend.decision is None
    assert blend.decision_gain < 0.02
    assert np.array_equal(blend.predict(p), choose(p, targets, method="mean").predict(p))


def test_the_nested_estimate_of_thresholds_is_unbiased():
    """Labels that are noise: thresholds look good on the clips they were tuned on, and are not."""
    rng = np.random.default_rng(5)
    found = []
    for seed in range(4):
        p, targets = rng.random((2, 120, 3)), rng.random((120, 3)) < 0.5
        blend = choose(p, targets, method="mean", decision="tuned", seed=seed)
        new = rng.random((120, 3)) < 0.5
        found.append(blend.nested_score - score("f1", new, blend.predict(p)))
    assert abs(np.mean(found)) < 0.06
