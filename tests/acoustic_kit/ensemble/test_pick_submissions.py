"""Submissions of a workspace are compared, and chosen."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import acoustic_kit as akit
from acoustic_kit.cli.app import app
from acoustic_kit.ensemble.pick_submissions import pick_submissions
from acoustic_kit.ensemble.run_blend import blend_runs
from acoustic_kit.errors import SubmissionError, UsageError
from acoustic_kit.runs.imported import import_run
from acoustic_kit.submission.record import annotate, read_record
from acoustic_kit.workspace.workspace import Workspace

SKILLS = {"strong": 2.2, "twin": 2.2, "other": 2.0, "weak": 0.2}


@pytest.fixture
def submissions(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A workspace with submissions of one run each; on training clips, the best two are nearly equal."""
    classes, names = list(workspace.config.classes), {}
    for seed, (name, skill) in enumerate(SKILLS.items()):
        files = []
        for split in ("test", "train"):
            rows = workspace.manifest.filter(pl.col("split") == split)
            rng = np.random.default_rng(0 if (name, split) == ("twin", "train") else seed)
            logits = rng.standard_normal((len(rows), len(classes)))
            if split == "train":
                logits[range(len(rows)), [classes.index(labels[0]) for labels in rows["label"]]] += skill
            if name == "twin":
                logits += 0.05 * np.random.default_rng(9).standard_normal(logits.shape)
            p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            files.append(tmp_path / f"{split}.parquet")
            pl.DataFrame({"id": rows["id"], **dict(zip(classes, p.T, strict=True))}).write_parquet(files[-1])
        names[name] = import_run(workspace, *files, name=name).name
    for name, run in names.items():
        blend_runs(workspace, runs=[run], name=name)
    return workspace


def command(workspace: Workspace, *arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["-C", str(workspace.root), "submission", "pick", *arguments])
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


def test_a_pair_of_submissions_that_differ_is_chosen(submissions: Workspace) -> None:
    found = pick_submissions(submissions)
    assert len(found.names) == 2
    assert set(found.names) != {"strong", "twin"}
    assert "weak" not in found.names
    assert {one.name for one in found.submissions if one.chosen} == set(found.names)
    assert found.expected >= found.expected_by_nested
    assert found.interval[0] < found.expected < found.interval[1]
    assert found.agreement is None
    assert (found.clips.validation, found.clips.public, found.clips.private) == (48, 4, 8)
    assert akit.open_workspace(submissions.root, progress=False).submissions.pick(2) == found


def test_public_scores_are_compared_with_validation(submissions: Workspace) -> None:
    folder = submissions.submissions_path
    for name in SKILLS:
        scores = read_record(folder / f"{name}.json").scores
        assert scores is not None
        assert scores.nested is not None
        annotate(folder, name, public=scores.nested - 0.1)
    found = pick_submissions(submissions, test_clips=1000, public_fraction=0.5)
    assert found.agreement is not None
    assert found.agreement.correlation == pytest.approx(1)
    assert found.shift == pytest.approx(-0.1, abs=0.03)
    assert found.clips.public == found.clips.private == 500
    document = json.loads(command(submissions, "2", "--test-clips", "1000", "--public-fraction", "0.5", "--json"))
    assert document["names"] == list(found.names)
    assert document["agreement"]["verdict"] == found.agreement.verdict
    table = command(submissions)
    assert all(name in table for name in SKILLS)
    assert f"{found.agreement.correlation:.2f}" in table


def test_a_metric_that_is_better_if_lower_is_turned_around(submissions: Workspace) -> None:
    config = submissions.root / "akit.toml"
    config.write_text(config.read_text().replace('metric = "f1"', 'metric = "log_loss"'))
    workspace = Workspace.find(submissions.root)
    with pytest.raises(SubmissionError, match="was blended for f1, not log_loss"):
        pick_submissions(workspace)
    for name in SKILLS:
        (run,) = workspace.runs_path.glob(f"{name}-*")
        blend_runs(workspace, runs=[run.name], name=name, overwrite=True)
        scores = read_record(workspace.submissions_path / f"{name}.json").scores
        assert scores is not None
        annotate(workspace.submissions_path, name, public=(scores.nested or 0) + 0.2)
    found = pick_submissions(workspace)
    assert "weak" not in found.names
    assert found.submissions[-1].name == "weak"
    assert found.submissions[-1].private > found.submissions[0].private > 0
    assert found.expected < min(one.private for one in found.submissions)
    assert found.shift == pytest.approx(0.2, abs=0.1)


def test_what_cannot_be_compared_is_named(submissions: Workspace) -> None:
    folder = submissions.submissions_path
    for kind in ("csv", "json"):
        shutil.copy(folder / f"strong.{kind}", folder / f"copy.{kind}")
    blend_runs(submissions, runs=[next(submissions.runs_path.glob("weak-*")).name], name="map", metric="map3")
    (gone,) = submissions.runs_path.glob("twin-*")
    shutil.rmtree(gone)
    (folder / "damaged.json").write_text("{")
    document = json.loads((folder / "weak.json").read_text())
    document["blend"] |= {"weights": [0.5, 0.5], "members": [0, 1]}
    (folder / "weak.json").write_text(json.dumps(document))
    unreadable: list[str] = []
    found = pick_submissions(submissions, on_unreadable=unreadable.append)
    assert found.left_out.keys() - {"copy", "strong"} == {"map", "twin", "weak"}
    assert len(found.submissions) == 2
    assert "1 of 2" in found.left_out["weak"]
    assert gone.name in found.left_out["twin"]
    assert "map3" in found.left_out["map"]
    assert "damaged.json" in unreadable[0]
    with pytest.raises(SubmissionError, match=f"3 submissions.*, and 2.*{gone.name}"):
        pick_submissions(submissions, 3)


def test_too_few_submissions_and_impossible_options(workspace: Workspace) -> None:
    said = command(workspace, code=1)
    assert "2 submissions are asked for, and 0" in said
    assert "akit blend" in said
    for arguments in (["0"], ["--public-fraction", "1"], ["--public-fraction", "30"], ["--test-clips", "1"]):
        assert arguments[-1] in command(workspace, *arguments, code=2)
    with pytest.raises(UsageError):
        pick_submissions(workspace, public_fraction=float("nan"))
