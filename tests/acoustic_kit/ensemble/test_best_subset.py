"""The runs of a leaderboard whose mean scores best."""

from itertools import combinations
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from acoustic_kit.data.targets import TrainingSet
from acoustic_kit.ensemble.best_subset import BestMean, BestSubset
from acoustic_kit.metrics.scores import get_metric, score
from acoustic_kit.task import TaskSpec

CLASSES = {"a": 0, "b": 1, "c": 2, "d": 3}
TARGETS = np.arange(120) % 4


def runs_of_skill(skills: list[float], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(skills), 120, 4))
    logits[:, np.arange(120), TARGETS] += np.array(skills)[:, None]
    return list(np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True))


def best(runs: list[np.ndarray], metric: str = "f1", fast: tuple[int, ...] = (), part: tuple[int, ...] = ()) -> Any:
    labels = [[name] for name in np.array(list(CLASSES))[TARGETS]]
    together = BestSubset(TrainingSet(pl.DataFrame({"label": labels}), TaskSpec(CLASSES, metric)), metric)
    for i, run in enumerate(runs):
        record = SimpleNamespace(fast=i in fast)
        standing = SimpleNamespace(
            complete=i not in part,
            score=score(metric, TARGETS, run),
            run=SimpleNamespace(name=f"run{i:02}", record=record),
        )
        together.add(cast("Any", standing), np.ones(120, bool), run)
    return together.best()


def members(found: BestMean) -> tuple[int, ...]:
    return tuple(int(name[3:]) for name in found.shares)


@pytest.mark.parametrize("metric", ["f1", "map3", "accuracy", "log_loss"])
@pytest.mark.parametrize("seed", range(4))
def test_no_smaller_set_scores_better(metric: str, seed: int) -> None:
    runs = runs_of_skill([1.0, 1.1, 0.9, 0.2, 1.0, 0.8, 0.1], seed)
    found = best(runs, metric)
    chosen = members(found)

    def value(positions: tuple[int, ...]) -> float:
        return get_metric(metric).sign * score(metric, TARGETS, np.mean([runs[i] for i in positions], axis=0))

    worth = get_metric(metric).sign * found.score
    assert worth == pytest.approx(value(chosen))
    assert found.score == pytest.approx(sum(share * found.score for share in found.shares.values()))
    smaller = [*combinations(range(7), 1), *combinations(range(7), 2)]
    smaller += [tuple(i for i in chosen if i != left) for left in chosen]
    assert all(value(positions) <= worth + 1e-9 for positions in smaller if positions)


def test_copies_fast_runs_and_parts_do_not_count() -> None:
    runs = runs_of_skill([1.0, 1.1, 0.9], 0)
    assert best([runs[0], runs[0].copy()]) is None
    assert members(best([*runs, runs[1].copy()])) == members(best(runs))
    good = runs_of_skill([5.0], 1)
    assert members(best([*runs, *good], fast=(3,))) == members(best(runs))
    assert members(best([*runs, *good], part=(3,))) == members(best(runs))
    assert members(best(runs, fast=(0, 1, 2))) == members(best(runs))
    assert best([*runs[:1], *good], fast=(1,)) is None


def test_a_run_that_no_other_makes_better_stands_alone() -> None:
    assert best([*runs_of_skill([20.0], 0), *runs_of_skill([0.1], 1)]) is None
