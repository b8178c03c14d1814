"""Jobs: notes on targets that a recipe does not use."""

from pathlib import Path

import polars as pl
import pytest

from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace

RECIPE = '''"""A recipe."""
from sklearn.dummy import DummyClassifier
import acoustic_kit as akit

class Settings(akit.Settings):
    pass

def features(s): return {{"x": akit.Stats()}}

def train(fold, s):
    return akit.FitResult(DummyClassifier().fit(fold.train["x"], fold.train.labels), uses=frozenset({uses}))

def predict(model, clips, s):
    return akit.class_probabilities(model, clips["x"], len(clips.classes))
'''


@pytest.fixture
def soft(workspace: Workspace) -> Workspace:
    """A workspace of one soft target, one unknown target and two weights."""
    first, second = workspace.manifest.filter(pl.col("split") == "train")["id"].head(2)
    one, two, *_ = workspace.config.classes
    soft = pl.Series(
        "soft",
        [
            [{"label": one, "target": 0.4}, {"label": two, "target": None}] if id == first else None
            for id in workspace.manifest["id"]
        ],
        dtype=workspace.manifest.schema["soft"],
    )
    weight = pl.when(pl.col("id").is_in([first, second])).then(0.5)
    workspace.manifest.with_columns(soft, weight=weight).write_parquet(workspace.manifest_path)
    return Workspace.find(workspace.root)


@pytest.mark.parametrize(
    ("uses", "unused"),
    [
        ((), ["1 soft targets", "1 unknown targets", "weights of 2 clips"]),
        (("weights",), ["1 soft targets", "1 unknown targets"]),
        (("soft", "unknown", "weights"), []),
    ],
)
def test_unused_targets_are_named_once(soft: Workspace, tmp_path: Path, uses: tuple, unused: list[str]) -> None:
    path = tmp_path / "plain.py"
    path.write_text(RECIPE.format(uses=uses))
    run, _ = run_recipe(soft, load_recipe(path), folds=["1", "2"])
    assert len(run.notes) == bool(unused)
    for text in ("1 soft targets", "1 unknown targets", "weights of 2 clips"):
        assert any(text in note for note in run.notes) == (text in unused)


def test_clips_that_features_cut_are_noted_once(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "cut.py"
    uses = ("soft", "unknown", "weights")
    lengths = workspace.manifest["duration"]
    for seconds, n in ((lengths.max(), 0), (0.1, len(lengths))):
        wave = f"akit.Stats(wave=akit.Wave(8000, seconds={seconds}))"
        path.write_text(RECIPE.format(uses=uses).replace("akit.Stats()", wave))
        notes = run_recipe(workspace, load_recipe(path), folds=["1", "2"])[0].notes
        assert [f"{n} clips" in note and "0.1 s" in note and "--window" in note for note in notes] == [True] * bool(n)
