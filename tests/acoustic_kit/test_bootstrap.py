"""The bootstrap by weights gives what scoring repeated clips gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.bootstrap import FEWEST, RESAMPLES, draw_weights, interval, resampled_scores
from acoustic_kit.metrics import score

SINGLE = ["accuracy", "balanced_accuracy", "f1", "map3", "map", "0.8*accuracy+0.2*f1"]


def case(seed: int, task: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, probabilities with ties, and groups, of 40 clips and 5 classes, one of which nothing has."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(5, 0.5), size=40).round(1)
    targets = rng.integers(4, size=40) if task == "single" else rng.random((40, 5)) < [0.3, 0.3, 0.3, 0.1, 0]
    return targets, probabilities, rng.integers(12, size=40)


@pytest.mark.parametrize(("task", "metric"), [*(("single", m) for m in SINGLE), ("multi", "f1"), ("multi", "map")])
@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=8)
def test_a_draw_scores_as_its_clips_do(task: str, metric: str, seed: int) -> None:
    targets, probabilities, groups = case(seed, task)
    groups = np.unique(groups, return_inverse=True)[1]
    weights = draw_weights(groups, metric, 5, seed)[:, :10]
    found = resampled_scores(metric, targets, probabilities, weights)
    for draw in range(10):
        clips = np.repeat(np.arange(40), weights[:, draw].astype(int))
        assert found[draw] == pytest.approx(score(metric, targets[clips], probabilities[clips]))


def test_clips_of_a_group_are_drawn_together_and_as_many_groups_as_there_are() -> None:
    groups = np.array([0, 0, 1, 2, 2, 2])
    weights = draw_weights(groups, "f1", 3)
    assert weights.shape == (6, RESAMPLES)
    assert (weights[0] == weights[1]).all()
    assert (weights[3] == weights[5]).all()
    assert (weights[[0, 2, 3]].sum(axis=0) == 3).all()


def test_there_are_fewer_draws_of_many_clips() -> None:
    assert draw_weights(np.arange(50_000), "f1", 3).shape[1] == 400
    assert draw_weights(np.arange(2_000), "map", 40_000).shape[1] == FEWEST


def test_the_interval_of_an_accuracy_is_that_of_the_binomial_distribution() -> None:
    hits = np.arange(1000) < 800
    probabilities = np.eye(2)[np.where(hits, 0, 1)]
    weights = draw_weights(np.arange(1000), "accuracy", 2)
    found = interval(resampled_scores("accuracy", np.zeros(1000, int), probabilities, weights))
    assert found is not None
    assert found == pytest.approx((0.8 - 1.96 * 0.01265, 0.8 + 1.96 * 0.01265), abs=0.004)


def test_groups_that_err_together_widen_the_interval() -> None:
    hits = np.arange(1000) % 100 < 80
    probabilities = np.eye(2)[np.where(hits, 0, 1)]
    targets = np.zeros(1000, int)

    def width(groups: np.ndarray) -> float:
        low, high = interval(resampled_scores("accuracy", targets, probabilities, draw_weights(groups, "accuracy", 2)))  # type: ignore[misc]
        return float(high - low)

    assert width(np.arange(1000) % 100) > 2.5 * width(np.arange(1000))


def test_a_draw_without_labels_has_no_average_precision() -> None:
    targets = np.array([[True], [False]])
    weights = np.array([[0, 1], [2, 1]], np.float32)
    found = resampled_scores("map", targets, np.array([[0.9], [0.1]]), weights)
    assert np.isnan(found[0])
    assert found[1] == 1
    assert interval(found) == (1, 1)
    assert interval(found[:1]) is None
