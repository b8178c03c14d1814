"""Rounds of pseudo-labels, from Python and on the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import acoustic_kit as akit
from acoustic_kit.cli import app
from acoustic_kit.metrics import score
from acoustic_kit.runs.run import list_runs
from acoustic_kit.workspace.workspace import Workspace


def command(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def test_each_round_teaches_the_next_until_one_gains_nothing(workspace: Workspace) -> None:
    root = workspace.root
    command("-C", root, "recipe", "run", "stats_pca_linear")
    teacher = list_runs(workspace.runs_path)[0].name
    line = ("-C", root, "pseudo", "stats_pca_linear", "--teacher", teacher, "--rounds", "3", "--set", "pseudo.power=2")
    found = json.loads(command(*line, "--json").stdout)
    runs = {run.name: run for run in list_runs(workspace.runs_path)}
    assert [one["round"] for one in found] == list(range(1, len(found) + 1))
    assert len(found) == 3 or found[-1]["gain"] <= 0
    assert all(one["gain"] > 0 for one in found[1:-1])
    teachers = [runs[one["run"]].record.pseudo.teacher for one in found]
    assert teachers == [teacher, *(one["run"] for one in found[:-1])]
    assert [runs[one["run"]].record.pseudo.round for one in found] == [one["round"] for one in found]
    train = workspace.training_set
    before, after = (runs[one["run"]].oof.aligned(train.ids) for one in found[:2])
    assert found[1]["gain"] == pytest.approx(score("f1", train.targets, after) - score("f1", train.targets, before))
    assert found[1]["changed"] == pytest.approx(np.mean(before.argmax(axis=1) != after.argmax(axis=1)))
    assert found[0]["gain"] is None
    low, high = found[1]["gain_interval"]
    assert low <= found[1]["gain"] <= high
    assert found[0]["run"] in command(*line).stdout
    assert len(list_runs(workspace.runs_path)) == len(runs)


def test_python_takes_runs_and_blends(workspace: Workspace) -> None:
    ws = akit.open_workspace(workspace.root, progress=False)
    teacher = ws.run("stats_pca_linear")
    other = ws.run("stats_pca_linear", C=0.01)
    taught = ws.run("stats_pca_linear", pseudo=teacher, settings={"pseudo.weight": 0.5})
    assert taught.stored.record.pseudo.settings.weight == 0.5
    blend = ws.blend(runs=[teacher, other], method="mean")
    (only,) = ws.pseudo("stats_pca_linear", blend, rounds=1)
    assert only.run.record.pseudo.runs == {teacher.name: 0.5, other.name: 0.5}
    assert taught.name in ws.leaderboard().filter(ws.leaderboard()["notes"].str.contains("round 1"))["run"].to_list()


def test_mistakes_exit_with_code_2(workspace: Workspace) -> None:
    root = workspace.root
    run = ("-C", root, "recipe", "run", "stats_pca_linear")
    assert "--pseudo" in command(*run, "--set", "pseudo.weight=2", code=2).output
    assert "nobody" in command(*run, "--pseudo", "nobody", code=2).output
    command("-C", root, "pseudo", "stats_pca_linear", "--teacher", "nobody", code=2)
