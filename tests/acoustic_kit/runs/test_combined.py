"""The combined predictions of a run: kills, folds that are trained anew, other orders."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from acoustic_kit.files import file_sha256
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.recipe.recipe import Recipe
from acoustic_kit.runs.run import Run
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace


@pytest.mark.parametrize("lost", ["oof.parquet", "test.parquet", "folds/2", "folds/3/fold.json"])
def test_what_a_kill_or_a_hand_took_away_is_made_again(workspace: Workspace, recipe: Recipe, lost: str) -> None:
    run, _ = run_recipe(workspace, recipe)
    expected = {name: (run.path / name).read_bytes() for name in ("oof.parquet", "test.parquet")}
    path = run.path / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    again, trained = run_recipe(workspace, recipe)
    assert trained == lost.startswith("folds")
    assert {name: (again.path / name).read_bytes() for name in expected} == expected
    assert again.finished


@pytest.mark.parametrize("part", ["oof", "test"])
def test_kill_during_combination_leaves_no_stale_predictions(
    workspace: Workspace, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    run_recipe(workspace, recipe, folds=["1", "2"])
    write = Predictions.write

    def killed(self: Predictions, path: Path, classes: list[str]) -> str:
        if path.parent.parent == workspace.runs_path and path.name == f"{part}.parquet":
            raise KeyboardInterrupt
        return write(self, path, classes)

    monkeypatch.setattr(Predictions, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(workspace, recipe, folds=["3"])
    monkeypatch.undo()
    run, trained = run_recipe(workspace, recipe, folds=["3"])
    assert not trained
    assert run.record.combined == ["1", "2", "3"]
    assert run.oof is not None
    assert len(run.oof.ids) == 36


def test_a_fold_that_is_trained_anew_replaces_what_was_combined(workspace: Workspace, recipe: Recipe) -> None:
    run, _ = run_recipe(workspace, recipe)
    before = run.oof
    assert before is not None
    fold = run.path / "folds" / "2"
    other = Predictions.read(fold / "oof.parquet", run.record.classes)
    changed = Predictions(other.ids, other.probabilities[:, ::-1])
    digest = changed.write(fold / "oof.parquet", run.record.classes)  # as if it had been trained anew
    record = run.done["2"].model_copy(update={"files": run.done["2"].files | {"oof.parquet": digest}})
    (fold / "fold.json").write_text(record.to_json())
    run, trained = run_recipe(workspace, recipe)
    assert not trained
    assert run.oof is not None
    np.testing.assert_array_equal(run.oof.aligned(other.ids), changed.probabilities)
    assert run.record.files == {
        f"{part}.parquet": file_sha256(run.path / f"{part}.parquet") for part in ("oof", "test")
    }


def test_each_fold_is_read_once_when_it_is_finished(
    workspace: Workspace, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    of_run = Run.predictions

    def noted(run: Run, part: str, classes: list[str], fold: str | None = None) -> Predictions | None:
        read.append(f"{fold}/{part}")
        return of_run(run, part, classes, fold)

    monkeypatch.setattr(Run, "predictions", noted)
    run, _ = run_recipe(workspace, recipe)
    assert read == [f"{fold}/{part}" for fold in "1234" for part in ("oof", "test")]
    parts = [Predictions.read(run.path / "folds" / fold / "test.parquet", run.record.classes) for fold in "1234"]
    assert run.test is not None
    mean = np.mean([part.aligned(run.test.ids) for part in parts], axis=0)
    np.testing.assert_array_equal(run.test.probabilities, mean)  # to the last bit


def test_folds_trained_in_another_order_give_the_same_bits(workspace: Workspace, recipe: Recipe) -> None:
    def content(run: Run) -> list[bytes]:
        return [(run.path / f"{part}.parquet").read_bytes() for part in ("oof", "test")]

    expected = content(run_recipe(workspace, recipe)[0])
    run_recipe(workspace, recipe, folds=["4", "2"], fresh=True)
    assert content(run_recipe(workspace, recipe, folds=["3", "1"])[0]) == expected
