"""Pseudo-labels by a teacher: which teachers are refused, and that no label of a fold reaches the fold's student."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from acoustic_kit.errors import AkitError, RunError, UsageError
from acoustic_kit.prediction.teacher import open_pseudo_labels
from acoustic_kit.recipe.job import Job, make_job
from acoustic_kit.recipe.recipe import Recipe, load_recipe
from acoustic_kit.report.build import build_report
from acoustic_kit.runs.imported import import_run
from acoustic_kit.runs.leaderboard import by_setting, rank_runs
from acoustic_kit.runs.run import Run, list_runs
from acoustic_kit.runs.runner import check_teacher, run_job, run_recipe
from acoustic_kit.submission.record import Member, SubmissionRecord
from acoustic_kit.workspace.workspace import Workspace

FOLDS = ["1", "2", "3", "4"]
STUDENT = '''"""A student that writes down what it learned from."""
import os
from pathlib import Path
from sklearn.dummy import DummyClassifier
import acoustic_kit as akit

class Settings(akit.Settings): pass
SEEDED = False

def features(s): return {"x": akit.Stats()}

def train(fold, s):
    if os.environ.get("STOP_AT") == fold.name: raise KeyboardInterrupt
    rows = fold.train.rows.with_columns(is_pseudo=fold.train.is_pseudo)
    rows.write_parquet(Path(os.environ["DIARY"]) / f"{fold.name}.parquet")
    return DummyClassifier(strategy="prior").fit(fold.train["x"], fold.train.labels, sample_weight=fold.train.weights)

def predict(model, clips, s): return akit.class_probabilities(model, clips["x"], len(clips.classes))
'''


@pytest.fixture
def taught(trained: Workspace, tmp_path: Path) -> Workspace:
    """A copy of a workspace with a finished run of `stats_pca_linear`, which is the teacher."""
    return Workspace.find(shutil.copytree(trained.root, tmp_path / "taught"))


@pytest.fixture
def student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    (tmp_path / "diary").mkdir()
    monkeypatch.setenv("DIARY", str(tmp_path / "diary"))
    (tmp_path / "student.py").write_text(STUDENT)
    return load_recipe(tmp_path / "student.py")


@pytest.fixture
def diary(tmp_path: Path) -> Callable[[str], pl.DataFrame]:
    return lambda fold: pl.read_parquet(tmp_path / "diary" / f"{fold}.parquet")


def job_of(workspace: Workspace, recipe: Recipe, teacher: str, *, full: bool = False, **settings: object) -> Job:
    pseudo = open_pseudo_labels(workspace, teacher, settings)
    return make_job(workspace, recipe, recipe.settings(), full=full, pseudo=pseudo)


def refusal(workspace: Workspace, teacher: str, *, full: bool = False, **settings: object) -> str:
    """Why a teacher is refused, before anything is trained."""

    def check() -> None:
        job = job_of(workspace, load_recipe("stats_pca_linear"), teacher, full=full, **settings)
        check_teacher(job, job.folds)

    with pytest.raises(AkitError) as refused:
        check()
    return str(refused.value)


def change_manifest(workspace: Workspace, **columns: pl.Expr) -> Workspace:
    workspace.manifest.with_columns(**columns).write_parquet(workspace.manifest_path)
    return Workspace.find(workspace.root)


def swap_labels(fold: int) -> pl.Expr:
    """Labels with those of a fold in another order."""
    return pl.when(pl.col("fold") == fold).then(pl.col("label").reverse().over("fold")).otherwise("label")


@pytest.mark.parametrize("on", ["unlabelled", "both"])
def test_no_label_of_a_fold_reaches_its_student(
    built: Path, tmp_path: Path, student: Recipe, diary: Callable[[str], pl.DataFrame], on: str
) -> None:
    learned = []
    for number, changes in enumerate(({}, {"label": swap_labels(1)})):
        workspace = Workspace.find(shutil.copytree(built, tmp_path / str(number)))
        workspace = change_manifest(workspace, **changes)
        run_recipe(workspace, load_recipe("stats_pca_linear"))
        run_job(job_of(workspace, student, "stats_pca_linear", on=on), folds=["1", "2"])
        learned.append({fold: diary(fold) for fold in ("1", "2")})
    assert learned[0]["1"].equals(learned[1]["1"])
    assert not learned[0]["2"].equals(learned[1]["2"])


def test_student_learns_from_the_model_of_its_fold(
    taught: Workspace, student: Recipe, diary: Callable[[str], pl.DataFrame]
) -> None:
    run, _ = run_job(job_of(taught, student, "stats_pca_linear", weight=0.5, power=2), folds=["2"])
    rows = diary("2").filter("is_pseudo")
    teacher = Run(taught.runs_path / next(iter(run.record.pseudo.runs)), run.record)
    teacher = next(one for one in list_runs(taught.runs_path) if one.name == teacher.name)
    found = teacher.predictions("test", teacher.record.classes, "2")
    assert rows["id"].to_list() == list(found.ids)
    assert rows["split"].unique().to_list() == ["test"]
    np.testing.assert_allclose(rows["weight"], 0.5 * found.probabilities.max(axis=1))
    target = dict(zip(rows["id"], rows["soft"], strict=True))[found.ids[0]]
    squared = found.probabilities[0] ** 2 / (found.probabilities[0] ** 2).sum()
    by_class = dict.fromkeys(teacher.record.classes, 0.0) | {cell["label"]: cell["target"] for cell in target}
    np.testing.assert_allclose(list(by_class.values()), squared, atol=1e-3)


def test_teacher_computes_what_it_did_not_store(
    taught: Workspace, student: Recipe, diary: Callable[[str], pl.DataFrame]
) -> None:
    run_job(job_of(taught, student, "components"), folds=["1"])
    stored = diary("1")
    for path in taught.runs_path.glob("components-*/folds/1/test.parquet"):
        path.unlink()
    run_job(job_of(taught, student, "components"), folds=["1"], fresh=True)
    assert diary("1")["id"].to_list() == stored["id"].to_list()
    assert diary("1")["label"].to_list() == stored["label"].to_list()
    np.testing.assert_allclose(diary("1")["weight"].fill_null(1), stored["weight"].fill_null(1), atol=1e-6)


def test_changed_recipe_of_a_teacher_is_executed_only_if_trusted(
    taught: Workspace, student: Recipe, diary: Callable[[str], pl.DataFrame]
) -> None:
    for path in taught.runs_path.glob("components-*/folds/1/test.parquet"):
        path.unlink()
    recipe = taught.recipes_path / "components.py"
    recipe.write_text(recipe.read_text() + "# changed\n")
    with pytest.raises(RunError, match="--trust"):
        run_job(job_of(taught, student, "components"), folds=["1"])
    pseudo = open_pseudo_labels(taught, "components", {}, trust=True)
    run_job(make_job(taught, student, student.settings(), pseudo=pseudo), folds=["1"])
    assert diary("1")["is_pseudo"].sum() == 12


def test_lineage_is_recorded(taught: Workspace, student: Recipe) -> None:
    teacher = next(run for run in list_runs(taught.runs_path) if run.record.recipe == "stats_pca_linear")
    run, _ = run_job(job_of(taught, student, teacher.name, min=0.4))
    pseudo = json.loads((run.path / "run.json").read_text())["pseudo"]
    assert any("probabilities of pseudo-labels and their weights" in note for note in run.notes)
    n = sum(fold.pseudo_clips for fold in run.done.values())
    assert pseudo["teacher"] == teacher.name
    assert pseudo["runs"] == {teacher.name: 1.0}
    assert (pseudo["round"], pseudo["settings"]["min"]) == (1, 0.4)
    assert pseudo["share"] == pytest.approx(n / sum(fold.trained_on for fold in run.done.values()))
    again, _ = run_job(job_of(taught, load_recipe("stats_pca_linear"), run.name))
    assert again.record.pseudo.round == 2
    notes = {placing.runs[0].name: placing.notes for placing in by_setting(rank_runs(taught, resample=False))}
    assert any(f"{pseudo['share']:.0%}" in note and teacher.name in note for note in notes[run.name])
    assert not any(teacher.name in note for note in notes[teacher.name])
    rows = {row.names[0]: row.notes for row in build_report(taught).rows}
    assert any("pseudo-labels: round 1" in note and teacher.name in note for note in rows[run.name])


def test_settings_and_teacher_are_part_of_the_name(taught: Workspace, student: Recipe) -> None:
    alone = make_job(taught, student, student.settings())
    names = {
        alone.name,
        *(job_of(taught, student, teacher).name for teacher in ("stats_pca_linear", "components")),
        *(job_of(taught, student, "components", **{name: 0.5}).name for name in ("weight", "power", "min")),
    }
    assert len(names) == 6
    both = "stats_pca_linear,components"
    assert job_of(taught, student, both).name == job_of(taught, student, "components,stats_pca_linear").name


def test_resumed_student_equals_an_uninterrupted_one(
    taught: Workspace,
    student: Recipe,
    monkeypatch: pytest.MonkeyPatch,
    tree: Callable[[Path], dict[str, object]],
) -> None:
    job = job_of(taught, student, "stats_pca_linear")
    run, _ = run_job(job)
    whole = tree(run.path)
    shutil.rmtree(run.path)
    monkeypatch.setenv("STOP_AT", "3")
    with pytest.raises(KeyboardInterrupt):
        run_job(job)
    monkeypatch.delenv("STOP_AT")
    for path in taught.runs_path.glob("stats_pca_linear-*/folds/3/test.parquet"):
        os.utime(path)
    run, trained = run_job(job_of(taught, student, "stats_pca_linear"))
    assert trained
    assert tree(run.path) == whole


def test_teacher_of_other_folds_is_refused(taught: Workspace) -> None:
    moved = pl.when(pl.col("fold") == 1).then(2).when(pl.col("fold") == 2).then(1).otherwise("fold").cast(pl.Int64)
    message = refusal(change_manifest(taught, fold=moved), "stats_pca_linear")
    assert "stats_pca_linear-" in message
    assert "fold 1" in message


def test_teacher_that_was_trained_on_test_clips_is_refused(taught: Workspace) -> None:
    held_out = pl.col("fold") == 4
    none = pl.lit([], dtype=pl.List(pl.String))
    workspace = change_manifest(
        taught,
        split=pl.when(held_out).then(pl.lit("test")).otherwise("split"),
        label=pl.when(held_out).then(none).otherwise("label"),
        fold=pl.when(~held_out).then("fold"),
    )
    message = refusal(workspace, "stats_pca_linear")
    assert taught.manifest.filter(held_out)["id"][0] in message
    assert "12 clips" in message


def test_full_teacher_is_refused_for_folds_and_the_reverse(taught: Workspace) -> None:
    full, _ = run_recipe(taught, load_recipe("stats_pca_linear"), full=True)
    assert "--full" in refusal(taught, full.name)
    assert "--full" in refusal(taught, "components", full=True)
    job = job_of(taught, load_recipe("stats_pca_linear"), full.name, full=True)
    check_teacher(job, job.folds)
    workspace = change_manifest(taught, label=swap_labels(1))
    assert full.name in refusal(workspace, full.name, full=True)


def test_imported_predictions_are_refused(taught: Workspace, tmp_path: Path) -> None:
    teacher = next(run for run in list_runs(taught.runs_path) if run.record.recipe == "stats_pca_linear")
    shutil.copyfile(teacher.path / "test.parquet", tmp_path / "birdnet.parquet")
    shutil.copyfile(teacher.path / "oof.parquet", tmp_path / "oof.parquet")
    run = import_run(taught, tmp_path / "birdnet.parquet", tmp_path / "oof.parquet")
    assert f"{run.name} was imported" in refusal(taught, run.name)


def test_incomplete_run_is_refused(taught: Workspace) -> None:
    assert "fold 3" in refusal(taught, "logmel_cnn")  # folds 1 and 2 were asked for
    teacher = next(run for run in list_runs(taught.runs_path) if run.record.recipe == "components")
    shutil.rmtree(teacher.path / "folds" / "2")
    assert "fold 2 is not trained yet" in refusal(taught, "components")


@pytest.mark.parametrize("changes", [{"classes": ["a", "b", "c"]}, {"task": "multi"}])
def test_run_of_another_task_is_refused(taught: Workspace, changes: dict[str, object]) -> None:
    next(run for run in list_runs(taught.runs_path) if run.record.recipe == "components").with_record(**changes)
    assert "components-" in refusal(taught, "components")


def record_of(runs: Sequence[Run], fold: str | None) -> SubmissionRecord:
    members = [
        Member(name=run.name, fold=fold, recipe="x", weight=w, optimistic=[], test_sha256="")
        for run, w in zip(runs, (0.9, 0.1), strict=True)
    ]
    return SubmissionRecord(
        submission="both.csv", sha256="", metric="f1", method="weights", seed=0, runs=members, candidates=[], blend={},
        scores=None, template=None, template_sha256=None, akit="", created="",
    )  # fmt: skip


def test_runs_of_a_blend_have_equal_weights(
    taught: Workspace, student: Recipe, diary: Callable[[str], pl.DataFrame]
) -> None:
    runs = [run for run in list_runs(taught.runs_path) if run.record.recipe != "logmel_cnn"]
    taught.submissions_path.mkdir()
    record_of(runs, None).write(taught.submissions_path / "both.json")
    run, _ = run_job(job_of(taught, student, "both"), folds=["1"])
    assert run.record.pseudo.teacher == "both"
    assert run.record.pseudo.runs == {one.name: 0.5 for one in runs}
    mean = np.mean([one.predictions("test", one.record.classes, "1").probabilities for one in runs], axis=0)
    np.testing.assert_allclose(diary("1").filter("is_pseudo")["weight"], mean.max(axis=1))


def test_blend_of_fold_models_is_refused(taught: Workspace) -> None:
    runs = [run for run in list_runs(taught.runs_path) if run.record.recipe != "logmel_cnn"]
    taught.submissions_path.mkdir()
    record_of(runs, "1").write(taught.submissions_path / "both.json")
    assert f"{runs[0].name}/1" in refusal(taught, "both")


def test_clips_of_the_group_of_a_held_out_clip_are_left_out(
    taught: Workspace, student: Recipe, diary: Callable[[str], pl.DataFrame]
) -> None:
    test = taught.manifest.filter(taught.manifest["split"] == "test")["id"].sort()[0]
    held_out = taught.manifest.filter(taught.manifest["fold"] == 1)["id"][0]
    workspace = change_manifest(taught, group=pl.when(pl.col("id").is_in([test, held_out])).then(pl.lit("one")))
    run, _ = run_job(job_of(workspace, student, "stats_pca_linear"), folds=["1", "2"])
    assert test not in diary("1")["id"]
    assert test in diary("2")["id"]
    assert not run.bias_warnings


def test_student_of_an_optimistic_teacher_is_optimistic(taught: Workspace, student: Recipe) -> None:
    teacher = next(run for run in list_runs(taught.runs_path) if run.record.recipe == "components")
    path = teacher.path / "folds" / "1" / "fold.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"optimistic": ["net: kept the best epoch"]}))
    run, _ = run_job(job_of(taught, student, "components"), folds=["1"])
    assert run.bias_warnings == [f"its teacher {teacher.name}: kept the best epoch"]


def test_clips_below_the_minimum_and_lost_classes_are_named(taught: Workspace, student: Recipe) -> None:
    job = job_of(taught, student, "stats_pca_linear", min=0.95)
    run, _ = run_job(job, folds=["1"])
    assert 0 < run.done["1"].pseudo_clips < 12
    assert any(f"{12 - run.done['1'].pseudo_clips} of 12" in note for note in run.notes)
    with pytest.raises(AkitError, match=r"pseudo\.min=1\b"):
        run_job(job_of(taught, student, "stats_pca_linear", min=1), folds=["1"])


def test_mistaken_settings(taught: Workspace) -> None:
    with pytest.raises(UsageError, match=r"pseudo\.weight"):
        open_pseudo_labels(taught, None, {"weight": 1})
    with pytest.raises(UsageError, match=r"pseudo\.power\?"):
        open_pseudo_labels(taught, "components", {"powr": 1})
    with pytest.raises(UsageError, match=r"pseudo\.on"):
        open_pseudo_labels(taught, "components", {"on": "all"})
    with pytest.raises(UsageError, match="nothing"):
        open_pseudo_labels(taught, "nothing", {})


def test_without_unlabeled_clips(taught: Workspace) -> None:
    workspace = Workspace.find(taught.root)
    workspace.manifest.filter(workspace.manifest["split"] == "train").write_parquet(workspace.manifest_path)
    workspace = Workspace.find(taught.root)
    assert "pseudo.on=labelled" in refusal(workspace, "stats_pca_linear")
    job = job_of(workspace, load_recipe("stats_pca_linear"), "stats_pca_linear", on="labelled")
    check_teacher(job, FOLDS)
    with pytest.raises(RunError, match="fold 4"):
        check_teacher(replace(job, manifest=job.manifest.with_columns(fold=5 - pl.col("fold"))), ["4"])
