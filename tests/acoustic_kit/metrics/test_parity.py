"""Metrics against scikit-learn, or their definitions spelled out, with ties, empty classes and unknown targets."""

import warnings
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    cohen_kappa_score,
    f1_score,
    label_ranking_average_precision_score,
    log_loss,
    roc_auc_score,
)

from acoustic_kit.metrics import all_scores, fitting_metrics, get_metric, score, score_ranked, top_k
from acoustic_kit.task import TaskSpec

laws = settings(deadline=None, max_examples=30)


def probabilities_of(draw, rng, clips, classes):
    levels = draw(st.sampled_from([2, 4, 1000]))
    values = rng.integers(0, levels + 1, size=(clips, classes)) / levels
    return values.astype(draw(st.sampled_from([np.float32, np.float64])))


@st.composite
def single_label(draw):
    """Targets and probabilities with many ties, rare and absent classes."""
    clips, classes = draw(st.integers(1, 40)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.integers(0, draw(st.integers(1, classes)), size=clips), probabilities_of(draw, rng, clips, classes)


@st.composite
def multi_label(draw):
    """Targets of bool, or float with unknown ones, and probabilities with many ties."""
    clips, classes = draw(st.integers(1, 40)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    targets = rng.random((clips, classes)) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    unknown = rng.random((clips, classes)) < draw(st.sampled_from([0.0, 0.2, 0.9]))
    return (np.where(unknown, np.nan, targets) if unknown.any() else targets), probabilities_of(
        draw, rng, clips, classes
    )


def known_columns(targets, probabilities):
    """Targets and probabilities of each class, of the clips whose target is known."""
    for column, values in zip(targets.T.astype(float), probabilities.T, strict=True):
        known = ~np.isnan(column)
        yield column[known].astype(bool), values[known]


def columns(case):
    """The columns of either task; of a single label each class against the rest."""
    targets, probabilities = case
    if targets.ndim == 1:
        targets = targets[:, None] == np.arange(probabilities.shape[1])
    return list(known_columns(targets, probabilities))


def check(metric, case, expected, within=1e-12):
    if expected:
        assert score(metric, *case) == pytest.approx(np.mean(expected), rel=within, abs=within)
    else:
        with pytest.raises(ValueError, match="is undefined"):
            score(metric, *case)


@laws
@given(st.one_of(single_label(), multi_label()))
def test_roc_auc_is_that_of_each_class_with_both_kinds_of_clips(case):
    check("roc_auc", case, [roc_auc_score(t, p) for t, p in columns(case) if t.any() and not t.all()])


@laws
@given(st.one_of(single_label(), multi_label()))
def test_average_precision_of_unknown_targets(case):
    check("map", case, [average_precision_score(t, p) for t, p in columns(case) if t.any()])


@laws
@given(st.one_of(single_label(), multi_label()))
def test_cmap5_is_the_average_precision_with_five_more_rows(case):
    ones = np.ones(5)
    padded = [(np.concatenate([t, ones == 1]), np.concatenate([p, ones])) for t, p in columns(case)]
    check("cmap5", case, [average_precision_score(t, p) for t, p in padded])


@laws
@given(st.one_of(single_label(), multi_label()))
def test_micro_map_pools_the_classes(case):
    targets, values = (np.concatenate(parts) for parts in zip(*columns(case), strict=True))
    check("micro_map", case, [average_precision_score(targets, values)] if targets.any() else [])


@laws
@given(multi_label())
def test_micro_f1_pools_the_classes(case):
    targets, values = (np.concatenate(parts) for parts in zip(*columns(case), strict=True))
    expected = f1_score(targets, values >= 0.5, zero_division=0) if len(targets) else 0.0
    assert score("micro_f1", *case) == pytest.approx(expected, rel=1e-12)


def lwlrap_by_definition(targets, probabilities):
    """The mean over all labels of a label's precision: of classes at least as probable, the fraction of labels."""
    precisions = []
    for row, values in zip(targets.astype(float), probabilities, strict=True):
        for c in np.flatnonzero(row == 1):
            before = [row[i] for i in range(len(row)) if values[i] >= values[c] and not np.isnan(row[i])]
            precisions.append(sum(before) / len(before))
    return precisions


@laws
@given(st.one_of(single_label(), multi_label()))
def test_lwlrap_is_its_definition(case):
    targets, probabilities = case
    if targets.ndim == 1:
        targets = targets[:, None] == np.arange(probabilities.shape[1])
    expected = lwlrap_by_definition(targets, probabilities)
    check("lwlrap", case, expected)
    if targets.dtype == bool and targets.shape[1] > 1 and targets.any():
        n = targets.sum(axis=1)
        weighted = label_ranking_average_precision_score(targets[n > 0], probabilities[n > 0], sample_weight=n[n > 0])
        assert score("lwlrap", *case) == pytest.approx(weighted, rel=1e-12)


@laws
@given(st.one_of(single_label(), multi_label()))
def test_log_loss_is_that_of_scikit_learn(case):
    targets, probabilities = case
    within = 1e-12 if probabilities.dtype == np.float64 else 1e-5  # scikit-learn adds in float32
    if targets.ndim == 2:
        check("log_loss", case, [log_loss(t, p, labels=[False, True]) for t, p in columns(case) if len(t)], within)
    elif probabilities.shape[1] > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # rows do not sum to one
            expected = log_loss(targets, probabilities, labels=np.arange(probabilities.shape[1]))
        check("log_loss", case, [expected], within)


def kappa_by_definition(targets, predicted, n):
    table = np.zeros((n, n))
    np.add.at(table, (targets, predicted), 1)
    square = np.subtract.outer(np.arange(n), np.arange(n)) ** 2
    by_chance = np.outer(table.sum(axis=1), table.sum(axis=0)) / len(targets)
    return [1 - (square * table).sum() / (square * by_chance).sum()] if (square * by_chance).any() else []


@laws
@given(single_label())
def test_kappa_weighs_by_the_squared_distance(case):
    targets, probabilities = case
    predicted = probabilities.argmax(axis=1)
    expected = kappa_by_definition(targets, predicted, probabilities.shape[1])
    check("kappa", case, expected)
    if expected:
        labels = np.arange(probabilities.shape[1])
        found = cohen_kappa_score(targets, predicted, weights="quadratic", labels=labels)
        assert score("kappa", *case) == pytest.approx(found, rel=1e-12, abs=1e-12)


def test_a_clip_without_a_label_has_the_farthest_class_for_kappa():
    targets = np.array([0, 1, 3, 2])
    missing, farthest = np.array([[-1], [1], [-1], [2]]), np.array([3, 1, 0, 2])
    assert score_ranked("kappa", targets, missing) == pytest.approx(kappa_by_definition(targets, farthest, 4)[0])


@laws
@given(single_label(), st.integers(1, 9))
def test_map_at_k_is_its_definition(case, k):
    targets, probabilities = case
    total = 0.0
    for target, row in zip(targets, probabilities, strict=True):
        guesses = sorted(range(len(row)), key=lambda c: (-row[c], c))[:k]
        total += sum(1 / place for place, guess in enumerate(guesses, start=1) if guess == target)
    assert score(f"map{k}", targets, probabilities) == pytest.approx(total / len(targets), rel=1e-12)
    ranked = top_k(probabilities, k)
    assert score_ranked(f"map{k}", targets, ranked) == pytest.approx(total / len(targets), rel=1e-12)


def test_many_places_are_a_stable_sort():
    p = np.random.default_rng(0).integers(0, 4, (20, 30)) / 4
    assert np.array_equal(top_k(p, 25), np.argsort(-p, axis=1, kind="stable")[:, :25])


@pytest.mark.parametrize("task", ["single", "multi"])
def test_undefined_metrics_are_left_out_of_all_scores(task):
    alike = np.zeros(3, int) if task == "single" else np.zeros((3, 2), bool)
    found = all_scores(alike, np.full((3, 2), 0.5), task_spec=TaskSpec({"0": 0, "1": 1}, "f1", task))
    assert set(fitting_metrics(task)) - set(found) == (
        {"roc_auc", "kappa"} if task == "single" else {"map", "roc_auc", "lwlrap", "micro_map"}
    )
    assert not any(map(np.isnan, found.values()))


def test_the_range_of_every_metric_contains_its_scores():
    for seed, task in product(range(20), ("single", "multi")):
        rng = np.random.default_rng(seed)
        targets = rng.integers(0, 3, 6) if task == "single" else rng.random((6, 3)) < 0.4
        targets[0] = 0 if task == "single" else [True, False, True]
        for metric, value in all_scores(targets, rng.random((6, 3))).items():
            assert get_metric(metric).lowest <= value <= get_metric(metric).highest
