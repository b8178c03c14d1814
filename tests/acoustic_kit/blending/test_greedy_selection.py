"""Greedy selection against a straightforward one, and its guards."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.blending import greedy
from acoustic_kit.blending.greedy_kernels import class_measures
from acoustic_kit.blending.greedy_selection import TIE, greedy_weights
from acoustic_kit.metrics import fitting_metrics, get_metric, score
from acoustic_kit.metrics.counts import PredictionCounts

METRICS = [*fitting_metrics("single"), "map2", "map9", "0.8*accuracy+0.2*f1", "0.5*map3+0.5*f1", "2*log_loss"]
SEVERAL = [*fitting_metrics("multi"), "0.5*map+0.5*f1"]


def simple_greedy(p, targets, metric, picks):
    """One bag, by the definition: nothing is kept from one pick to the next."""

    def value(chosen):
        return get_metric(metric).sign * score(metric, targets, p[chosen].mean(axis=0))

    def loss(chosen):
        if targets.ndim == 2:
            return 0.0
        truth = p[chosen].mean(axis=0)[np.arange(len(targets)), targets]
        return -np.log(np.maximum(truth, 1e-7)).mean()

    order = list(np.argsort([-value([run]) for run in range(len(p))], kind="stable"))
    starts = [value(order[: k + 1]) for k in range(max(1, picks // 2))][: len(p)]
    chosen = order[: int(np.flatnonzero(np.array(starts) >= max(starts) - TIE)[-1]) + 1]
    found = starts[: len(chosen)]
    while len(chosen) < picks:
        values = np.array([value([*chosen, run]) for run in order])
        equal = [run for run, v in zip(order, values, strict=True) if v >= values.max() - TIE]
        equal = [run for run in equal if run in chosen] or equal
        chosen.append(min(equal, key=lambda run: round(loss([*chosen, run]), 12)))
        found.append(values.max())
    kept = chosen[: int(np.flatnonzero(np.array(found) >= max(found) - TIE)[-1]) + 1]
    return np.bincount(kept, minlength=len(p)) / len(kept)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from(METRICS), st.integers(1, 9))
def test_weights_equal_the_definition(seed, metric, runs):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 4, 60)
    # eighths, and means of up to eight of them, are exact: both sides see the same ties
    p = rng.multinomial(8, np.full(4, 0.25), size=(runs, 60)) / 8
    assert np.array_equal(greedy(p, targets, metric=metric, picks=8).weights, simple_greedy(p, targets, metric, 8))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from(SEVERAL), st.integers(1, 9), st.booleans())
def test_weights_of_several_labels_equal_the_definition(seed, metric, runs, masked):
    rng = np.random.default_rng(seed)
    targets = rng.random((50, 4)) < 0.3
    targets[0] = True
    if masked:
        targets = np.where(rng.random((50, 4)) < 0.2, np.nan, targets)
    p = np.clip(rng.integers(0, 9, size=(runs, 50, 4)) / 8 * 0.75 + 0.25 * np.nan_to_num(targets), 0, 1)
    assert np.array_equal(greedy(p, targets, metric=metric, picks=8).weights, simple_greedy(p, targets, metric, 8))


@pytest.mark.parametrize("clips", [300, 1200])  # fewer positive clips than are compared one by one, and more
def test_measures_of_classes_are_those_of_the_sum(clips):
    rng = np.random.default_rng(5)
    one, other = rng.integers(0, 9, (2, clips, 3)) / 8
    targets = np.where(rng.random((clips, 3)) < 0.1, np.nan, rng.random((clips, 3)) < 0.5)
    targets[:, 2] = 0
    known, positive = ~np.isnan(targets), targets == 1
    assert (positive.sum(axis=0)[:2] > 256).all() == (clips == 1200)
    total = np.where(known, one, np.nan).T.astype(np.float32)
    first = np.concatenate([[0], np.cumsum(positive.sum(axis=0))])
    pairs = np.flatnonzero(positive.T.ravel()) % clips
    found = class_measures(total, np.ascontiguousarray(other.T, np.float32), pairs, first, known.sum(axis=0), 2.0)
    counts = PredictionCounts(targets, (one + other) / 2)
    expected = [counts.average_precision, counts.padded_average_precision, counts.roc_auc]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("metric", ["f1", "map", "roc_auc"])
def test_clips_are_selected_without_a_copy(metric):
    rng = np.random.default_rng(4)
    targets, clips = rng.integers(0, 4, 90), np.arange(1, 90, 2)
    p = rng.dirichlet(np.ones(4), size=(5, 90))
    found = greedy_weights(list(p), targets, clips, metric, picks=10)
    assert np.array_equal(found, greedy(p[:, clips], targets[clips], metric=metric, picks=10).weights)


def test_the_score_is_at_least_that_of_the_best_run():
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 5, 200)
    p = rng.dirichlet(np.ones(5), size=(9, 200))
    p[:, np.arange(200), targets] += rng.random(9)[:, None]
    fit = greedy(p, targets)
    assert score("f1", targets, fit.predict(p)) >= max(score("f1", targets, run) for run in p)


def test_of_equal_runs_the_chosen_one_is_taken_again():
    rng = np.random.default_rng(2)
    targets = rng.integers(0, 3, 50)
    p = np.repeat(rng.dirichlet(np.ones(3), size=(1, 50)), 5, axis=0)
    assert greedy(p, targets, picks=1).weights.tolist() == [1, 0, 0, 0, 0]


def test_bags_depend_on_the_seed_alone():
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 3, 100)
    p = rng.dirichlet(np.ones(3), size=(20, 100)).astype(np.float32)
    found = [greedy(p, targets, seed=seed).weights for seed in (0, 0, 1)]
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    assert found[0].sum() == pytest.approx(1)
