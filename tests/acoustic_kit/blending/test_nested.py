"""The nested folds."""

import numpy as np
import pytest

from acoustic_kit.blending import choose
from acoustic_kit.blending.nested import MANY_GROUPS, nested_folds, rarest_label
from acoustic_kit.metrics import score


def test_held_groups_are_whole_and_there_are_five_folds():
    rng = np.random.default_rng(0)
    targets, groups = rng.integers(0, 3, 90), rng.integers(0, 17, 90)
    folds = nested_folds(targets, groups, seed=0)
    assert set(folds) == set(range(5))
    for fold in range(5):
        assert not set(groups[folds == fold]) & set(groups[folds != fold])


def test_many_groups_are_whole_and_stratified():
    rng = np.random.default_rng(0)
    groups = np.unique(rng.integers(0, MANY_GROUPS + 1000, 40_000), return_inverse=True)[1]
    targets = rng.permutation(groups.max() + 1)[groups] % 10
    folds = nested_folds(targets, groups, seed=0)
    assert groups.max() >= MANY_GROUPS
    assert np.array_equal(folds, folds[np.unique(groups, return_index=True)[1]][groups])
    for label in range(10):
        shares = np.bincount(folds[targets == label], minlength=5) / (targets == label).sum()
        np.testing.assert_allclose(shares, 0.2, atol=0.02)


def test_a_small_class_does_not_take_folds_away():
    targets = np.array([0] * 40 + [1] * 2 + [2])
    folds = nested_folds(targets, np.arange(43), seed=0)
    assert set(folds) == set(range(5))
    assert np.bincount(folds[targets == 0]).tolist() == [8] * 5


def test_one_group_is_one_fold():
    assert nested_folds(np.array([0, 1, 1]), np.zeros(3, int), seed=0).tolist() == [0, 0, 0]
    assert set(nested_folds(np.array([0, 1, 1]), np.array([0, 1, 1]), seed=0)) == {0, 1}


def test_the_rarest_label_is_the_stratum():
    targets = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1], [0, 0, 1]], dtype=bool)
    assert rarest_label(targets).tolist() == [1, 0, 3, 2, 2]


def test_ranking_metrics_compare_the_blend_with_one_run() -> None:
    rng = np.random.default_rng(0)
    targets = rng.random((240, 3)) < 0.3
    groups = np.repeat(np.arange(4), 60)
    good = np.clip(targets * 0.5 + rng.normal(0.25, 0.15, targets.shape), 0, 1)
    even = np.isin(groups, (0, 2))[:, None]
    # Two runs of other scales, each better on other groups: a mix of them would be worse than each.
    runs = [
        np.where(even, good, rng.random(good.shape)) ** 4,
        1 - (1 - np.where(even, rng.random(good.shape), good)) ** 4,
    ]
    blend = choose(runs, targets, groups, "roc_auc", "mean")
    best = max(score("roc_auc", targets, run) for run in runs)
    assert blend.nested_score - blend.gain == pytest.approx(best)
