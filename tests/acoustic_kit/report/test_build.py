"""Content of a report."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from acoustic_kit.ensemble.run_blend import blend_runs
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.metrics.scores import score
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.report import build_report
from acoustic_kit.report.page import render


def with_tests(competition: Any) -> None:
    """Add two test clips and predictions of every run for them, so that a blend writes a submission."""
    path = competition.workspace.manifest_path
    manifest = pl.read_parquet(path)
    tests = manifest.head(2).with_columns(
        id=pl.Series(["t1", "t2"]), split=pl.lit("test"), fold=None, label=pl.lit([], dtype=pl.List(pl.String))
    )
    pl.concat([manifest, tests.cast(dict(manifest.schema))]).write_parquet(path)
    for run in competition.workspace.runs_path.iterdir():
        Predictions(("t1", "t2"), np.full((2, len(competition.classes)), 1 / len(competition.classes))).write(
            run / "test.parquet", competition.classes
        )


def test_the_leaderboard_has_seeds_in_one_row_with_marks(competition: Any) -> None:
    competition.run("good-1", 4, setting="s", seed=0, changed={"lr": 0.1})
    competition.run("good-2", 3, setting="s", seed=1, changed={"lr": 0.1}, note="tried again")
    competition.run("flattered", 2, optimistic=["the best epoch was chosen on it"])
    competition.run("small", 1, fast=True, folds=["1"], clips=slice(0, 20))
    competition.run("all", oof=False, full=True, folds=["full"])
    competition.run("guest", 0, imported={"oof.csv": "0" * 64}, folds=[])
    report = build_report(competition.workspace)
    rows = {row.names[0]: row for row in report.rows}
    first = report.rows[0]
    assert set(first.names) == {"good-1", "good-2"}
    assert first.settings == ("lr=0.1", "seeds=0,1")
    assert first.notes == ("tried again",)
    assert first.interval is not None
    assert first.score is not None
    assert first.interval[0] < first.score < first.interval[1]
    assert first.spread is not None
    assert rows["flattered"].marks == ("optimistic",)
    assert rows["flattered"].notes == ("the best epoch was chosen on it",)
    assert set(rows["small"].marks) == {"fast", "part"}
    assert rows["all"].marks == ("full",)
    assert (rows["all"].score, rows["all"].interval) == (None, None)
    assert "no out-of-fold predictions" in rows["all"].notes[-1]
    assert rows["guest"].marks == ("imported",)
    assert rows["small"].seconds == 20
    assert report.folds == ("1", "2", "3")


def test_the_best_run_is_looked_into(competition: Any) -> None:
    run = competition.run("good", 3)
    competition.run("bad", 0)
    report = build_report(competition.workspace)
    (found,) = report.evaluations
    assert run.oof is not None
    probabilities = run.oof.aligned(competition.ids)
    assert (found.name, found.kind) == ("good", "run")
    assert found.score == score("accuracy", competition.targets, probabilities)
    assert found.confusion is not None
    assert found.confusion.counts.sum() == 60
    assert np.mean([one.f1 for one in found.classes]) == pytest.approx(score("f1", competition.targets, probabilities))
    assert report.mistakes is not None
    assert report.mistakes.n == (probabilities.argmax(axis=1) != competition.targets).sum()
    worst = report.mistakes.clips[0]
    place = competition.ids.index(worst.id)
    assert worst.true == (competition.classes[competition.targets[place]],)
    assert worst.predicted[0][0] != worst.true[0]
    assert worst.predicted[0][1] == pytest.approx(probabilities[place].max())
    assert worst.sound is not None
    assert 1 <= worst.wrong_runs <= worst.scored_runs == 2


def test_the_newest_blend_is_analyzed_from_its_record(competition: Any) -> None:
    runs = [competition.run(name, 2) for name in "abc"]
    with_tests(competition)
    result = blend_runs(competition.workspace, method="geometric", name="second")
    report = build_report(competition.workspace)
    assert [(one.name, one.kind) for one in report.evaluations] == [
        ("second", "blend"),
        (report.rows[0].names[0], "run"),
    ]
    oofs = np.stack([run.oof.aligned(competition.ids) for run in runs if run.oof])
    blended = np.exp(np.log(oofs).mean(axis=0))
    assert report.evaluations[0].score == score("accuracy", competition.targets, blended)
    assert report.evaluations[0].score == pytest.approx(result.blend.score)
    assert "optimistic" in report.evaluations[0].caveats[0]
    (shown,) = report.blends
    assert (shown.name, shown.runs, shown.nested) == ("second", 3, result.blend.nested_score)
    assert [weight.share for weight in shown.weights] == pytest.approx([1 / 3] * 3)
    assert {weight.name for weight in shown.weights} == {"a", "b", "c"}
    assert report.mistakes is not None
    assert report.mistakes.of == "second"


def test_scores_of_two_metrics_stand_in_two_tables(competition: Any) -> None:
    for name in "ab":
        competition.run(name, 2)
    with_tests(competition)
    for metric in ("accuracy", "map3"):
        blend_runs(competition.workspace, metric=metric, method="mean", name=f"by_{metric}")
    report = build_report(competition.workspace)
    own = {blend.metric: [weight.score for weight in blend.weights] for blend in report.blends}
    assert None not in own["accuracy"]
    assert own["map3"] == [None, None]  # the leaderboard's are accuracies
    page = render(report)
    tables = page.split('<section id="blends"')[1].split("</section>")[0].split("<table")[1:]
    assert [("by_accuracy" in table, "by_map3" in table) for table in tables] == [(True, False), (False, True)]
    assert "By accuracy" in page
    assert "By map3" in page


def test_rows_of_other_clips_have_no_rank(competition: Any) -> None:
    competition.run("all", 1)
    part = competition.run("part", 3)
    oof = pl.read_parquet(part.path / "oof.parquet").head(20)
    oof.write_parquet(part.path / "oof.parquet")
    record = json.loads((part.path / "run.json").read_text())
    (part.path / "run.json").write_text(json.dumps(record | {"folds": [], "imported": {"x.csv": "0"}}))
    rows = build_report(competition.workspace).rows
    assert [(row.names[0], row.rank) for row in rows] == [("all", 1), ("part", None)]
    assert rows[1].folds == "20/60 clips"


def test_a_blend_with_missing_runs_is_listed_but_not_analyzed(competition: Any) -> None:
    for name in "abc":
        competition.run(name, 2)
    with_tests(competition)
    path = blend_runs(competition.workspace, method="mean", name="x").submission
    assert path is not None
    (competition.workspace.runs_path / "b" / "run.json").unlink()
    (competition.workspace.runs_path / "b" / "oof.parquet").unlink()
    report = build_report(competition.workspace)
    assert [one.name for one in report.blends] == ["x"]
    assert [one.kind for one in report.evaluations] == ["run"]


@pytest.mark.parametrize("change", ["method", "weights", "torn"])
def test_an_edited_record_does_not_stop_the_report(competition: Any, change: str) -> None:
    competition.run("a", 2)
    competition.run("b", 2)
    with_tests(competition)
    csv = blend_runs(competition.workspace, method="mean", name="x").submission
    assert csv is not None
    path = csv.with_suffix(".json")
    document = json.loads(path.read_text())
    if change == "method":
        document["blend"]["method"] = "__import__('os')"
    elif change == "weights":
        document["blend"]["weights"] = [1.0]
        document["blend"]["members"] = [0]
    path.write_text("{" if change == "torn" else json.dumps(document))
    report = build_report(competition.workspace)
    assert [one.kind for one in report.evaluations] == ["run"]
    assert len(report.unreadable) == (change == "torn")


def test_names_choose_what_is_looked_into(competition: Any) -> None:
    for name in ("first-1", "second-2", "third-3"):
        competition.log(competition.run(name, 2))
    with_tests(competition)
    blend_runs(competition.workspace, method="mean", name="x")
    report = build_report(competition.workspace, ["third", "x", "first-1"])
    assert [(one.name, one.kind) for one in report.evaluations] == [
        ("third-3", "run"),
        ("x", "blend"),
        ("first-1", "run"),
    ]
    assert [one.run for one in report.trainings] == ["third-3", "first-1"]
    assert report.mistakes is not None
    assert report.mistakes.of == "third-3"
    with pytest.raises(UsageError, match="no run 'fourth'"):
        build_report(competition.workspace, ["fourth"])


def test_several_labels_a_clip(make_competition: Callable) -> None:
    competition = make_competition(task="multi", classes=["dog", "rain", "wind", "car"])
    competition.run("a", 2)
    competition.run("b", 4)
    report = build_report(competition.workspace)
    (found,) = report.evaluations
    assert found.confusion is None
    assert all(one.average_precision is not None for one in found.classes)
    assert report.mistakes is not None
    for clip in report.mistakes.clips:
        assert clip.wrong in competition.classes
        assert 0.5 <= clip.probability <= 1
    assert report.correlation is not None


def test_soft_and_unknown_targets(make_competition: Callable) -> None:
    """Unknown targets are counted and are nobody's mistakes."""
    competition = make_competition(task="multi", classes=["dog", "rain", "wind", "car"])
    competition.run("a", 2)
    manifest = competition.workspace.manifest
    soft = [[{"label": "car", "target": None}]] * 20 + [[{"label": "dog", "target": 0.4}]] * 10 + [None] * 30
    label = [[name for name in labels if i < 20 or name != "dog"] for i, labels in enumerate(manifest["label"])]
    manifest.with_columns(
        label=pl.Series(label, dtype=manifest.schema["label"]),
        soft=pl.Series(soft, dtype=manifest.schema["soft"]),
        weight=pl.Series([2.0] + [None] * 59, dtype=pl.Float64),
    ).write_parquet(competition.workspace.manifest_path)
    report = build_report(type(competition.workspace).find(competition.workspace.root))
    assert [name for name, _ in report.targets] == ["soft targets", "unknown targets", "weights"]
    assert "20 in 20 clips" in dict(report.targets)["unknown targets"]
    (found,) = report.evaluations
    targets = np.array([["car" in labels for labels in label]]).ravel()
    by_name = {one.name: one for one in found.classes}
    assert by_name["car"].support == targets[20:].sum()
    assert found.reliability.counts.sum() == 60 * 4 - 20
    assert report.mistakes is not None
    assert all(clip.wrong != "car" for clip in report.mistakes.clips if clip.id in manifest["id"][:20])
    assert "Unknown targets: 20 in 20 clips" in render(report)


def test_runs_that_err_alike_are_told(competition: Any) -> None:
    run = competition.run("a", 2)
    twin = competition.run("twin", 2)
    assert run.oof is not None
    run.oof.write(twin.path / "oof.parquet", competition.classes)
    competition.run("other", 2)
    competition.run("small", 2, clips=slice(0, 20), fast=True)
    found = build_report(competition.workspace).correlation
    assert found is not None
    assert set(found.names) == {"a", "twin", "other"}
    i, j, k = (found.names.index(name) for name in ("a", "twin", "other"))
    assert found.values[i, j] == pytest.approx(1)
    assert found.values[i, k] < 0.9
    assert found.left_out == 1


def test_groups_are_respected(make_competition: Callable) -> None:
    competition = make_competition(grouped=True)
    run = competition.run("a", 2)
    assert run.oof is not None
    by_group = np.repeat(competition.rng.random(15) < 0.7, 4)  # whole groups are right or wrong
    guesses = np.where(by_group, competition.targets, (competition.targets + 1) % 3)
    Predictions(tuple(competition.ids), np.eye(3)[guesses]).write(run.path / "oof.parquet", competition.classes)
    report = build_report(competition.workspace)
    assert report.n_groups == 15
    low, high = report.rows[0].interval or (0, 0)
    alone = 2 * 1.96 * np.std(by_group) / np.sqrt(60)
    assert high - low > 1.5 * alone  # as four clips of a group say no more than one


def test_a_clip_without_sound_says_why(competition: Any) -> None:
    competition.run("a", 0)
    for clip in competition.ids:
        (competition.workspace.data_root / clip).write_text("no sound")
    report = build_report(competition.workspace)
    assert report.mistakes is not None
    assert all(clip.sound is None and "cannot be decoded" in clip.silent_because for clip in report.mistakes.clips)


def test_runs_without_any_predictions_are_listed(competition: Any) -> None:
    competition.run("all", oof=False, full=True, folds=["full"])
    report = build_report(competition.workspace)
    assert [row.names for row in report.rows] == [("all",)]
    assert (report.evaluations, report.mistakes, report.correlation) == ((), None, None)


def test_a_workspace_without_runs_has_no_report(competition: Any) -> None:
    with pytest.raises(AkitError, match="no runs"):
        build_report(competition.workspace)


def test_a_damaged_run_is_told_of(competition: Any) -> None:
    competition.run("a")
    (competition.run("b").path / "run.json").write_text("{")
    report = build_report(competition.workspace)
    assert [row.names for row in report.rows] == [("a",)]
    assert "b cannot be read" in report.unreadable[0]
