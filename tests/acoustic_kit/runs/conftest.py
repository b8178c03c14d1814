"""Recipes that write down what they were given, for tests of runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from acoustic_kit.recipe.recipe import Recipe, load_recipe

RECIPE = '''"""A recipe that writes down what it was given."""
import json, os
from pathlib import Path
import numpy as np
from sklearn.dummy import DummyClassifier
import acoustic_kit as akit

LOG = Path(__file__).with_suffix(".log")

class Settings(akit.Settings):
    {settings}

FAST = akit.Fast(clips_per_class=2, folds=2, settings={{"scale": 2.0}})

def features(s): return {{"x": akit.Stats()}}

def train(fold, s):
    with LOG.open("a") as log:
        valid = None if fold.valid is None else fold.valid.ids
        log.write(json.dumps([fold.name, fold.train.ids, valid, fold.seed, fold.train["x"].shape[0]]) + "\\n")
    if os.environ.get("STOP_AT") == fold.name:
        raise KeyboardInterrupt
    return DummyClassifier(strategy="prior").fit(fold.train["x"], fold.train.labels)

def predict(model, clips, s):
    {predict}
'''
HONEST = "return akit.class_probabilities(model, clips['x'], len(clips.classes))"
PCA_RECIPE = """
import json
from pathlib import Path
from sklearn.dummy import DummyClassifier
import acoustic_kit as akit

LOG = Path(__file__).with_suffix(".log")
class Settings(akit.Settings):
    fit_on: str = "fold"
FAST = akit.Fast(clips_per_class=2, folds=2)

def features(s): return {"x": akit.Pca(akit.Stats(), n_components=3, fit_on=s.fit_on), "raw": akit.Stats()}

def train(fold, s):
    stored = fold.train.features["x"]
    with LOG.open("a") as log:
        log.write(json.dumps([fold.name, stored.attributes["training"], fold.train["x"].mean(0).tolist()]) + "\\n")
    return DummyClassifier(strategy="prior").fit(fold.train["x"], fold.train.labels)

def predict(model, clips, s):
    return akit.class_probabilities(model, clips["x"], len(clips.classes))
"""


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[..., Recipe]:
    """Write the recipe whose settings are `settings`, and whose predictions are `predict`."""

    def write(settings: str = "scale: float = 1.0", predict: str = HONEST) -> Recipe:
        path = tmp_path / "diary.py"
        path.write_text(RECIPE.format(settings=settings, predict=predict))
        return load_recipe(path)

    return write


@pytest.fixture
def recipe(write_recipe: Callable[..., Recipe]) -> Recipe:
    return write_recipe()


@pytest.fixture
def pca_recipe(tmp_path: Path) -> Recipe:
    """A recipe that reads a feature that is fitted on training clips."""
    path = tmp_path / "pca_recipe.py"
    path.write_text(PCA_RECIPE)
    return load_recipe(path)


@pytest.fixture
def diary() -> Callable[[Recipe], list[list]]:
    """What a recipe wrote down, one entry per trained fold."""
    return lambda recipe: [json.loads(line) for line in recipe.path.with_suffix(".log").read_text().splitlines()]
