"""What a network is told of a clip beside its sound: columns of the manifest as arrays."""

from collections.abc import Hashable, Sequence

import numpy as np

from acoustic_kit.errors import AkitError
from acoustic_kit.recipe.needs import missing_column
from acoustic_kit.training.fold import Clips


def one_hot_column(clips: Clips, column: str, values: Sequence[Hashable], default: Hashable) -> np.ndarray:
    """A column of the manifest with few values, one-hot.

    Parameters
    ----------
    column : of the data set's own, such as `salience`
    values : what the columns of the result stand for
    default : the one of `values` that a clip has where the column holds none of them

    Returns
    -------
    float32 (clips, values), one 1 in each row

    Raises
    ------
    AkitError
        The manifest lacks the column.

    """
    if column not in clips.rows.columns:
        raise AkitError(missing_column(column))
    place = {value: i for i, value in enumerate(values)}
    found = [place.get(value, place[default]) for value in clips.rows[column].to_list()]
    return np.eye(len(values), dtype=np.float32)[found]
