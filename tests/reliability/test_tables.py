"""Tables as spreadsheets leave them, on the way through all commands; and a class that a fold cannot learn."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from acoustic_kit.cli.app import app
from acoustic_kit.device import Compute
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace


def akit(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 1, result.stderr
    assert "defect" not in result.stderr
    return result.stderr


def spreadsheet(path: Path, text: str) -> Path:
    """Write a table as a spreadsheet would: a byte-order mark, semicolons, and lines that end with CR LF."""
    path.write_bytes(b"\xef\xbb\xbf" + text.replace(",", ";").replace("\n", "\r\n").encode())
    return path


@pytest.fixture
def competition(synthetic: Path, tmp_path: Path) -> Path:
    """The synthetic clips as a competition: train.csv, sample_submission.csv and audio/, all from a spreadsheet."""
    data = tmp_path / "data"
    shutil.copytree(synthetic / "audio", data / "audio")
    rows = pl.read_csv(synthetic / "meta" / "esc50.csv").select("filename", "category", "fold").rows()
    train = "".join(f"{name},{label}\n" for name, label, fold in rows if fold < 5)
    spreadsheet(data / "train.csv", "fname,label\n" + train)
    test = "".join(f"{name},{rows[0][1]}\n" for name, _, fold in rows if fold == 5)
    spreadsheet(data / "sample_submission.csv", "fname,label\n" + test)
    return data


def test_spreadsheets_go_all_the_way(competition: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    akit("init", work, "--data", competition, "--n-folds", "3")
    akit("-C", work, "recipe", "run", "stats_pca_linear", "--workers", "0", "--set", "sample_rate=8000")
    akit("-C", work, "blend", "--name", "first", "--method", "mean")
    submission = work / "submissions" / "first.csv"
    assert "is acceptable" in akit("-C", work, "submission", "check", submission)
    spreadsheet(submission, submission.read_text("utf-8-sig").replace(";", ",").replace("\r\n", "\n"))
    assert "is acceptable" in akit("-C", work, "submission", "check", submission)

    run = Workspace.find(work).runs_path.glob("*/test.parquet")
    predictions = spreadsheet(tmp_path / "elsewhere.csv", pl.read_parquet(next(run)).write_csv())
    akit("-C", work, "runs", "import", predictions)
    assert [r["imported"] for r in json.loads(akit("-C", work, "runs", "list", "--json"))] == [False, True]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"\r\n", b"\r\n\xff\xfe;dog\r\n", "UTF-8"),
        (b"fname;label", b"fname;label;label", "two columns|cells"),
        (b"fname;label", b"fname", "which column is the label"),
        (b"fname;label", b"a;b", "which column is the"),
    ],
)
def test_what_is_wrong_with_a_spreadsheet_is_told(
    competition: Path, tmp_path: Path, old: bytes, new: bytes, says: str
) -> None:
    path = competition / "train.csv"
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    message = refused("init", tmp_path / "work", "--data", competition)
    assert "train.csv" in message
    assert re.search(says, message)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("name", ["stats_pca_linear", pytest.param("tiny_resnet_transformer", marks=pytest.mark.slow)])
def test_class_of_one_clip_is_predicted_though_not_trained(synthetic: Path, tmp_path: Path, name: str) -> None:
    data = shutil.copytree(synthetic, tmp_path / "data")
    table = data / "meta" / "esc50.csv"
    head, first, *rest = table.read_text().splitlines()
    cells = dict(zip(head.split(","), first.split(","), strict=True)) | {"category": "whale", "target": "77"}
    table.write_text("\n".join([head, ",".join(cells.values()), *rest]) + "\n")
    workspace, recipe = init_workspace(tmp_path / "work", data), load_recipe(name)
    odd = json.loads(akit("-C", workspace.root, "data", "inspect", "--json"))["problems"]
    assert any("whale" in line for line in odd)
    run, _ = run_recipe(workspace, recipe, recipe.settings(fast=True), folds=[cells["fold"]], compute=Compute("cpu"))
    assert run.oof is not None
    assert run.oof.probabilities.shape == (12, 4)  # the fold in which it lies, trained without it
    assert np.isfinite(run.oof.probabilities).all()
    assert all(np.isfinite(value) for value in run.record.metrics.values())
