"""Runs on disk: predictions, names, copies and deletion."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.files import locked
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.recipe.recipe import Recipe
from acoustic_kit.runs.run import FoldRecord, Run, RunRecord, find_run, list_runs, open_run, remove_run
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace

ROWS = np.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])


@pytest.mark.parametrize(
    ("wanted", "known", "rows"),
    [
        (["a", "b", "c"], [True, True, True], [0, 1, 2]),
        (["c", "a", "b"], [True, True, True], [2, 0, 1]),
        (["b", "nobody", "a"], [True, False, True], [1, 0]),
        (["a", "b"], [True, True], [0, 1]),
        (["nobody"], [False], []),
        ([], [], []),
    ],
)
def test_predictions_are_found_by_id(wanted: list[str], known: list[bool], rows: list[int]) -> None:
    found, probabilities = Predictions(("a", "b", "c"), ROWS).found(wanted)
    assert found.tolist() == known
    np.testing.assert_array_equal(probabilities, ROWS[rows])


def a_run(folder: Path, name: str = "r-1") -> Run:
    """An imported run without predictions."""
    record = RunRecord(
        name=name, recipe="r", title="", settings={}, changed={}, seed=0, fast=False, full=False, note="",
        task="single", classes=["a", "b"], features={}, folds=[], imported={"x.csv": ""}, versions={}, akit="0",
        created="",
    )  # fmt: skip
    return Run(folder, record).with_record()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_predictions_are_read_only_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "oof.parquet"
    digest = Predictions(("a", "b", "c"), ROWS).write(path, ["x", "y"])
    np.testing.assert_array_equal(Predictions.read(path, ["y", "x"], digest).probabilities, ROWS[:, ::-1])
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        with pytest.raises(AkitError, match=r"oof\.parquet cannot be read as predictions"):
            Predictions.read(path, ["x", "y"], digest)


@pytest.mark.parametrize("value", [1e300, 1.01, -0.01, np.nan, np.inf])
def test_values_that_are_no_probabilities_are_refused(tmp_path: Path, value: float) -> None:
    path = tmp_path / "oof.parquet"
    Predictions(("a", "b"), np.array([[0.5, 0.5], [value, 0.5]])).write(path, ["x", "y"])
    with pytest.raises(AkitError, match=r"oof\.parquet contains values that are not probabilities"):
        Predictions.read(path, ["x", "y"])


def test_a_copy_of_a_run_is_left_out_and_named(runs: Path) -> None:
    said: dict[str, str] = {}
    a_run(runs / "r-1")
    for copy in ("a-backup", "r-1-backup"):
        shutil.copytree(runs / "r-1", runs / copy)
    assert [run.name for run in list_runs(runs, lambda name, why: said.update({name: str(why)}))] == ["r-1"]
    assert set(said) == {"a-backup", "r-1-backup"}
    assert all("copy of r-1" in why for why in said.values())
    assert find_run(runs, "r-").name == "r-1"
    assert find_run(runs, "a-backup").name == "a-backup"


def test_a_renamed_run_has_its_folders_name(runs: Path) -> None:
    a_run(runs / "r-1").path.rename(runs / "best")
    (run,) = list_runs(runs)
    assert run.name == open_run(find_run(runs, "best")).name == "best"


@pytest.mark.parametrize("name", ["x\x1b]0;owned\x07", "../../x", "a\nb", "", "a/b", ".x", "a\n"])
def test_a_record_with_no_name_of_a_run_is_unreadable(runs: Path, name: str) -> None:
    path = a_run(runs / "r-1").path / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": name}))
    said: list[str] = []
    assert list_runs(runs, lambda name, _: said.append(name)) == []
    assert said == ["r-1"]


def test_a_folder_with_no_name_of_a_run_is_left_out(runs: Path) -> None:
    a_run(runs / "a\x1b]0;owned\x07")
    said: list[str] = []
    assert list_runs(runs, lambda _, why: said.append(str(why))) == []
    assert "\x1b" not in said[0]


def test_a_deletion_that_is_cut_short_leaves_no_half_run(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run(runs / "r-1")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # killed before anything was deleted
        remove_run(runs / "r-1")
    assert list_runs(runs) == []
    assert any(runs.iterdir())
    a_run(runs / "r-2", "r-2")
    remove_run(runs / "r-2")
    assert not any(runs.iterdir())


def test_half_a_run_can_be_deleted(runs: Path) -> None:
    (runs / "half-1" / "folds").mkdir(parents=True)
    with pytest.raises(UsageError, match="half-1"):
        find_run(runs, "half-1")
    remove_run(find_run(runs, "half-1", whole=False))
    assert not any(runs.iterdir())


def test_a_run_in_training_is_not_deleted(runs: Path) -> None:
    run = a_run(runs / "r-1")
    with locked(run.path), pytest.raises(AkitError, match="r-1 is being trained"):
        remove_run(run.path)
    assert list_runs(runs)


def test_bias_warnings_keep_their_stored_name() -> None:
    stored = '{"seconds": 1, "trained_on": 2, "without_features": [], "optimistic": ["chosen on it"]}'
    record = FoldRecord.model_validate_json(stored)
    assert record.bias_warnings == ["chosen on it"]
    assert json.loads(record.to_json())["optimistic"] == ["chosen on it"]


def test_runs_are_found_by_the_ends_of_their_names(workspace: Workspace, recipe: Recipe) -> None:
    run, _ = run_recipe(workspace, recipe, folds=["1"])
    other, _ = run_recipe(workspace, recipe, folds=["1"], seed=1)
    assert find_run(workspace.runs_path, run.name[-8:]) == run.path
    with pytest.raises(UsageError, match="Several runs match"):
        find_run(workspace.runs_path, "diary")
    remove_run(other.path)
    assert find_run(workspace.runs_path, "diary") == run.path
    with pytest.raises(UsageError, match="no run"):
        find_run(workspace.runs_path, "../escape")


def test_a_damaged_record_is_named(workspace: Workspace, recipe: Recipe) -> None:
    run, _ = run_recipe(workspace, recipe, folds=["1"])
    (run.path / "run.json").write_text("{")
    heard: dict[str, AkitError] = {}
    assert list_runs(workspace.runs_path, heard.__setitem__) == []
    assert "run.json is damaged" in str(heard[run.name])
    with pytest.raises(AkitError, match="akit runs rm"):
        open_run(run.path)
    remove_run(find_run(workspace.runs_path, run.name))
    assert not run.path.exists()
