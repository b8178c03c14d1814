"""Columns of the manifest as a network's second input."""

import numpy as np
import polars as pl
import pytest

from acoustic_kit.data.clips import Clips
from acoustic_kit.errors import AkitError
from acoustic_kit.recipe.side_inputs import one_hot_column


def clips(**columns: list) -> Clips:
    n = len(next(iter(columns.values())))
    return Clips(pl.DataFrame({"id": [f"{i}" for i in range(n)], **columns}), ("a", "b"), "single", {})


@pytest.mark.parametrize("column", [[1, 2, 2, None, 7], [1.0, 2.0, 2.0, None, 7.0]])
def test_known_values_have_a_column_others_use_the_default(column: list) -> None:
    found = one_hot_column(clips(salience=column), "salience", (1, 2), default=1)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[1, 0], [0, 1], [0, 1], [1, 0], [1, 0]])


def test_words_are_values_too() -> None:
    found = one_hot_column(clips(place=["in", "out", "?"]), "place", ("in", "out"), default="out")
    np.testing.assert_array_equal(found, [[1, 0], [0, 1], [0, 1]])


def test_a_missing_column_is_said_with_the_way_out() -> None:
    with pytest.raises(AkitError, match=r"no column 'salience'(.|\n)*--set salience=none"):
        one_hot_column(clips(other=[1]), "salience", (1, 2), default=1)
