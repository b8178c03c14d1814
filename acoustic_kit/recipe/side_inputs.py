"""Inputs of a network other than the audio: columns of the manifest as arrays."""

from collections.abc import Hashable, Sequence

import numpy as np

from acoustic_kit.data.clips import Clips
from acoustic_kit.errors import DataError
from acoustic_kit.recipe.needs import missing_column


def one_hot_column(clips: Clips, column: str, values: Sequence[Hashable], default: Hashable) -> np.ndarray:
    """Return a categorical column of the manifest, one-hot encoded.

    Parameters
    ----------
    column : one of the data set's own, such as `salience`
    values : the categories, in the order of the result's columns
    default : the one of `values` for clips whose cell is none of them

    Returns
    -------
    float32 (clips, values), one 1 in each row

    Raises
    ------
    DataError
        The manifest lacks the column.

    """
    if column not in clips.rows.columns:
        raise DataError(missing_column(column))
    place = {value: i for i, value in enumerate(values)}
    found = [place.get(value, place[default]) for value in clips.rows[column].to_list()]
    return np.eye(len(values), dtype=np.float32)[found]
