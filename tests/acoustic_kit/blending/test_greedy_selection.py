"""Greedy selection against a straightforward one, and its guards."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.blending import greedy
from acoustic_kit.blending.greedy_selection import TIE, _OneMore, _RunningSum, _Task, greedy_weights
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
@pytest.mark.parametrize("values", [9, 100_000])  # few distinct ones, and few equal ones
def test_measures_of_classes_are_those_of_the_sum(clips, values):
    rng = np.random.default_rng(5)
    one, other = rng.integers(0, values, (2, clips, 3)) / 2**17
    targets = np.where(rng.random((clips, 3)) < 0.1, np.nan, rng.random((clips, 3)) < 0.5)
    targets[:, 2] = 0
    assert ((targets == 1).sum(axis=0)[:2] > 256).all() == (clips == 1200)
    candidate = _one_more([one, other], targets, "0.5*roc_auc+0.5*micro_map")
    counts = PredictionCounts(targets, (one + other) / 2)
    for measure in ("average_precision", "padded_average_precision", "roc_auc", "pooled_average_precision"):
        np.testing.assert_allclose(getattr(candidate, measure), getattr(counts, measure), rtol=1e-12, err_msg=measure)


@pytest.mark.parametrize("task", ["single", "multi", "masked"])
def test_measures_of_clips_are_those_of_the_mean(task):
    rng = np.random.default_rng(6)
    one, other = np.round(rng.random((2, 100, 20)), 2)
    one[:5], other[:5] = rng.random((5, 20)) < 0.5, rng.random((5, 20)) < 0.5
    targets = rng.integers(0, 20, 100) if task == "single" else rng.random((100, 20)) < 0.2
    if task == "masked":
        targets = np.where(rng.random((100, 20)) < 0.3, np.nan, targets)
        targets[:, 3] = np.nan
    candidate = _one_more([one, other], targets, "lwlrap")
    counts = PredictionCounts(targets, (one + other) / 2)
    for measure in ("label_precision", "log_loss"):
        np.testing.assert_allclose(getattr(candidate, measure), getattr(counts, measure), rtol=1e-12, err_msg=measure)


def _one_more(runs, targets, metric):
    """Return the counts of the first run with the second as one more pick."""
    blend = _RunningSum(_Task(runs, targets, np.arange(len(targets)), get_metric(metric)), map)
    blend.add(0)
    return _OneMore(blend, 1)


@pytest.mark.parametrize(("metric", "n_runs"), [("roc_auc", 12), ("log_loss", 12), ("micro_f1", 12), ("map", 4)])
def test_weights_do_not_depend_on_the_number_of_threads(metric, n_runs, monkeypatch):
    rng = np.random.default_rng(7)
    targets = rng.random((200, 6)) < 0.3
    p = list(rng.random((n_runs, 200, 6)).astype(np.float32) + 0.1 * targets)
    found = []
    for threads in (1, 3):
        monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", threads)
        found.append(greedy(p, targets, metric=metric, picks=10).weights)
    assert np.array_equal(*found)


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
