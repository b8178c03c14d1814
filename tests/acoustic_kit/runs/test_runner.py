"""The runner: folds, resuming, files, and the contract that it holds recipes to."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import skops.io

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features import Stats
from acoustic_kit.metrics import fitting_metrics
from acoustic_kit.prediction import open_predictor
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.recipe.recipe import Recipe, load_recipe
from acoustic_kit.runs.leaderboard import leaderboard
from acoustic_kit.runs.run import open_run
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace

Diary = Callable[[Recipe], list[list]]


def test_each_fold_is_trained_on_the_others(workspace: Workspace, recipe: Recipe, diary: Diary) -> None:
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


def test_extra_clips_are_trained_on_and_never_scored(workspace: Workspace, recipe: Recipe, diary: Diary) -> None:
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


def test_a_finished_run_is_reported_and_fresh_redoes_it(workspace: Workspace, recipe: Recipe, diary: Diary) -> None:
    run, _ = run_recipe(workspace, recipe)
    again, trained = run_recipe(workspace, recipe, note="good")
    assert not trained
    assert again.name == run.name
    assert open_run(run.path).record.note == "good"
    assert len(diary(recipe)) == 4
    assert run_recipe(workspace, recipe, fresh=True)[1]
    assert len(diary(recipe)) == 8


def test_folds_complete_one_run(workspace: Workspace, recipe: Recipe, diary: Diary) -> None:
    first, _ = run_recipe(workspace, recipe, folds=["1"])
    assert not first.finished
    whole, _ = run_recipe(workspace, recipe)
    assert whole.name == first.name
    assert whole.finished
    assert [entry[0] for entry in diary(recipe)] == ["1", "2", "3", "4"]


def test_a_stopped_run_goes_on_and_ends_as_one_that_was_not(
    workspace: Workspace, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, diary: Diary
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


def test_full_trains_one_model_on_everything(workspace: Workspace, recipe: Recipe, diary: Diary) -> None:
    run, _ = run_recipe(workspace, recipe, full=True)
    ((name, train, valid, _, _),) = diary(recipe)
    assert (name, valid, len(train)) == ("full", None, 48)
    assert run.oof is None
    assert run.test is not None
    assert len(run.test.ids) == 12
    assert not leaderboard([run], workspace.manifest, workspace.task_spec)[0].complete


def test_fast_uses_fewer_clips_and_folds_and_says_so(workspace: Workspace, recipe: Recipe, diary: Diary) -> None:
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
    workspace: Workspace, predict: str, says: str, write_recipe: Callable[..., Recipe]
) -> None:
    with pytest.raises(AkitError, match=says):
        run_recipe(workspace, write_recipe(predict=predict))


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
    assert set(record.metrics) == set(fitting_metrics("single")) - {"kappa"}  # the classes have no order
    assert record.versions["numpy"] == np.__version__


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


def test_a_run_that_fails_at_once_leaves_nothing(workspace: Workspace, recipe: Recipe) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no")

    recipe.module.train = fail
    with pytest.raises(Exception, match="no"):
        run_recipe(workspace, recipe)
    assert list(workspace.runs_path.iterdir()) == []


@pytest.mark.parametrize("fit_on", ["fold", "all"])
def test_pca_is_fitted_per_fold_unless_recipe_says_all(
    workspace: Workspace, fit_on: str, pca_recipe: Recipe, diary: Diary
) -> None:
    settings = pca_recipe.settings({"fit_on": fit_on})
    run, _ = run_recipe(workspace, pca_recipe, settings, folds=["1"])
    run, _ = run_recipe(workspace, pca_recipe, settings)
    assert run.finished
    said = [record.bias_warnings for record in run.done.values()]
    assert said == [[] if fit_on == "fold" else ["x was fitted on validation clips too"]] * 4
    for name, training, mean in diary(pca_recipe):
        assert training["fold"] == (name if fit_on == "fold" else "all")
        if fit_on == "fold":
            np.testing.assert_allclose(mean, 0, atol=1e-3)  # centred on what it was fitted on
    full, _ = run_recipe(workspace, pca_recipe, settings, full=True)
    assert diary(pca_recipe)[-1][1]["fold"] == "all"
    assert full.done["full"].bias_warnings == []


def test_a_run_that_guesses_says_so(workspace: Workspace, recipe: Recipe) -> None:
    run, _ = run_recipe(workspace, recipe, folds=["1"])
    assert [line.partition(":")[0] for line in run.warnings] == ["fold 1, oof", "fold 1, test"]
    full, _ = run_recipe(workspace, recipe, full=True)
    assert [line.partition(":")[0] for line in full.warnings] == ["fold full, test"]
    good, _ = run_recipe(workspace, load_recipe("stats_pca_linear"), folds=["1"])
    assert good.warnings == []


def test_extra_clips_of_held_out_clips_are_left_out_and_counted(
    workspace: Workspace, recipe: Recipe, diary: Diary
) -> None:
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


def test_a_run_keeps_the_modules_that_its_recipe_imports(
    workspace: Workspace, tmp_path: Path, write_recipe: Callable[..., Recipe]
) -> None:
    (tmp_path / "_akit_beside.py").write_text("X = 1")
    path = write_recipe().path
    path.write_text(path.read_text() + "\nif False:\n    import _akit_beside\n")
    run, _ = run_recipe(workspace, load_recipe(path), folds=["1"])
    assert (run.path / "_akit_beside.py").read_text() == "X = 1"
    assert open_predictor(run.path, trust=True).name == run.name
    (run.path / "_akit_beside.py").write_text("X = 2")
    with pytest.raises(AkitError, match="not the recipe that trained"):
        open_predictor(run.path, trust=True)
