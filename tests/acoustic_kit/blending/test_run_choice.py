"""Choice of runs."""

import numpy as np
import pytest

from acoustic_kit.blending import choose
from acoustic_kit.blending.run_choice import RunChoice
from acoustic_kit.metrics.scores import score


def runs(multi, clips=1300, n=6, classes=4):
    rng = np.random.default_rng(0)
    targets = rng.random((clips, classes)) < 0.4 if multi else rng.integers(0, classes, clips)
    truth = targets if multi else np.eye(classes)[targets]
    p = 0.6 * rng.random((n, clips, classes)) + 0.4 * rng.random((n, clips, 1)) * truth
    return p.astype(np.float32), targets, truth


@pytest.mark.parametrize("multi", [False, True])
def test_diverse_runs_are_those_whose_mean_errs_least(multi):
    p, targets, truth = runs(multi)
    clips = np.flatnonzero(np.arange(1300) % 7)
    chosen: list[int] = []
    for _ in range(4):
        left = [run for run in range(6) if run not in chosen]
        brier = [((p[[*chosen, run]].mean(axis=0) - truth)[clips] ** 2).sum() for run in left]
        chosen.append(left[int(np.argmin(brier))])
    found = RunChoice(p, targets, "f1").take(clips, 4, diverse=True)
    assert found.tolist() == sorted(chosen)


def test_a_copy_of_the_best_run_is_not_diverse():
    rng = np.random.default_rng(2)
    targets = rng.integers(0, 4, 3000)
    logits = rng.standard_normal((3, 3000, 4)) + np.array([2.3, 2.3, 2.1])[:, None, None] * np.eye(4)[targets]
    logits[1] = logits[0] + 0.01 * rng.standard_normal((3000, 4))
    p = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    assert set(choose(p, targets, method="mean", top=2).members) == {0, 1}
    assert 2 in choose(p, targets, method="mean", top=2, diverse=True).members


@pytest.mark.parametrize("metric", ["f1", "map3", "map", "0.5*map+0.5*f1"])
def test_scores_are_the_metric_s_on_these_clips(metric):
    p, targets, _ = runs(False, clips=90)
    clips = np.arange(0, 90, 2)
    expected = [score(metric, targets[clips], run[clips]) for run in p]
    assert np.allclose(RunChoice(p, targets, metric).scores(clips), expected)
