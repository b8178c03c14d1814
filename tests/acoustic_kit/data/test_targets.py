"""The training set, and the task that its labels are encoded for."""

import numpy as np
import polars as pl
import pytest

from acoustic_kit.data.targets import TrainingSet, clip_targets
from acoustic_kit.task import TaskSpec

MANIFEST = pl.DataFrame(
    {
        "id": ["a", "b", "c", "t", "e"],
        "label": [["dog"], ["cat", "dog"], ["cat"], [], ["dog"]],
        "fold": [1, 2, 1, None, None],
        "group": ["g", "g", None, None, "h"],
        "content": ["x", "y", "z", "t", "e"],
        "split": ["train", "train", "train", "test", "extra"],
    }
)


def test_the_training_set_is_the_split_train() -> None:
    spec = TaskSpec({"cat": 7, "dog": 3}, "map", "multi")
    found = TrainingSet.of(MANIFEST, spec)
    assert found.ids == ["a", "b", "c"]
    assert found.folds.tolist() == [1, 2, 1]
    assert found.targets.tolist() == [[False, True], [True, True], [True, False]]
    assert found.n_groups == 1
    assert found.groups[0] == found.groups[1] != found.groups[2]
    np.testing.assert_array_equal(found.targets[::-1], clip_targets(MANIFEST, ["c", "b", "a"], spec))
    some = found.filter(np.array([False, False, True]))
    assert (some.ids, some.n_groups, len(some)) == (["c"], 0, 1)


@pytest.mark.parametrize(
    ("task", "separator", "expected"), [("single", ";", " "), ("multi", ";", ";"), ("multi", None, ",")]
)
def test_the_separator_of_label_cells_depends_on_the_task(task, separator, expected) -> None:
    assert TaskSpec({"cat": 0, "dog": 1}, "f1", task, separator).cell_separator == expected
