"""The bootstrap by weights gives what scoring repeated clips gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.metrics import fitting_metrics, score
from acoustic_kit.metrics.bootstrap import (
    MIN_RESAMPLES,
    RESAMPLES,
    draw_weights,
    drawn_scores,
    interval,
    resampled_scores,
    score_and_gain_intervals,
)

SINGLE = [*fitting_metrics("single"), "map2", "0.8*accuracy+0.2*f1"]


def case(seed: int, task: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, probabilities with ties, and groups, of 40 clips and 5 classes, one of which nothing has."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(5, 0.5), size=40).round(1)
    targets = rng.integers(4, size=40) if task == "single" else rng.random((40, 5)) < [0.3, 0.3, 0.3, 0.1, 0]
    if task == "multi" and seed % 2:
        targets = np.where(rng.random((40, 5)) < 0.2, np.nan, targets)
    return targets, probabilities, rng.integers(12, size=40)


@pytest.mark.parametrize(
    ("task", "metric"), [*(("single", m) for m in SINGLE), *(("multi", m) for m in fitting_metrics("multi"))]
)
@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=8)
def test_a_draw_scores_as_its_clips_do(task: str, metric: str, seed: int) -> None:
    targets, probabilities, groups = case(seed, task)
    groups = np.unique(groups, return_inverse=True)[1]
    weights = draw_weights(groups, metric, 5, seed)[:, :10]
    found = drawn_scores(metric, targets, probabilities, weights)
    for draw in range(10):
        clips = np.repeat(np.arange(40), weights[:, draw].astype(int))
        assert found[draw] == pytest.approx(score(metric, targets[clips], probabilities[clips]))


def test_groups_are_drawn_whole_and_with_replacement() -> None:
    groups = np.array([0, 0, 1, 2, 2, 2])
    weights = draw_weights(groups, "f1", 3)
    assert weights.shape == (6, RESAMPLES)
    assert (weights[0] == weights[1]).all()
    assert (weights[3] == weights[5]).all()
    assert (weights[[0, 2, 3]].sum(axis=0) == 3).all()


def test_there_are_fewer_draws_of_many_clips() -> None:
    assert draw_weights(np.arange(50_000), "f1", 3).shape[1] == 400
    assert draw_weights(np.arange(2_000), "map", 40_000).shape[1] == MIN_RESAMPLES


def test_the_interval_of_an_accuracy_is_binomial() -> None:
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


def noisy(n_classes: int, clips: int, strength: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets and two predictions of which the first is better and whose errors are alike."""
    rng = np.random.default_rng(seed)
    targets = np.repeat(np.arange(n_classes), clips)
    shared = rng.normal(size=(len(targets), n_classes)).astype(np.float32)
    first, second = (0.8 * shared + 0.6 * rng.normal(size=shared.shape).astype(np.float32) for _ in range(2))
    own = np.arange(len(targets)), targets
    first[own] += strength + 0.15
    second[own] += strength
    return targets, first, second


@pytest.mark.parametrize(
    ("n_classes", "clips", "strength", "seeds"), [(10, 32, 2, 30), (50, 8, 3, 20), (200, 5, 3.5, 20), (1000, 4, 4, 3)]
)
def test_intervals_of_macro_f1_contain_the_true_value(n_classes: int, clips: int, strength: float, seeds: int) -> None:
    many = noisy(n_classes, max(clips, 15_000 // n_classes), strength, 999)
    true, gain = score("f1", many[0], many[1]), score("f1", many[0], many[1]) - score("f1", many[0], many[2])
    held = held_gain = 0
    for seed in range(seeds):
        targets, first, second = noisy(n_classes, clips, strength, seed)
        found = score_and_gain_intervals("f1", targets, first, second, np.arange(len(targets)), seed, 100)
        (low, high), (worse, better) = found  # type: ignore[misc]
        assert low <= score("f1", targets, first) <= high
        held += low <= true <= high
        held_gain += worse <= gain <= better
    assert held >= 0.8 * seeds - 1
    assert held_gain >= 0.8 * seeds - 1


def test_no_interval_is_given_where_the_score_itself_is_biased() -> None:
    targets, first, second = noisy(100, 2, 3, 0)
    for metric in ("f1", "map", "0.8*accuracy+0.2*f1"):
        own, gain = score_and_gain_intervals(metric, targets, first, second, np.arange(200), 0, 100)
        assert own is None, metric
        assert gain is not None, metric
        weights = draw_weights(np.arange(200), metric, 100, resamples=100)
        assert interval(resampled_scores(metric, targets, first, weights)) is None
    assert score_and_gain_intervals("accuracy", targets, first, second, np.arange(200), 0, 100)[0] is not None


def test_intervals_depend_on_groups_not_clips() -> None:
    targets, first, second = noisy(50, 8, 3, 0)
    assert score_and_gain_intervals("f1", targets, first, second, targets, 0, 100)[0] is None  # one recording a class
    assert score_and_gain_intervals("f1", targets, first, second, np.arange(400) // 2, 0, 100)[0] is not None
