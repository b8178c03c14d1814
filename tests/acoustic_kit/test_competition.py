"""What the competition takes and says: score, and hand-in through a `kaggle` command that the test writes."""

import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from acoustic_kit.competition import score_against_truth, submit
from acoustic_kit.ensemble import blend_runs
from acoustic_kit.errors import AkitError
from acoustic_kit.recipe import load_recipe
from acoustic_kit.runner import run_recipe
from acoustic_kit.workspace import Workspace


@pytest.fixture
def first(workspace: Workspace) -> Path:
    run_recipe(workspace, load_recipe("stats_pca_linear"))
    path = blend_runs(workspace, name="first").submission
    assert path is not None
    return path


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `kaggle` command that writes down its arguments and ends with the code in `KAGGLE_CODE`; that file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    said = tmp_path / "said"
    command = folder / "kaggle"
    command.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {said}\necho Successfully submitted\nexit ${{KAGGLE_CODE:-0}}\n'
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return said


def test_score_opens_the_truth(workspace: Workspace, first: Path) -> None:
    truth = dict(pl.read_parquet(workspace.truth_path).iter_rows())
    table = dict(pl.read_csv(first).iter_rows())
    expected = np.mean([table[id] == labels[0] for id, labels in truth.items()])
    assert score_against_truth(workspace, first)["accuracy"] == pytest.approx(expected)
    workspace.truth_path.unlink()
    with pytest.raises(AkitError, match="--test-folds"):
        score_against_truth(workspace, first)


def test_a_checked_file_goes_to_kaggle(workspace: Workspace, first: Path, kaggle: Path) -> None:
    assert submit(workspace, first, "-mean of one", "freesound") == "Successfully submitted"
    assert kaggle.read_text().split("\n")[:-1] == [
        "competitions",
        "submit",
        "freesound",
        f"--file={first}",
        "--message=-mean of one",
    ]
    assert len(json.loads(first.with_suffix(".json").read_text())["submitted"]) == 1


def test_the_workspace_names_the_competition(workspace: Workspace, first: Path, kaggle: Path) -> None:
    config = workspace.config.model_copy(update={"competition": "esc"})
    submit(Workspace(workspace.root, config), first, "m")
    assert kaggle.read_text().split("\n")[2] == "esc"


def test_a_file_that_would_be_refused_is_not_submitted(workspace: Workspace, first: Path, kaggle: Path) -> None:
    first.write_text(first.read_text().replace("\n", ",\n", 3))
    with pytest.raises(AkitError, match="was not submitted"):
        submit(workspace, first, "m")
    assert not kaggle.exists()


def test_what_kaggle_says_of_its_failure_is_shown(
    workspace: Workspace, first: Path, kaggle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_CODE", "3")
    with pytest.raises(AkitError, match=r"failed \(3\) and said: Successfully"):
        submit(workspace, first, "m")
    assert json.loads(first.with_suffix(".json").read_text())["submitted"] == []


def test_without_kaggle_it_says_how_to_get_it(
    workspace: Workspace, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AkitError, match="pip install kaggle"):
        submit(workspace, first, "m")
