"""New clips get what the run itself predicts for them, whatever the slices; bad ones get a reason."""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import acoustic_kit as akit
from acoustic_kit.blending import Blend
from acoustic_kit.ensemble.run_blend import blend_runs
from acoustic_kit.errors import AkitError
from acoustic_kit.prediction import open_predictor, predict, predict_clips
from acoustic_kit.recipe.recipe import Recipe, load_recipe
from acoustic_kit.runs.run import Run, list_runs
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace

RunOf = Callable[[str], Run]
RECIPES = ["stats_pca_linear", "components", "logmel_cnn"]


def own_predictions(run: Run, ids: list[str]) -> np.ndarray:
    assert run.test is not None
    return run.test.aligned(ids)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_runs_test_clips_get_the_runs_test_predictions(
    run_of: RunOf, recipe: str, new_files: dict[str, Path]
) -> None:
    run = run_of(recipe)
    found = akit.predict_clips(run.path, new_files, trust=True)
    assert found.ids == tuple(new_files)
    assert found.classes == tuple(run.record.classes)
    assert found.errors == {}
    np.testing.assert_allclose(found.probabilities, own_predictions(run, list(new_files)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("recipe", RECIPES)
def test_slices_change_nothing_and_leave_nothing(
    run_of: RunOf, recipe: str, new_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, temporary = run_of(recipe), tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(predict, "SLICE", 5)
    monkeypatch.setattr(predict, "AT_ONCE", 3)
    told: dict[str, list[int]] = {}
    found = predict_clips(
        run.path, new_files, trust=True, on_progress=lambda what, *n: told.__setitem__(what, [*told.get(what, []), *n])
    )
    np.testing.assert_allclose(found.probabilities, own_predictions(run, list(new_files)), rtol=0, atol=1e-5)
    assert not list(temporary.iterdir())
    for what, numbers in told.items():
        n = 12 * len(run.done) if what == "predictions" else 12
        assert numbers[1::2] == [n] * (len(numbers) // 2)
        assert numbers[::2] == sorted(numbers[::2])
        assert numbers[-2] == n


def test_a_bad_file_has_a_reason_and_the_class_frequencies(
    run_of: RunOf, new_files: dict[str, Path], tmp_path: Path
) -> None:
    run = run_of("stats_pca_linear")
    (tmp_path / "bad.wav").write_text("no sound")
    clips = {"bad": tmp_path / "bad.wav", **new_files, "gone": tmp_path / "gone.wav"}
    found = predict_clips(run.path, clips)
    assert found.errors == {"bad": "it cannot be decoded: Format not recognised", "gone": "the file does not exist"}
    np.testing.assert_allclose(found.probabilities[[0, -1]], 1 / 3)
    np.testing.assert_allclose(found.probabilities[1:-1], own_predictions(run, list(new_files)), atol=1e-6)


def test_nothing_but_bad_files_is_an_error(run_of: RunOf, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("no sound")
    with pytest.raises(AkitError, match=r"None of 1 clips can be read; bad.wav: it cannot be decoded"):
        predict_clips(run_of("stats_pca_linear").path, [tmp_path])


def test_an_unfinished_run_predicts_with_the_folds_it_has(run_of: RunOf, new_files: dict[str, Path]) -> None:
    run, notes = run_of("logmel_cnn"), []
    assert run.missing_folds == ["3", "4"]
    predictor = open_predictor(run.path, on_note=notes.append)
    assert notes == [f"{run.name} is not finished: fold 3, 4 is left out."]
    assert predictor.n_models == 2


@pytest.mark.parametrize("method", ["mean", "rank", "greedy"])
def test_a_blends_clips_get_what_was_submitted(
    trained: Workspace, method: str, new_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "SLICE", 7)
    work = Workspace.find(shutil.copytree(trained.root, tmp_path / "work"))
    result = blend_runs(work, method=method, name="first")
    assert result.submission is not None
    assert result.members
    shutil.copytree(work.runs_path, tmp_path / "elsewhere" / "runs")
    record = tmp_path / "elsewhere" / "submissions" / "first.json"
    shutil.copytree(work.submissions_path, record.parent)
    found = predict_clips(record, new_files, trust=True)
    blend = Blend.from_dict(json.loads(record.read_text())["blend"])
    tests = [own_predictions(member.run, list(new_files)) for member in result.members]
    np.testing.assert_allclose(found.probabilities, blend.predict(np.stack(tests)), rtol=0, atol=1e-6)
    labels = dict(pl.read_csv(result.submission).iter_rows())
    assert [found.classes[c] for c in found.probabilities.argmax(axis=1)] == [labels[id] for id in found.ids]


SALIENT = '''"""A recipe that looks at a column of the manifest."""
from sklearn.dummy import DummyClassifier
import numpy as np
import acoustic_kit as akit
from acoustic_kit.side_inputs import one_hot_column

class Settings(akit.Settings): pass

def features(s): return {"x": akit.Stats()}
def train(fold, s): return DummyClassifier(strategy="prior").fit(fold.train["x"], fold.train.labels)
def predict(model, clips, s): return np.pad(one_hot_column(clips, "salience", (1, 2), default=1), ((0, 0), (0, 1)))
'''


def salient(workspace: Workspace, folder: Path) -> tuple[Recipe, Run]:
    """A recipe that says the salience, and its run on clips that all have salience 1."""
    workspace.manifest.with_columns(salience=1).write_parquet(workspace.manifest_path)
    path = folder / "salient.py"
    path.write_text(SALIENT)
    recipe = load_recipe(path)
    return recipe, run_recipe(Workspace.find(workspace.root), recipe)[0]


def test_columns_that_a_recipe_looks_at_come_from_a_table(
    workspace: Workspace, new_files: dict[str, Path], tmp_path: Path
) -> None:
    _, run = salient(workspace, tmp_path)
    table, values = tmp_path / "table.csv", [1, 2] * 6
    names = [Path(id).stem for id in new_files]
    table.write_text("file,salience\n" + "".join(f"{n},{v}\n" for n, v in zip(names, values, strict=True)))
    found = predict_clips(run.path, new_files, table=table, trust=True)
    assert (found.probabilities.argmax(axis=1) + 1).tolist() == values
    with pytest.raises(AkitError, match=r"no column 'salience'(.|\n)*--table FILE.csv"):
        predict_clips(run.path, new_files, trust=True)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["logmel_cnn", "freesound_mobilenet_pca", "eat_s_esc50", "itmo_ast_inception"])
def test_a_published_recipe_predicts_real_clips_as_its_run_did(esc10: Path, tmp_path: Path, recipe: str) -> None:
    workspace = init_workspace(tmp_path / "work", esc10, test_folds=[5])
    loaded = load_recipe(recipe)
    run, _ = run_recipe(workspace, loaded, loaded.settings(fast=True), fast=True, workers=2)
    assert run.test is not None
    files = dict(workspace.manifest.filter(pl.col("split") == "test").select("id", "path").iter_rows())
    clips = {id: workspace.data_root / files[id] for id in run.test.ids}
    found = predict_clips(shutil.copytree(run.path, tmp_path / "copy"), clips, workers=2)
    np.testing.assert_allclose(found.probabilities, run.test.probabilities, rtol=0, atol=1e-6)


def test_worker_processes_change_nothing(
    run_of: RunOf, new_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "BLOCK", 1)
    run = run_of("stats_pca_linear")
    found = predict_clips(run.path, new_files, workers=1)
    np.testing.assert_allclose(found.probabilities, own_predictions(run, list(new_files)), rtol=0, atol=1e-12)


def test_every_run_of_a_workspace_can_be_opened(trained: Workspace) -> None:
    for run in list_runs(trained.runs_path):
        assert open_predictor(run.name, trained.root).n_models == len(run.done)
