"""Rows of the leaderboard: what shares one, and which have a rank."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from acoustic_kit.recipe.recipe import Recipe, load_recipe
from acoustic_kit.runs.leaderboard import Standing, by_setting, leaderboard, ranks
from acoustic_kit.runs.run import list_runs
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.task import TaskSpec
from acoustic_kit.workspace.workspace import Workspace


def standing(name: str, score: float | None, known: list[int], setting: str = "", seed: int = 0) -> Standing:
    record = SimpleNamespace(recipe=name.partition("-")[0], setting=setting, seed=seed)
    run = cast("Any", SimpleNamespace(name=name, record=record, path=Path(name)))
    return Standing(run, score, {} if score is None else {"1": score, "2": score}, np.array(known, bool), ())


def names(standings: list[Standing]) -> list[list[str]]:
    return [[one.run.name for one in placing.standings] for placing in by_setting(standings)]


def test_variants_of_one_file_with_equal_settings_are_two_rows() -> None:
    seeds = [standing("eat_s-1", 0.5, [1, 1], "same"), standing("eat_s-2", 0.4, [1, 1], "same", seed=1)]
    variant = standing("eat_m-3", 0.3, [1, 1], "same")
    assert names([*seeds, variant]) == [["eat_s-1", "eat_s-2"], ["eat_m-3"]]


def test_a_lower_score_is_first_if_it_is_better() -> None:
    rows = [standing("a-1", 0.9, [1]), standing("b-1", 0.2, [1]), standing("c-1", None, [0])]
    assert names([replace(row, sign=-1) for row in rows]) == [["b-1"], ["a-1"], ["c-1"]]
    assert names(rows) == [["a-1"], ["b-1"], ["c-1"]]


def test_only_scores_of_the_same_clips_are_ranked() -> None:
    rows = [
        standing("part-1", 0.9, [1, 0, 0]),
        standing("good-1", 0.8, [1, 1, 1]),
        standing("none-1", None, [0, 0, 0]),
        standing("bad-1", 0.1, [1, 1, 1]),
    ]
    placings = by_setting(rows)
    assert [placing.standings[0].run.name for placing in placings] == ["good-1", "bad-1", "part-1", "none-1"]
    assert ranks(placings) == [1, 2, None, None]
    assert rows[0].coverage == "1/3 clips"
    alone = by_setting([standing("part-1", 0.9, [1, 0, 0]), standing("part-2", 0.8, [1, 0, 0])])
    assert ranks(alone) == [1, 2]
    assert ranks(by_setting([standing("none-1", None, [0, 0])])) == [None]


def test_the_leaderboard_ranks_by_the_metric(workspace: Workspace, write_recipe: Callable[..., Recipe]) -> None:
    bad = write_recipe(predict="return np.tile([0.0, 0.0, 1.0], (len(clips), 1))")
    run_recipe(workspace, bad)
    good = load_recipe("stats_pca_linear")
    run_recipe(workspace, good)
    board = leaderboard(list_runs(workspace.runs_path), workspace.manifest, workspace.task_spec)
    assert [standing.run.record.recipe for standing in board] == ["stats_pca_linear", "diary"]
    assert board[0].score is not None
    assert board[0].score > 0.6
    assert board[1].score == pytest.approx(0.5 / 3)
    assert len(board[0].fold_scores) == 4


def test_scores_stand_beside_their_folds(workspace: Workspace, recipe: Recipe) -> None:
    run_recipe(workspace, recipe, folds=["3"])
    run, _ = run_recipe(workspace, recipe, folds=["1"])
    (standing,) = leaderboard([run], workspace.manifest, replace(workspace.task_spec, metric="accuracy"))
    assert list(run.done) == ["1", "3"]
    assert set(standing.fold_scores) == {"1", "3"}


def test_another_order_of_the_classes_changes_no_prediction(workspace: Workspace, recipe: Recipe) -> None:
    run, _ = run_recipe(workspace, recipe)
    turned = list(reversed(run.record.classes))
    predictions = run.predictions("oof", turned)
    assert predictions is not None
    assert run.oof is not None
    np.testing.assert_array_equal(predictions.probabilities[:, ::-1], run.oof.probabilities)
    scores = [
        leaderboard([run], workspace.manifest, TaskSpec({name: i for i, name in enumerate(classes)}, "f1"))[0].score
        for classes in (run.record.classes, turned)
    ]
    assert scores[0] == pytest.approx(scores[1])
    other = leaderboard([run], workspace.manifest, TaskSpec({**workspace.config.classes, "another": 3}, "f1"))[0]
    assert (other.score, other.complete) == (None, False)
