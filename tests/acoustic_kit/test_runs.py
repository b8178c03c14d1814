"""Predictions are joined by id."""

import numpy as np
import pytest

from acoustic_kit.runs import Predictions

ROWS = np.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])


@pytest.mark.parametrize(
    ("wanted", "known", "rows"),
    [
        (["a", "b", "c"], [True, True, True], [0, 1, 2]),
        (["c", "a", "b"], [True, True, True], [2, 0, 1]),
        (["b", "nobody", "a"], [True, False, True], [1, 0]),
        (["a", "b"], [True, True], [0, 1]),
        (["nobody"], [False], []),
        ([], [], []),
    ],
)
def test_predictions_are_found_by_id(wanted: list[str], known: list[bool], rows: list[int]) -> None:
    found, probabilities = Predictions(("a", "b", "c"), ROWS).found(wanted)
    assert found.tolist() == known
    np.testing.assert_array_equal(probabilities, ROWS[rows])
