"""Predictions of a fold's model."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from acoustic_kit.data.clips import Clips
from acoustic_kit.recipe.inference import infer
from acoustic_kit.recipe.settings import Settings


def test_a_recipe_gets_the_clips_of_a_file_at_once() -> None:
    rows = pl.DataFrame({"id": list("012345"), "path": list("aabbbc")})
    clips, seen, counts = Clips(rows, ("x", "y"), "single", {}), list[list[str]](), list[int]()

    def predict(_model: object, some: Clips, _settings: Settings) -> np.ndarray:
        seen.append(some.ids)
        return np.full((len(some), 2), 0.5)

    recipe: Any = SimpleNamespace(name="stub", predict=predict)
    for at_once, expected in ((4, ["01", "2345"]), (2, ["01", "23", "45"]), (None, ["012345"])):
        seen.clear()
        counts.clear()
        infer(recipe, Settings(), None, clips, np.array([0.5, 0.5]), at_once=at_once, on_clips=counts.append)
        assert seen == [list(ids) for ids in expected]
        assert counts == [len(ids) for ids in expected]
