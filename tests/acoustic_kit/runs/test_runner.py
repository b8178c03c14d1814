"""The runner: folds, seeds, resuming, files, and the contract that it holds recipes to."""

import fcntl
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import skops.io

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features import Stats, fingerprints
from acoustic_kit.files import file_sha256
from acoustic_kit.metrics import fitting_metrics
from acoustic_kit.prediction import open_predictor
from acoustic_kit.recipe.job import Job, make_job
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.recipe.recipe import Recipe, load_recipe
from acoustic_kit.runs.combined import CombinedFolds
from acoustic_kit.runs.leaderboard import leaderboard
from acoustic_kit.runs.run import Run, find_run, list_runs, open_run, remove_run
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.task import TaskSpec
from acoustic_kit.workspace.workspace import Workspace

RECIPE = '''"""A recipe that writes down what it was given."""
import json, os
from pathlib import Path
import numpy as np
from sklearn.dummy import DummyClassifier
import acoustic_kit as akit

LOG = Path(__file__).with_suffix(".log")

class Settings(akit.Settings):
    {settings}

FAST = akit.Fast(clips_per_class=2, folds=2, settings={{"scale": 2.0}})

def features(s): return {{"x": akit.Stats()}}

def train(fold, s):
    with LOG.open("a") as log:
        valid = None if fold.valid is None else fold.valid.ids
        log.write(json.dumps([fold.name, fold.train.ids, valid, fold.seed, fold.train["x"].shape[0]]) + "\\n")
    if os.environ.get("STOP_AT") == fold.name:
        raise KeyboardInterrupt
    return DummyClassifier(strategy="prior").fit(fold.train["x"], fold.train.labels)

def predict(model, clips, s):
    {predict}
'''
HONEST = "return akit.class_probabilities(model, clips['x'], len(clips.classes))"


def write_recipe(folder: Path, settings: str = "scale: float = 1.0", predict: str = HONEST) -> Recipe:
    path = folder / "diary.py"
    path.write_text(RECIPE.format(settings=settings, predict=predict))
    return load_recipe(path)


def diary(recipe: Recipe) -> list[list]:
    return [json.loads(line) for line in recipe.path.with_suffix(".log").read_text().splitlines()]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return write_recipe(tmp_path)


def test_each_fold_is_trained_on_the_others(workspace: Workspace, recipe: Recipe) -> None:
    run, trained = run_recipe(workspace, recipe)
    assert trained
    folds = dict(workspace.manifest.filter(pl.col("split") == "train").select("id", "fold").iter_rows())
    assert [entry[0] for entry in diary(recipe)] == ["1", "2", "3", "4"]
    for name, train, valid, _, _ in diary(recipe):
        assert {folds[id] for id in valid} == {int(name)}
        assert set(train) | set(valid) == set(folds)
        assert not set(train) & set(valid)
    assert len({entry[3] for entry in diary(recipe)}) == 4  # seeds differ
    assert run.finished
    assert run.oof is not None
    assert set(run.oof.ids) == set(folds)


def test_extra_clips_are_trained_on_and_never_scored(workspace: Workspace, recipe: Recipe) -> None:
    first = workspace.manifest["id"][0]
    changed = workspace.manifest.with_columns(
        split=pl.when(pl.col("id") == first).then(pl.lit("extra")).otherwise("split"),
        fold=pl.when(pl.col("id") != first).then("fold"),
        group=pl.when(pl.col("id") != first).then("group"),  # of no held-out clip's
    )
    changed.write_parquet(workspace.manifest_path)
    run, _ = run_recipe(Workspace.find(workspace.root), recipe)
    assert all(first in train and first not in valid for _, train, valid, _, _ in diary(recipe))
    assert run.oof is not None
    assert first not in run.oof.ids


def test_test_predictions_are_the_mean_over_folds(workspace: Workspace, recipe: Recipe) -> None:
    run, _ = run_recipe(workspace, recipe)
    classes = run.record.classes
    parts = [Predictions.read(run.path / "folds" / fold / "test.parquet", classes) for fold in "1234"]
    assert run.test is not None
    np.testing.assert_allclose(run.test.probabilities, np.mean([part.probabilities for part in parts], axis=0))


def test_a_finished_run_is_reported_and_fresh_redoes_it(workspace: Workspace, recipe: Recipe) -> None:
    run, _ = run_recipe(workspace, recipe)
    again, trained = run_recipe(workspace, recipe, note="good")
    assert not trained
    assert again.name == run.name
    assert open_run(run.path).record.note == "good"
    assert len(diary(recipe)) == 4
    assert run_recipe(workspace, recipe, fresh=True)[1]
    assert len(diary(recipe)) == 8


def test_folds_complete_one_run(workspace: Workspace, recipe: Recipe) -> None:
    first, _ = run_recipe(workspace, recipe, folds=["1"])
    assert not first.finished
    whole, _ = run_recipe(workspace, recipe)
    assert whole.name == first.name
    assert whole.finished
    assert [entry[0] for entry in diary(recipe)] == ["1", "2", "3", "4"]


def test_a_stopped_run_goes_on_and_ends_as_one_that_was_not(
    workspace: Workspace, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOP_AT", "3")
    with pytest.raises(KeyboardInterrupt):
        run_recipe(workspace, recipe)
    monkeypatch.delenv("STOP_AT")
    run, _ = run_recipe(workspace, recipe)
    assert [entry[0] for entry in diary(recipe)] == ["1", "2", "3", "3", "4"]
    stopped = {path.name: path.read_bytes() for path in run.path.glob("*.parquet")}
    run, _ = run_recipe(workspace, recipe, fresh=True)
    assert {path.name: path.read_bytes() for path in run.path.glob("*.parquet")} == stopped
    assert not list(run.path.glob(".*"))


def test_the_name_depends_on_what_decides_the_result(workspace: Workspace, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    names = [
        run_recipe(workspace, recipe)[0].name,
        run_recipe(workspace, recipe, seed=1)[0].name,
        run_recipe(workspace, recipe, full=True)[0].name,
        run_recipe(workspace, recipe, recipe.settings({"scale": 3}))[0].name,
        run_recipe(workspace, write_recipe(tmp_path, predict=HONEST + "  # changed"))[0].name,
    ]
    assert len(set(names)) == 5
    assert len(list_runs(workspace.runs_path)) == 5


def test_full_trains_one_model_on_everything(workspace: Workspace, recipe: Recipe) -> None:
    run, _ = run_recipe(workspace, recipe, full=True)
    ((name, train, valid, _, _),) = diary(recipe)
    assert (name, valid, len(train)) == ("full", None, 48)
    assert run.oof is None
    assert run.test is not None
    assert len(run.test.ids) == 12
    assert not leaderboard([run], workspace.manifest, workspace.task_spec)[0].complete


def test_fast_uses_fewer_clips_and_folds_and_says_so(workspace: Workspace, recipe: Recipe) -> None:
    run, _ = run_recipe(workspace, recipe, fast=True)
    assert run.record.fast
    assert run.record.settings["scale"] == 2.0
    assert run.record.changed == {}  # what the small form sets is no change of the user's
    assert [(entry[0], entry[4]) for entry in diary(recipe)] == [("1", 6), ("2", 6)]


def test_clips_without_features_get_the_class_frequencies(workspace: Workspace, recipe: Recipe, tmp_path: Path) -> None:
    data = shutil.copytree(workspace.data_root, tmp_path / "data")
    rows = workspace.manifest.filter((pl.col("fold") == 2) | (pl.col("split") == "test"))
    rows = rows.group_by("split").first().sort("split", descending=True)  # one training clip, one test clip
    ids = rows["id"].to_list()
    for path in rows["path"]:
        (data / path).write_text("no sound")
    config = workspace.config.model_copy(update={"data": str(data)})
    run, _ = run_recipe(Workspace(workspace.root, config), recipe)
    assert run.done["2"].without_features == sorted(ids)
    assert run.done["1"].trained_on == 35
    assert run.oof is not None
    np.testing.assert_allclose(run.oof.aligned(ids[:1]), 1 / 3)
    assert len(run.oof.ids) == 48


@pytest.mark.parametrize(
    ("predict", "says"),
    [
        ("return np.ones((len(clips), 2)) / 2", "shape"),
        ("return np.full((len(clips), 3), np.nan)", "not between 0 and 1"),
        ("return np.tile([1.5, -0.5, 0.0], (len(clips), 1))", "not between 0 and 1"),
        ("return np.ones((len(clips), 3))", "sum to one"),
    ],
)
def test_a_recipe_that_breaks_its_contract_is_told_how(
    workspace: Workspace, tmp_path: Path, predict: str, says: str
) -> None:
    with pytest.raises(AkitError, match=says):
        run_recipe(workspace, write_recipe(tmp_path, predict=predict))


def test_an_unknown_fold_is_a_usage_error(workspace: Workspace, recipe: Recipe) -> None:
    with pytest.raises(UsageError, match=r"fold 5, 7 .*1, 2, 3, 4"):
        run_recipe(workspace, recipe, folds=["1", "5", "7"])
    assert not workspace.runs_path.exists()


def test_a_run_keeps_its_models_its_recipe_and_its_record(workspace: Workspace, recipe: Recipe) -> None:
    run, _ = run_recipe(workspace, recipe)
    assert (run.path / "recipe.py").read_text() == recipe.file.source
    path = run.path / "folds" / "1" / "model.skops"
    assert skops.io.get_untrusted_types(file=path) == []
    assert skops.io.load(path).classes_.tolist() == [0, 1, 2]
    record = open_run(run.path).record
    assert record.features == {"x": recipe.features(recipe.settings())["x"].key}
    assert set(record.metrics) == set(fitting_metrics("single"))
    assert record.versions["numpy"] == np.__version__


def test_predictions_are_joined_by_id(tmp_path: Path) -> None:
    predictions = Predictions(("b", "a"), np.array([[0.1, 0.9], [0.8, 0.2]]))
    predictions.write(tmp_path / "p.parquet", ["x", "y"])
    back = Predictions.read(tmp_path / "p.parquet", ["y", "x"])
    np.testing.assert_array_equal(back.aligned(["a", "b"]), [[0.2, 0.8], [0.9, 0.1]])


def test_the_leaderboard_ranks_by_the_metric(workspace: Workspace, tmp_path: Path) -> None:
    bad = write_recipe(tmp_path, predict="return np.tile([0.0, 0.0, 1.0], (len(clips), 1))")
    run_recipe(workspace, bad)
    good = load_recipe("stats_pca_linear")
    run_recipe(workspace, good)
    board = leaderboard(list_runs(workspace.runs_path), workspace.manifest, workspace.task_spec)
    assert [standing.run.record.recipe for standing in board] == ["stats_pca_linear", "diary"]
    assert board[0].score is not None
    assert board[0].score > 0.6
    assert board[1].score == pytest.approx(0.5 / 3)
    assert len(board[0].fold_scores) == 4


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


def test_held_out_labels_do_not_affect_predictions(workspace: Workspace) -> None:
    """A leak test: other labels in fold 2 leave the model that is trained without fold 2 as it was."""
    recipe = load_recipe("stats_pca_linear")
    before, _ = run_recipe(workspace, recipe, folds=["2"])
    rolled = workspace.manifest.filter(pl.col("fold") == 2)["label"].to_list()
    rolled = rolled[5:] + rolled[:5]
    ids = workspace.manifest.filter(pl.col("fold") == 2)["id"].to_list()
    swapped = dict(zip(ids, rolled, strict=True))
    labels = [swapped.get(id, label) for id, label in workspace.manifest.select("id", "label").iter_rows()]
    workspace.manifest.with_columns(label=pl.Series(labels)).write_parquet(workspace.manifest_path)
    after, _ = run_recipe(Workspace.find(workspace.root), recipe, folds=["2"])
    assert after.name != before.name
    assert before.oof is not None
    assert after.oof is not None
    np.testing.assert_array_equal(after.oof.aligned(before.oof.ids), before.oof.probabilities)


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


def test_kill_between_fold_and_its_predictions_loses_nothing(
    workspace: Workspace, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, calls = CombinedFolds.update, []

    def killed(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return update(*arguments)

    monkeypatch.setattr(CombinedFolds, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(workspace, recipe)
    monkeypatch.undo()
    run, trained = run_recipe(workspace, recipe)
    assert not trained
    assert run.oof is not None
    assert len(run.oof.ids) == 48


def test_two_processes_do_not_train_one_run(workspace: Workspace, recipe: Recipe) -> None:
    run, _ = run_recipe(workspace, recipe, folds=["1"])
    descriptor = os.open(run.path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(AkitError, match="being trained by another process"):
        run_recipe(workspace, recipe)
    os.close(descriptor)
    run_recipe(workspace, recipe)


def test_runs_of_one_store_train_concurrently_after_the_build(workspace: Workspace, recipe: Recipe) -> None:
    with workspace.store().writer(Stats().key, "float32", Stats().parameters()):
        run, trained = run_recipe(workspace, recipe)
    assert trained
    assert run.finished


def test_scores_stand_beside_their_folds(workspace: Workspace, recipe: Recipe) -> None:
    run_recipe(workspace, recipe, folds=["3"])
    run, _ = run_recipe(workspace, recipe, folds=["1"])
    (standing,) = leaderboard([run], workspace.manifest, replace(workspace.task_spec, metric="accuracy"))
    assert list(run.done) == ["1", "3"]
    assert set(standing.fold_scores) == {"1", "3"}


def test_another_order_of_the_classes_changes_no_prediction(workspace: Workspace, recipe: Recipe) -> None:
    run, _ = run_recipe(workspace, recipe)
    turned = list(reversed(run.record.classes))
    predictions = run.predictions("oof", turned)
    assert predictions is not None
    assert run.oof is not None
    np.testing.assert_array_equal(predictions.probabilities[:, ::-1], run.oof.probabilities)
    scores = [
        leaderboard([run], workspace.manifest, TaskSpec({name: i for i, name in enumerate(classes)}, "f1"))[0].score
        for classes in (run.record.classes, turned)
    ]
    assert scores[0] == pytest.approx(scores[1])
    other = leaderboard([run], workspace.manifest, TaskSpec({**workspace.config.classes, "another": 3}, "f1"))[0]
    assert (other.score, other.complete) == (None, False)


def test_a_changed_clip_makes_another_run(workspace: Workspace, recipe: Recipe, tmp_path: Path) -> None:
    data = shutil.copytree(workspace.data_root, tmp_path / "data")
    config = workspace.config.model_copy(update={"data": str(data)})
    first, _ = run_recipe(Workspace(workspace.root, config), recipe, folds=["1"])
    path = data / workspace.manifest["path"][0]
    path.write_bytes((data / workspace.manifest["path"][1]).read_bytes())
    second, trained = run_recipe(Workspace(workspace.root, config), recipe, folds=["1"])
    assert trained
    assert second.name != first.name


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


def test_a_run_that_fails_at_once_leaves_nothing(workspace: Workspace, recipe: Recipe) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no")

    recipe.module.train = fail
    with pytest.raises(Exception, match="no"):
        run_recipe(workspace, recipe)
    assert list(workspace.runs_path.iterdir()) == []


PCA_RECIPE = """
import json
from pathlib import Path
from sklearn.dummy import DummyClassifier
import acoustic_kit as akit

LOG = Path(__file__).with_suffix(".log")
class Settings(akit.Settings):
    fit_on: str = "fold"
FAST = akit.Fast(clips_per_class=2, folds=2)

def features(s): return {"x": akit.Pca(akit.Stats(), n_components=3, fit_on=s.fit_on), "raw": akit.Stats()}

def train(fold, s):
    stored = fold.train.features["x"]
    with LOG.open("a") as log:
        log.write(json.dumps([fold.name, stored.attributes["training"], fold.train["x"].mean(0).tolist()]) + "\\n")
    return DummyClassifier(strategy="prior").fit(fold.train["x"], fold.train.labels)

def predict(model, clips, s):
    return akit.class_probabilities(model, clips["x"], len(clips.classes))
"""


@pytest.mark.parametrize("fit_on", ["fold", "all"])
def test_pca_is_fitted_per_fold_unless_recipe_says_all(workspace: Workspace, tmp_path: Path, fit_on: str) -> None:
    path = tmp_path / "pca_recipe.py"
    path.write_text(PCA_RECIPE)
    recipe = load_recipe(path)
    settings = recipe.settings({"fit_on": fit_on})
    run, _ = run_recipe(workspace, recipe, settings, folds=["1"])
    run, _ = run_recipe(workspace, recipe, settings)
    assert run.finished
    said = [record.bias_warnings for record in run.done.values()]
    assert said == [[] if fit_on == "fold" else ["x was fitted on validation clips too"]] * 4
    for name, training, mean in diary(recipe):
        assert training["fold"] == (name if fit_on == "fold" else "all")
        if fit_on == "fold":
            np.testing.assert_allclose(mean, 0, atol=1e-3)  # centred on what it was fitted on
    full, _ = run_recipe(workspace, recipe, settings, full=True)
    assert diary(recipe)[-1][1]["fold"] == "all"
    assert full.done["full"].bias_warnings == []


def test_a_run_that_guesses_says_so(workspace: Workspace, recipe: Recipe) -> None:
    run, _ = run_recipe(workspace, recipe, folds=["1"])
    assert [line.partition(":")[0] for line in run.warnings] == ["fold 1, oof", "fold 1, test"]
    full, _ = run_recipe(workspace, recipe, full=True)
    assert [line.partition(":")[0] for line in full.warnings] == ["fold full, test"]
    good, _ = run_recipe(workspace, load_recipe("stats_pca_linear"), folds=["1"])
    assert good.warnings == []


def test_extra_clips_of_held_out_clips_are_left_out_and_counted(workspace: Workspace, recipe: Recipe) -> None:
    plain, _ = run_recipe(workspace, recipe, folds=["1", "2"])
    train = workspace.manifest.filter(pl.col("split") == "train")
    extra = train.filter(pl.col("fold") == 1).head(3)
    extra = extra.with_columns(
        id="extra/" + pl.col("id"), split=pl.lit("extra"), fold=pl.lit(None, dtype=pl.Int64), group=pl.lit("other")
    )
    pl.concat([workspace.manifest, extra]).write_parquet(workspace.manifest_path)
    run, _ = run_recipe(Workspace.find(workspace.root), recipe, folds=["1", "2"])
    trained = {name: set(ids) for name, ids, *_ in diary(recipe)[2:]}
    assert not trained["1"] & set(extra["id"])
    assert trained["2"] >= set(extra["id"])
    assert [line.partition(" extra")[0] for line in run.notes] == ["fold 1: not trained on 3"]
    assert not run.bias_warnings
    assert run.name != plain.name


@pytest.mark.parametrize("what", ["column", "metric", "helper"])
def test_a_runs_name_has_all_that_a_recipe_can_read(workspace: Workspace, tmp_path: Path, what: str) -> None:
    helper = tmp_path / "_akit_aside.py"
    helper.write_text("X = 1")
    path = write_recipe(tmp_path).path
    path.write_text(path.read_text() + "\nif False:\n    import _akit_aside\n")
    manifest = workspace.manifest.with_columns(salience=pl.lit(1))

    def name(manifest: pl.DataFrame, workspace: Workspace = workspace) -> str:
        recipe = load_recipe(path)
        return Job(workspace, recipe, recipe.settings(), manifest).name

    before = name(manifest)
    moved = manifest.with_columns(path=pl.lit("elsewhere/") + pl.col("path"), mtime_ns=pl.lit(0))
    assert name(moved.with_columns(pl.lit(0.5).alias("peak"))) == before
    if what == "column":
        assert name(manifest.with_columns(salience=pl.lit(2))) != before
    elif what == "metric":
        config = workspace.config.model_copy(update={"metric": "accuracy"})
        assert name(manifest, Workspace(workspace.root, config)) != before
    else:
        helper.write_text("X = 2")
        assert name(manifest) != before


def test_all_seeds_of_a_recipe_without_chance_are_one_run(workspace: Workspace, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    assert make_job(workspace, recipe, recipe.settings(), 1).name != make_job(workspace, recipe, recipe.settings()).name
    recipe.path.write_text(recipe.path.read_text() + "\nSEEDED = False\n")
    recipe = load_recipe(recipe.path)
    one, other = (make_job(workspace, recipe, recipe.settings(), seed) for seed in (0, 3))
    assert (one.name, one.seed) == (other.name, other.seed)


def test_a_run_keeps_the_modules_that_its_recipe_imports(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "_akit_beside.py").write_text("X = 1")
    path = write_recipe(tmp_path).path
    path.write_text(path.read_text() + "\nif False:\n    import _akit_beside\n")
    run, _ = run_recipe(workspace, load_recipe(path), folds=["1"])
    assert (run.path / "_akit_beside.py").read_text() == "X = 1"
    assert open_predictor(run.path, trust=True).name == run.name
    (run.path / "_akit_beside.py").write_text("X = 2")
    with pytest.raises(AkitError, match="not the recipe that trained"):
        open_predictor(run.path, trust=True)


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


def test_files_are_digested_once_a_run(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def noted(*arguments: object) -> dict[str, str]:
        calls.append(arguments)
        return fingerprints(*arguments)

    for module in ("recipe.job", "features.fingerprints", "features.build.plan"):
        monkeypatch.setattr(sys.modules[f"acoustic_kit.{module}"], "fingerprints", noted)
    path = tmp_path / "pca.py"
    path.write_text(PCA_RECIPE)
    run_recipe(workspace, load_recipe(path))
    assert len(calls) == 1
