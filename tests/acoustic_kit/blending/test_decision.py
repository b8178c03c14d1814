"""Tuned decisions."""

import numpy as np

from acoustic_kit.blending import choose
from acoustic_kit.blending.decision import class_factors
from acoustic_kit.metrics import score


def shy_of_a_class(seed, clips=600, offset=2.5):
    """Predictions that name class 0 too rarely."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 4, clips)
    logits = rng.standard_normal((3, clips, 4)) + 2.0 * np.eye(4)[targets]
    logits[:, :, 0] -= offset
    p = np.exp(logits)
    return p / p.sum(axis=2, keepdims=True), targets


def test_a_class_that_is_named_too_rarely_gets_a_factor():
    p, targets = shy_of_a_class(0)
    factors = class_factors("f1", targets, p[0])
    assert factors[0] == max(factors) > 1.3
    assert np.isclose(np.log(factors).mean(), 0)


def test_factors_are_taken_where_they_gain_and_told_where_they_do_not():
    p, targets = shy_of_a_class(1)
    tuned, plain = (choose(p, targets, method="mean", decision=decision) for decision in ("tuned", "argmax"))
    assert tuned.decision is not None
    assert tuned.decision_gain > 0.02
    assert tuned.nested_score > plain.nested_score + 0.02
    assert tuned.score == score("f1", targets, tuned.predict(p))
    fair, targets = shy_of_a_class(2, clips=200, offset=0)
    blend = choose(fair, targets, method="mean", decision="tuned")
    assert blend.decision is None
    assert blend.decision_gain < 0.02
    assert np.array_equal(blend.predict(fair), choose(fair, targets, method="mean").predict(fair))


def test_thresholds_of_several_labels_are_tuned():
    rng = np.random.default_rng(3)
    targets = rng.random((400, 3)) < 0.3
    p = 1 / (1 + np.exp(-(rng.standard_normal((2, 400, 3)) + 3 * (targets - 0.5) - 2)))
    tuned, plain = (choose(p, targets, method="mean", decision=decision) for decision in ("tuned", "argmax"))
    assert (tuned.decision > 1).all()
    assert tuned.nested_score > plain.nested_score + 0.05
