"""Rows of the leaderboard: what shares one, and which have a rank."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from acoustic_kit.runs.leaderboard import Standing, by_setting, ranks


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
