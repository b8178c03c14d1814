"""Evaluation of predictions, compared with scikit-learn and with values computed by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from acoustic_kit.report.evaluation import (
    MOST_CLASSES,
    class_scores,
    confusion,
    correlation,
    errors,
    is_wrong,
    most_confident_mistakes,
    reliability,
)

CLASSES = ["a", "b", "c", "d"]


def predictions(seed: int, n: int = 80, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(classes, size=n), rng.dirichlet(np.ones(classes), size=n)


def several(seed: int, n: int = 80, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((n, classes)) < 0.3, rng.random((n, classes))


def test_the_confusion_matrix_has_the_most_frequent_mistakes() -> None:
    targets = np.array([0, 0, 0, 1, 1, 2])
    guesses = np.array([1, 1, 0, 1, 2, 2])
    found = confusion(targets, np.eye(4)[guesses], CLASSES)
    assert found.counts.tolist() == [[1, 2, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert found.pairs == (("a", "b", 2, 2 / 3), ("b", "c", 1, 1 / 2))
    assert found.classes == ("a", "b", "c", "d")


def test_of_many_classes_those_with_most_mistakes_are_shown() -> None:
    n = MOST_CLASSES + 5
    targets = np.repeat(np.arange(n), 2)
    guesses = targets.copy()
    guesses[targets >= 10] = (guesses[targets >= 10] - 10 + 1) % (n - 10) + 10  # the first ten are never mistaken
    found = confusion(targets, np.eye(n)[guesses], [f"c{i}" for i in range(n)])
    assert len(found.classes) == MOST_CLASSES
    assert found.n_classes == n
    assert {f"c{i}" for i in range(10, n)} <= set(found.classes)
    assert list(found.classes) == sorted(found.classes, key=lambda name: int(name[1:]))


def test_class_scores_are_scikit_learns() -> None:
    targets, probabilities = predictions(1)
    found, guesses = class_scores(targets, probabilities, CLASSES), probabilities.argmax(axis=1)
    assert [one.precision for one in found] == pytest.approx(precision_score(targets, guesses, average=None))
    assert [one.recall for one in found] == pytest.approx(recall_score(targets, guesses, average=None))
    assert [one.f1 for one in found] == pytest.approx(f1_score(targets, guesses, average=None))
    assert [one.support for one in found] == np.bincount(targets, minlength=4).tolist()
    assert all(one.average_precision is None for one in found)


def test_class_scores_of_several_labels_are_scikit_learns() -> None:
    targets, probabilities = several(2)
    found = class_scores(targets, probabilities, CLASSES)
    assert [one.f1 for one in found] == pytest.approx(f1_score(targets, probabilities >= 0.5, average=None))
    expected = average_precision_score(targets, probabilities, average=None)
    assert [one.average_precision for one in found] == pytest.approx(expected)


def test_a_class_that_nothing_has_or_predicts_has_no_scores() -> None:
    found = class_scores(np.array([0, 1]), np.eye(3)[[0, 1]], CLASSES[:3])
    assert (found[2].support, found[2].precision, found[2].recall, found[2].f1) == (0, None, None, None)


@given(st.integers(0, 1000), st.booleans())
@settings(deadline=None, max_examples=30)
def test_the_reliability_diagram_is_scikit_learns(seed: int, multi: bool) -> None:
    targets, probabilities = several(seed) if multi else predictions(seed)
    found = reliability(targets, probabilities)
    right = targets.ravel() if multi else probabilities.argmax(axis=1) == targets
    confidence = probabilities.ravel() if multi else probabilities.max(axis=1)
    share, mean = calibration_curve(right, confidence, n_bins=10)
    filled = found.counts > 0
    assert found.accuracy[filled] == pytest.approx(share)
    assert found.confidence[filled] == pytest.approx(mean)
    assert found.ece == pytest.approx(np.average(np.abs(share - mean), weights=found.counts[filled]))
    assert found.counts.sum() == len(confidence)


def test_probabilities_of_zero_and_one_lie_in_the_outer_bins() -> None:
    found = reliability(np.array([[True, False]]), np.array([[1.0, 0.0]]))
    assert found.counts.tolist() == [1, *[0] * 8, 1]
    assert found.ece == 0


def test_an_error_is_the_probability_of_what_is_wrong() -> None:
    assert errors(np.array([1]), np.array([[0.25, 0.75]])).tolist() == [0.25]
    assert errors(np.array([[True, False]]), np.array([[0.5, 0.25]])).tolist() == [0.375]


def test_runs_that_err_alike_correlate() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random(100), rng.random(100)
    found = correlation(np.stack([one, 1 - one, other, np.zeros(100)]))
    assert found[0, 1] == pytest.approx(-1)
    assert found[0, 2] == pytest.approx(np.corrcoef(one, other)[0, 1])
    assert np.isnan(found[0, 3])  # it errs nowhere


def test_the_most_confident_mistakes_come_first() -> None:
    targets = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.4, 0.6], [0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    clips, classes, certainty = most_confident_mistakes(targets, probabilities, 5)
    assert clips.tolist() == [2, 0]
    assert classes.tolist() == [0, 1]
    assert certainty.tolist() == [0.8, 0.6]


def test_of_several_labels_a_missed_one_is_a_mistake_too() -> None:
    targets = np.array([[True, False], [True, False], [False, False]])
    probabilities = np.array([[0.05, 0.1], [0.9, 0.7], [0.4, 0.3]])
    clips, classes, certainty = most_confident_mistakes(targets, probabilities, 5)
    assert clips.tolist() == [0, 1]
    assert classes.tolist() == [0, 1]
    assert certainty == pytest.approx([0.95, 0.7])
    assert is_wrong(targets, probabilities).tolist() == [True, True, False]
