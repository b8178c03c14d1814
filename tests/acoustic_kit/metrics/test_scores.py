"""Metrics against scikit-learn, and MAP@3 against its definition spelled out."""

import doctest
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
)

from acoustic_kit.errors import UsageError
from acoustic_kit.metrics import (
    METRICS,
    fitting_metrics,
    get_metric,
    score,
    score_ranked,
    scores,
    top_k,
    validate_metric,
)

laws = settings(deadline=None, max_examples=100)


@st.composite
def single_label(draw):
    """Targets and probabilities with many ties, rare and absent classes, in float32 or float64."""
    clips, classes = draw(st.integers(1, 40)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    targets = rng.integers(0, draw(st.integers(1, classes)), size=clips)
    levels = draw(st.sampled_from([2, 4, 1000]))
    probabilities = rng.integers(0, levels, size=(clips, classes)) / levels
    return targets, probabilities.astype(draw(st.sampled_from([np.float32, np.float64])))


@st.composite
def multi_label(draw):
    probabilities = draw(single_label())[1]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.random(probabilities.shape) < draw(st.sampled_from([0.0, 0.1, 0.5])), probabilities


def map3_by_definition(targets, probabilities):
    total = 0.0
    for target, row in zip(targets, probabilities, strict=True):
        guesses = sorted(range(len(row)), key=lambda c: (-row[c], c))[:3]
        total += sum(1 / place for place, guess in enumerate(guesses, start=1) if guess == target)
    return total / len(targets)


@laws
@given(single_label())
def test_single_label_metrics_equal_scikit_learn(case):
    targets, probabilities = case
    predicted = probabilities.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # predicted classes that are no target
        balanced = balanced_accuracy_score(targets, predicted)
    assert score("accuracy", targets, probabilities) == pytest.approx(accuracy_score(targets, predicted))
    assert score("balanced_accuracy", targets, probabilities) == pytest.approx(balanced)
    assert score("f1", targets, probabilities) == pytest.approx(f1_score(targets, predicted, average="macro"))


@laws
@given(single_label())
def test_map3_equals_its_definition(case):
    assert score("map3", *case) == pytest.approx(map3_by_definition(*case))


@laws
@given(single_label())
def test_map_of_a_single_label_task_is_one_against_the_rest(case):
    targets, probabilities = case
    expected = [average_precision_score(targets == c, probabilities[:, c]) for c in np.unique(targets)]
    assert score("map", targets, probabilities) == pytest.approx(np.mean(expected))


@laws
@given(multi_label())
def test_multi_label_metrics_equal_scikit_learn(case):
    targets, probabilities = case
    if targets.shape[1] > 1:  # scikit-learn takes one column for a binary problem
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # classes without labels
            expected = f1_score(targets, probabilities >= 0.5, average="macro")
        assert score("f1", targets, probabilities) == pytest.approx(expected)
    present = np.flatnonzero(targets.any(axis=0))
    if len(present):
        expected = np.mean([average_precision_score(targets[:, c], probabilities[:, c]) for c in present])
        assert score("map", targets, probabilities) == pytest.approx(expected)
    else:
        with pytest.raises(ValueError, match="no clip has a label"):
            score("map", targets, probabilities)


@laws
@given(single_label(), st.integers(1, 9))
def test_top_k_is_a_stable_sort_and_ranked_scores_equal_scores(case, k):
    targets, probabilities = case
    before = probabilities.copy()
    ranked = top_k(probabilities, k)
    assert np.array_equal(ranked, np.argsort(-probabilities, axis=1, kind="stable")[:, :k])
    assert np.array_equal(probabilities, before)
    for metric in ("accuracy", "balanced_accuracy", "f1"):
        assert score_ranked(metric, targets, ranked) == score(metric, targets, probabilities)
    if k >= 3:
        assert score_ranked("map3", targets, ranked) == score("map3", targets, probabilities)


def test_ranked_labels_may_be_missing_or_repeated():
    targets = np.array([2, 0, 1])
    ranked = np.array([[1, 1, 2, -1], [-1, -1, -1, -1], [0, 2, 0, 1]])
    assert score_ranked("map3", targets, ranked) == pytest.approx((1 / 3 + 0 + 0) / 3)
    assert score_ranked("accuracy", targets, ranked) == 0
    assert score_ranked("accuracy", targets, np.array([[2], [-1], [1]])) == pytest.approx(2 / 3)
    # F1 of class 0 is 0 (missed), of the others 1; "no label" is not a class of its own.
    assert score_ranked("f1", targets, np.array([[2], [-1], [1]])) == pytest.approx(2 / 3)


def test_ranked_labels_of_a_multi_label_task_are_a_set():
    targets = np.array([[True, True, False], [False, False, True]])
    assert score_ranked("f1", targets, np.array([[1, 0], [2, -1]])) == 1
    expected = f1_score(targets, [[1, 0, 1], [0, 0, 0]], average="macro", zero_division=0)
    assert score_ranked("f1", targets, np.array([[2, 0], [-1, -1]])) == pytest.approx(expected)
    with pytest.raises(ValueError, match="class position 3"):
        score_ranked("f1", targets, np.array([[3], [0]]))


def test_a_weighted_sum_is_the_sum_of_its_terms():
    rng = np.random.default_rng(0)
    targets, probabilities = rng.integers(0, 5, 60), rng.random((60, 5))
    parts = {name: score(name, targets, probabilities) for name in fitting_metrics("single")}
    assert len(set(parts.values())) == len(parts)
    assert score("0.8*accuracy+0.2*f1", targets, probabilities) == pytest.approx(
        0.8 * parts["accuracy"] + 0.2 * parts["f1"]
    )
    assert score(" map + 2 * map3 ", targets, probabilities) == pytest.approx(parts["map"] + 2 * parts["map3"])
    ranked = top_k(probabilities, 3)
    assert score_ranked(".5*map3+f1", targets, ranked) == pytest.approx(0.5 * parts["map3"] + parts["f1"])
    assert get_metric("0.8*accuracy+f1").terms == ((0.8, METRICS["accuracy"]), (1.0, METRICS["f1"]))


def test_a_weighted_sum_needs_what_its_terms_need():
    metric = get_metric("0.5*map3+2*map")
    assert (metric.n_labels, metric.needs_probabilities, metric.ranks_clips, metric.macro) == (3, True, True, True)
    assert (metric.tasks, metric.highest, metric.greater_is_better) == (("single",), 2.5, True)
    assert get_metric("0.5*f1+map").tasks == ("single", "multi")
    assert get_metric(" f1 ") is METRICS["f1"]


def test_a_sum_of_metrics_of_both_directions_is_refused():
    assert get_metric("0.5*log_loss+2*log_loss").sign == -1
    with pytest.raises(UsageError, match=r"cannot add accuracy and log_loss in '0.5\*accuracy\+log_loss'"):
        get_metric("0.5*accuracy+log_loss")


def test_map_at_k_has_a_name_for_any_k():
    assert get_metric("map5").n_labels == 5
    assert get_metric("0.5*map12+f1").n_labels == 12
    assert get_metric("map3") is METRICS["map3"]
    for name in ("map0", "map05", "map٣"):
        with pytest.raises(UsageError):
            get_metric(name)


def test_examples_run():
    assert doctest.testmod(scores).failed == 0


@pytest.mark.parametrize("text", ["", "+", "f1+", "f1*0.5", "0.5*", "-1*f1", "0*f1", "1e-3*f1", "f1 f1", "f1()", "1"])
def test_what_is_no_metric_is_refused(text):
    with pytest.raises(UsageError, match="cannot read the metric"):
        get_metric(text)


@laws
@given(st.text(alphabet="+*.019 f1map@_x", max_size=12))
def test_any_text_is_a_metric_or_a_usage_error(text):
    try:
        metric = get_metric(text)
    except UsageError:
        return
    for weight, part in metric.terms:
        assert weight > 0
        assert part is METRICS.get(part.name) or part.name == f"map{part.n_labels}"


def test_a_near_miss_is_suggested():
    for k in (3, 5, 12):
        with pytest.raises(UsageError, match=f"'map@{k}'; did you mean 'map{k}'"):
            validate_metric(f"map@{k}", "single")
    with pytest.raises(UsageError, match=r"did you mean 'balanced_accuracy'.*There are: accuracy"):
        validate_metric("0.5*f1+0.5*balanced_acc", "single")


def test_single_label_metrics_do_not_fit_several_labels():
    targets, probabilities = np.eye(3, dtype=bool), np.eye(3)
    for metric in ("accuracy", "balanced_accuracy", "map3", "0.5*f1+0.5*accuracy"):
        with pytest.raises(UsageError, match=r"does not fit a task with several labels a clip; f1, map, .* do"):
            score(metric, targets, probabilities)
        with pytest.raises(UsageError, match="does not fit"):
            validate_metric(metric, "multi")
        validate_metric(metric, "single")
    validate_metric("f1+map", "multi")
    with pytest.raises(UsageError, match="unknown task"):
        validate_metric("f1", "both")
    with pytest.raises(UsageError, match="needs probabilities"):
        score_ranked("map", np.array([0]), np.array([[0]]))


@pytest.mark.parametrize(
    ("targets", "probabilities", "message"),
    [
        ([0, 1], [[1.0, 0.0]], "2 targets for 1 predicted"),
        ([0, 2], np.eye(2), r"targets must be in 0 … 1; they reach 0 … 2"),
        ([0, -1], np.eye(2), "they reach -1"),
        ([0.0, 1.0], np.eye(2), r"targets must be int \(clips,\)"),
        ([True, False], np.eye(2), r"targets must be int \(clips,\)"),
        ([[1, 0], [0, 1]], np.eye(2), r"bool or float \(clips, classes\)"),
        ([[0.5, 0.0], [0.0, 1.0]], np.eye(2), "must be 0, 1 or NaN"),
        (np.eye(2, 3, dtype=bool), np.eye(2), r"targets are \(2, 3\), predictions \(2, 2\)"),
        ([0, 1], [0.1, 0.9], r"probabilities must be float \(clips, classes\)"),
        ([0, 1], [["a", "b"], ["c", "d"]], "probabilities must be float"),
        ([0, 1], [[0.5, 0.5], [np.nan, np.inf]], "2 non-finite values, the first in clip 1, class 0"),
        (np.zeros(0, int), np.zeros((0, 2)), "no clips"),
        ([0], np.zeros((1, 0)), "probabilities must be"),
    ],
)
def test_wrong_arrays_are_named(targets, probabilities, message):
    with pytest.raises(ValueError, match=message):
        score("f1", np.asarray(targets), np.asarray(probabilities))


@pytest.mark.parametrize("ranked", [[[0.5]], [0], [[-2]], np.zeros((1, 0), int)])
def test_wrong_ranked_arrays_are_named(ranked):
    with pytest.raises(ValueError, match="ranked must be int"):
        score_ranked("accuracy", np.array([0]), np.asarray(ranked))


def test_ranked_without_clips_is_refused():
    with pytest.raises(ValueError, match="no clips"):
        score_ranked("accuracy", np.zeros(0, int), np.zeros((0, 1), int))


def test_unsigned_probabilities_and_logits_rank_like_others():
    targets = np.array([0, 1, 1])
    logits = np.array([[-5.0, -9.0], [-3.0, -2.0], [4.0, 0.5]])
    assert score("map3", targets, logits) == map3_by_definition(targets, logits)
    whole = np.array([[3, 0], [1, 2], [4, 0]], dtype=np.uint8)
    assert score("map", targets, whole) == score("map", targets, whole.astype(float))


def test_start_up_imports_no_heavy_library():
    modules = "acoustic_kit.metrics, acoustic_kit.blending, acoustic_kit.submission"
    heavy = "{'sklearn', 'polars', 'scipy', 'torch'} & set(sys.modules)"
    code = f"import sys; import {modules}; print({heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
