"""Scores of submissions, and their upload with a `kaggle` command that the test writes."""

import datetime
import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from acoustic_kit.ensemble.competition import check, score_predictions, submit
from acoustic_kit.ensemble.run_blend import blend_runs
from acoustic_kit.errors import AkitError
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace


@pytest.fixture
def first(workspace: Workspace) -> Path:
    run_recipe(workspace, load_recipe("stats_pca_linear"))
    path = blend_runs(workspace, name="first").submission
    assert path is not None
    return path


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `kaggle` command that writes down how it submits, says `KAGGLE_SAYS` and ends with `KAGGLE_CODE`; that file.

    Its list of submissions is `KAGGLE_LIST`.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    said = tmp_path / "said"
    command = folder / "kaggle"
    command.write_text(
        "#!/bin/sh\n"
        'if [ "$2" = submissions ]; then printf "%s\\n" "$KAGGLE_LIST"; exit; fi\n'
        f'printf "%s\\n" "$@" > {said}\necho "${{KAGGLE_SAYS-Successfully submitted}}"\nexit ${{KAGGLE_CODE:-0}}\n'
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("acoustic_kit.submission.kaggle.LOOKUP_DELAYS", (0.0, 0.0))
    return said


def test_score_opens_the_truth(workspace: Workspace, first: Path) -> None:
    truth = dict(pl.read_parquet(workspace.truth_path).iter_rows())
    table = dict(pl.read_csv(first).iter_rows())
    expected = np.mean([table[id] == labels[0] for id, labels in truth.items()])
    assert score_predictions(workspace, first)["accuracy"] == pytest.approx(expected)
    workspace.truth_path.unlink()
    with pytest.raises(AkitError, match="--test-folds"):
        score_predictions(workspace, first)


def test_a_checked_file_goes_to_kaggle(workspace: Workspace, first: Path, kaggle: Path) -> None:
    assert submit(workspace, first, "-mean of one", "freesound").said == "Successfully submitted"
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
    with pytest.raises(AkitError, match=r"exit code 3: Successfully"):
        submit(workspace, first, "m")
    assert json.loads(first.with_suffix(".json").read_text())["submitted"] == []


def test_without_kaggle_it_says_how_to_get_it(
    workspace: Workspace, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AkitError, match="pip install kaggle"):
        submit(workspace, first, "m")


@pytest.mark.parametrize(
    "said",
    [
        "Could not find competition - please verify that you entered the correct competition ID",
        "Could not submit to competition",
        "403 - Forbidden - Permission 'competitions.participate' was denied",
        "403 - You cannot submit until you accept the competition rules",
        "401 - Unauthorized",
        "400 - Bad Request",
        "Your team has used its daily submission limit of 5",
        "The deadline has passed",
        "Upload unsuccessful: first.csv",
        "",
        "Something that no version has said yet",
    ],
)
def test_a_refusal_with_exit_code_0_is_no_submission(
    workspace: Workspace, first: Path, kaggle: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv("KAGGLE_SAYS", said)
    with pytest.raises(AkitError, match=said or "none"):
        submit(workspace, first, "m")
    assert json.loads(first.with_suffix(".json").read_text())["submitted"] == []


def listing(*rows: str) -> str:
    return "\n".join(["Warning: outdated", "ref,fileName,date,description,status,publicScore,privateScore", *rows])


@pytest.mark.parametrize("said", ["Successfully submitted", "Vielen Dank"])
def test_the_list_of_submissions_confirms_and_has_the_score(
    workspace: Workspace, first: Path, kaggle: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    monkeypatch.setenv("KAGGLE_SAYS", said)
    row = f"2,first.csv,{now},m,SubmissionStatus.COMPLETE,0.75,"
    monkeypatch.setenv("KAGGLE_LIST", listing(row, "1,first.csv,2020-01-01 00:00:00,m,complete,0.5,"))
    done = submit(workspace, first, "m")
    assert (done.status, done.public) == ("complete", 0.75)
    record = json.loads(first.with_suffix(".json").read_text())
    assert (len(record["submitted"]), record["public"]) == (1, 0.75)


def test_an_older_entry_of_the_list_confirms_nothing(
    workspace: Workspace, first: Path, kaggle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_SAYS", "?")
    monkeypatch.setenv("KAGGLE_LIST", listing("1,first.csv,2020-01-01 00:00:00,m,complete,0.5,"))
    with pytest.raises(AkitError, match="Nothing shows"):
        submit(workspace, first, "m")


def test_rows_in_another_order_are_a_warning_and_are_submitted(workspace: Workspace, first: Path, kaggle: Path) -> None:
    header, *rows = first.read_text().splitlines(keepends=True)
    first.write_text("".join([header, *reversed(rows)]))
    found = check(workspace, first)
    assert [problem.harmless for problem in found] == [True]
    submit(workspace, first, "m")
    assert kaggle.exists()
