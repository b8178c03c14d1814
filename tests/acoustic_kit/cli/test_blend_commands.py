"""`akit runs import`, `akit blend`, `akit submission` and `akit submit`, from the command line."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from acoustic_kit.blending import METHODS
from acoustic_kit.cli.app import app
from acoustic_kit.cli.blend import BLEND_METHODS
from acoustic_kit.workspace.workspace import Workspace


def akit(workspace: Workspace, *arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["-C", str(workspace.root), *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def write_predictions(workspace: Workspace, split: str, path: Path, skill: float, seed: int) -> Path:
    """Return probabilities that favor the true class (for test clips: no class)."""
    rows = workspace.manifest.filter(pl.col("split") == split)
    classes = list(workspace.config.classes)
    logits = np.random.default_rng(seed).standard_normal((len(rows), len(classes)))
    if split == "train":
        logits[range(len(rows)), [classes.index(labels[0]) for labels in rows["label"].to_list()]] += skill
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    pl.DataFrame({"id": rows["id"], **{name: p[:, i] for i, name in enumerate(classes)}}).write_csv(path)
    return path


@pytest.fixture
def runs(workspace: Workspace, tmp_path: Path) -> list[str]:
    """Return three imported runs, the best first."""
    names = []
    for number, skill in enumerate((3.0, 2.0, 0.0)):
        test = write_predictions(workspace, "test", tmp_path / "test.csv", skill, number)
        oof = write_predictions(workspace, "train", tmp_path / "oof.csv", skill, 10 + number)
        said = akit(workspace, "runs", "import", test, "--oof", oof, "--name", f"model{number}").stderr
        names.append(said.split()[1].rstrip(":"))
    return names


def test_imported_runs_stand_on_the_leaderboard(workspace: Workspace, runs: list[str]) -> None:
    board = json.loads(akit(workspace, "runs", "list", "--json").stdout)
    assert [row["run"] for row in board] == runs
    assert all(row["imported"] and row["complete"] for row in board)
    assert "imported" in akit(workspace, "runs", "list").stdout
    assert "sha256" in akit(workspace, "runs", "show", runs[0]).stdout
    akit(workspace, "runs", "rm", runs[2])
    assert len(json.loads(akit(workspace, "runs", "list", "--json").stdout)) == 2


def test_several_files_are_several_runs(workspace: Workspace, tmp_path: Path) -> None:
    files = [write_predictions(workspace, "test", tmp_path / f"{name}.csv", 0, i) for i, name in enumerate("ab")]
    assert akit(workspace, "runs", "import", *files).stderr.count("only by name") == 2
    assert "--oof" in akit(workspace, "runs", "import", *files, "--oof", files[0], code=2).stderr


def test_a_blend_prints_its_scores(workspace: Workspace, runs: list[str]) -> None:
    said = akit(workspace, "blend", "--top", 2, "--name", "first").stdout
    for text in (
        "best single run",
        "mean of all",
        "nested estimate",
        "auto averages mean",
        "departs from the mean for odds above",
        "beyond noise",
        runs[0],
        runs[1],
    ):
        assert text in said
    assert runs[2] not in said
    akit(workspace, "blend", "--method", "greedy", "--decision", "tuned", "--name", "second")
    akit(workspace, "blend", "--top", 2, "--diverse", "--method", "mean", "--name", "third")
    assert "--decision tuned changes nothing" in akit(workspace, "blend", "--decision", "tuned", "--name", "x").stderr


def test_blends_by_fold_need_fold_models(workspace: Workspace, runs: list[str]) -> None:
    assert "None of these runs has fold models" in akit(workspace, "blend", "--by", "fold", code=1).stderr
    akit(workspace, "recipe", "run", "stats_pca_linear")
    said = akit(workspace, "blend", "--by", "fold", "--top", 2, "--name", "folds")
    assert "has no fold models" in said.stderr
    assert said.stdout.count("stats_pca_linear-") == 2
    assert "No estimate" in said.stdout


def test_a_submission_is_written_again_from_its_record(workspace: Workspace, runs: list[str]) -> None:
    akit(workspace, "blend", "--name", "first")
    folder = workspace.submissions_path
    said = akit(workspace, "blend", "--from", folder / "first.json", "--name", "again").stdout
    assert "the same bytes" in said
    assert (folder / "again.csv").read_bytes() == (folder / "first.csv").read_bytes()


def test_public_scores_are_listed_beside_own_scores(workspace: Workspace, runs: list[str]) -> None:
    assert "No submissions yet" in akit(workspace, "submission", "list").stderr
    akit(workspace, "blend", "--name", "first")
    akit(workspace, "submission", "note", "first.csv", "--public", 0.5, "rank 3 of 9")
    akit(workspace, "blend", "--name", "second")
    first, second = json.loads(akit(workspace, "submission", "list", "--json").stdout)
    assert (first["name"], first["public"], first["note"]) == ("first", 0.5, "rank 3 of 9")
    assert (second["name"], second["public"]) == ("second", None)
    table = akit(workspace, "submission", "list").stdout
    apart = 0.5 - first["scores"]["nested"]
    for text in ("0.5000", f"{first['scores']['nested']:.4f}", f"{apart:+.4f}", "rank 3 of 9"):
        assert text in table
    akit(workspace, "submission", "note", "first", "rank 2")  # leaves the score
    assert json.loads(akit(workspace, "submission", "list", "--json").stdout)[0]["public"] == 0.5
    (workspace.submissions_path / "second.json").write_text("{")
    assert "second.json" in akit(workspace, "submission", "list").stderr


def test_a_public_score_is_of_the_metrics_range(workspace: Workspace, runs: list[str]) -> None:
    akit(workspace, "blend", "--name", "first")
    for public in ("87.1", "-0.1", "1.01"):
        said = akit(workspace, "submission", "note", "first", f"--public={public}", code=2).stderr
        assert public in said
    assert "0.871" in akit(workspace, "submission", "note", "first", "--public", "87.1", code=2).stderr
    assert json.loads(akit(workspace, "submission", "list", "--json").stdout)[0]["public"] is None
    akit(workspace, "blend", "--name", "percent", "--metric", "100*accuracy")
    akit(workspace, "submission", "note", "percent", "--public", "87.1")


def test_imports_of_some_clips_have_no_rank_beside_others(
    workspace: Workspace, runs: list[str], tmp_path: Path
) -> None:
    some = pl.read_csv(write_predictions(workspace, "train", tmp_path / "some.csv", 9.0, 5)).head(7)
    some.write_csv(tmp_path / "some.csv")
    n = len(workspace.clip_ids("train"))
    assert f"7 of {n}" in akit(workspace, "runs", "import", "--oof", tmp_path / "some.csv").stderr
    lines = akit(workspace, "runs", "list").stdout.splitlines()
    (row,) = [line for line in lines if "some-" in line]
    assert f"7/{n} clips" in row
    assert row.strip().startswith("some-")  # no rank
    board = json.loads(akit(workspace, "runs", "list", "--json").stdout)
    assert (board[-1]["clips"], board[-1]["training_clips"], board[-1]["complete"]) == (7, n, False)
    assert not any("some-" in line for line in lines if line.startswith("Best together"))


def test_a_blend_without_a_submission_fails_and_says_why_last(
    workspace: Workspace, runs: list[str], tmp_path: Path
) -> None:
    oof = write_predictions(workspace, "train", tmp_path / "o.csv", 3.0, 7)
    name = akit(workspace, "runs", "import", "--oof", oof).stderr.split()[1].rstrip(":")
    result = akit(workspace, "blend", "--runs", name, code=1)
    assert "nested estimate" in result.stdout
    assert "No submission was written" in result.output.strip().splitlines()[-1]
    assert name in result.output.strip().splitlines()[-1]
    assert not list(workspace.submissions_path.glob("*"))


@pytest.mark.parametrize("arguments", [["first"], ["first", "--public", "nan"], ["none", "text"]])
def test_notes_need_something_to_note(workspace: Workspace, runs: list[str], arguments: list[str]) -> None:
    akit(workspace, "blend", "--name", "first")
    akit(workspace, "submission", "note", *arguments, code=2)


def test_submitting_needs_the_kaggle_command(
    workspace: Workspace, runs: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    akit(workspace, "blend", "--name", "first")
    monkeypatch.setenv("PATH", str(tmp_path))
    path = workspace.submissions_path / "first.csv"
    assert "pip install kaggle" in akit(workspace, "submit", path, "-m", "mine", code=1).stderr
    command = tmp_path / "kaggle"
    command.write_text("#!/bin/sh\necho Successfully submitted to a competition\n")
    command.chmod(0o755)
    assert "submitted" in akit(workspace, "submit", path, "-m", "mine").stdout
    assert len(json.loads(path.with_suffix(".json").read_text())["submitted"]) == 1


def test_the_help_names_every_method() -> None:
    assert tuple(METHODS) == BLEND_METHODS  # written out there, as help must not wait for what the methods need


MISSES = """
greater_is_better = False

def score(targets, probabilities):
    return (probabilities.argmax(axis=1) != targets).mean()
"""


def test_a_metric_of_ones_own_is_used_by_name_in_every_command(workspace: Workspace, runs: list[str]) -> None:
    own = workspace.root / "metrics" / "misses.py"
    own.parent.mkdir()
    own.write_text(MISSES)
    by_accuracy = json.loads(akit(workspace, "runs", "list", "--json", "--metric", "accuracy").stdout)
    board = json.loads(akit(workspace, "runs", "list", "--json", "--metric", "misses").stdout)
    assert [row["run"] for row in board] == runs
    assert [row["score"] for row in board] == pytest.approx([1 - row["score"] for row in by_accuracy])
    assert all(row["interval"][0] <= row["score"] <= row["interval"][1] for row in board)

    said = akit(workspace, "blend", "--metric", "0.5*misses+0.5*log_loss", "--name", "sum").stdout
    assert "0.5*misses+0.5*log_loss" in said
    config = workspace.root / "akit.toml"
    config.write_text(config.read_text().replace('metric = "f1"', 'metric = "misses"'))
    akit(workspace, "blend", "--top", 1, "--name", "own")
    record = json.loads((workspace.submissions_path / "own.json").read_text())
    assert (record["metric"], [run["name"] for run in record["runs"]]) == ("misses", runs[:1])
    submission = workspace.submissions_path / "own.csv"
    akit(workspace, "submission", "check", submission)
    akit(workspace, "submission", "note", "own", "--public", -3)
    scores = json.loads(akit(workspace, "score", submission, "--json").stdout)
    assert scores["misses"] == pytest.approx(1 - scores["accuracy"])
    akit(workspace, "report", "--out", workspace.root / "report.html")
    assert "Ranked by misses" in (workspace.root / "report.html").read_text()
    akit(workspace, "blend", "--from", workspace.submissions_path / "own.json")

    own.write_text(MISSES.replace("targets).mean()", "targets).men()"))
    said = akit(workspace, "runs", "list", code=1).stderr
    assert f"{own}, line 5: AttributeError" in said
    own.unlink()
    assert "unknown metric 'misses'" in akit(workspace, "runs", "list", code=1).stderr
