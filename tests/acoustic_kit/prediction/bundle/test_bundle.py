"""A bundle contains what its notebook needs, and nothing else of the runs."""

import ast
import hashlib
import io
import json
import shutil
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from acoustic_kit.cli import app
from acoustic_kit.ensemble.run_blend import blend_runs
from acoustic_kit.errors import RunError, UsageError
from acoustic_kit.prediction import predict_clips
from acoustic_kit.prediction.bundle import Bundle, make_bundle
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.run import list_runs
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace


@pytest.fixture(scope="module")
def blended(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of `trained` with the submissions `first`, of three recipes, and `folds`, of two fold models."""
    workspace = Workspace.find(shutil.copytree(trained.root, tmp_path_factory.mktemp("blended") / "work"))
    names = [run.name for run in list_runs(workspace.runs_path)]
    blend_runs(workspace, runs=names, name="first")
    linear = next(name for name in names if name.startswith("stats_pca"))
    blend_runs(workspace, runs=[f"{linear}/1", f"{linear}/3"], name="folds")
    return workspace


@pytest.fixture(scope="module")
def bundle(blended: Workspace, wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of `first`, with the names of data set and competition."""
    out = tmp_path_factory.mktemp("out") / "bundle"
    given: dict[str, Any] = {"kaggle": "me/my-bundle", "competition": "birds", "wheels": wheels}
    return make_bundle("first", out, blended.root, **given)


def names_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_predictions_are_those_of_the_workspace(bundle: Bundle, blended: Workspace, new_files: dict[str, Path]) -> None:
    here = predict_clips(blended.submissions_path / "first.json", new_files, trust=True)
    there = predict_clips(bundle.path / bundle.model, new_files, trust=True)
    np.testing.assert_array_equal(there.probabilities, here.probabilities)


def test_only_what_prediction_reads_is_copied(bundle: Bundle, blended: Workspace) -> None:
    runs = list_runs(blended.runs_path)
    assert {path.name for path in (bundle.path / "runs").iterdir()} == {run.name for run in runs}
    kinds = {Path(name).name for name in names_below(bundle.path / "runs")}
    models = {"model.safetensors", "model.skops", "features.safetensors"}
    assert kinds == {"run.json", "fold.json", "recipe.py", "oof.parquet", "labels.parquet"} | models
    sizes = {part: len(files) for part, files in bundle.files().items()}
    assert sizes["weights"] == sum(len(run.done) for run in runs)
    assert str(blended.root) not in (bundle.path / "first.json").read_text()


def test_digests_are_those_of_all_files(bundle: Bundle) -> None:
    lines = (bundle.path / "SHA256SUMS").read_text().splitlines()
    digests = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert set(digests) == names_below(bundle.path) - {"SHA256SUMS"}
    assert all(hashlib.sha256((bundle.path / n).read_bytes()).hexdigest() == d for n, d in digests.items())


def test_the_wheels_are_akits_and_those_that_the_image_lacks(bundle: Bundle, wheels: Path) -> None:
    own = {path.name for path in (bundle.path / "wheels").glob("acoustic_kit-*.whl")}
    assert len(own) == 1
    assert {path.name for path in (bundle.path / "wheels").iterdir()} - own == {path.name for path in wheels.iterdir()}


def test_kaggle_reads_names_and_no_internet(bundle: Bundle) -> None:
    data_set = json.loads((bundle.path / "dataset-metadata.json").read_text())
    notebook = json.loads((bundle.path / "kernel-metadata.json").read_text())
    assert data_set["id"] == "me/my-bundle"
    assert notebook["dataset_sources"] == ["me/my-bundle"]
    assert notebook["competition_sources"] == ["birds"]
    assert notebook["enable_internet"] is False
    assert notebook["is_private"] is True
    assert (bundle.path / notebook["code_file"]).is_file()
    assert "kaggle datasets create" in (bundle.path / "README.txt").read_text()


def test_the_notebook_has_the_lines_of_the_script(bundle: Bundle) -> None:
    cells = json.loads((bundle.path / "notebook.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    script = (bundle.path / "predict.py").read_text()
    assert len(code) == 3
    assert all(part in script for part in code)


class Recorded(list[list[str]]):
    """Stands for `subprocess.Popen`: records commands, all of which succeed, except those that contain `failing`."""

    failing = "nothing"

    def __call__(self, command: list[str], **_: Any) -> "Recorded":
        self.append(command)
        self.stdout, self.returncode = io.StringIO("said\n"), int(self.failing in command)
        return self

    def __enter__(self) -> "Recorded":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def run_script(bundle: Bundle, inputs: Path, monkeypatch: pytest.MonkeyPatch, *, failing: str = "nothing") -> Recorded:
    """Run the script as a notebook, with the input folder of a competition and of the bundle."""
    recorded = Recorded()
    recorded.failing = failing
    monkeypatch.setattr(subprocess, "Popen", recorded)
    monkeypatch.chdir(inputs)
    text = (bundle.path / "predict.py").read_text().replace('"/kaggle/input"', repr(str(inputs)))
    exec(compile(text, "notebook", "exec"), {})
    return recorded


@pytest.fixture
def inputs(bundle: Bundle, tmp_path: Path) -> Path:
    """What a notebook sees: the competition, and the bundle as a data set of the newer form of paths."""
    (tmp_path / "birds" / "test_soundscapes").mkdir(parents=True)
    (tmp_path / "birds" / "train_audio").mkdir()
    (tmp_path / "birds" / "sample_submission.csv").write_text("row_id,a\n")
    (tmp_path / "datasets" / "me").mkdir(parents=True)
    (tmp_path / "datasets" / "me" / "my-bundle").symlink_to(bundle.path)
    return tmp_path


def test_the_script_finds_bundle_template_and_clips(
    bundle: Bundle, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install, predict = run_script(bundle, inputs, monkeypatch)
    here = inputs / "datasets" / "me" / "my-bundle"
    assert {"--no-index", "--no-deps"} <= set(install)
    assert {Path(part) for part in install if part.endswith(".whl")} == set((here / "wheels").iterdir())
    assert predict[predict.index("predict") + 1 :][:2] == [
        str(here / "first.json"),
        str(inputs / "birds/test_soundscapes"),
    ]
    assert predict[predict.index("--template") + 1] == str(inputs / "birds" / "sample_submission.csv")
    assert str(inputs / "birds" / "train_audio") not in predict
    assert "--trust" in predict  # `components` is not part of akit


def test_a_failure_ends_the_script(bundle: Bundle, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="no predictions"):
        run_script(bundle, inputs, monkeypatch, failing="predict")
    (inputs / "birds" / "sample_submission.csv").unlink()
    with pytest.raises(SystemExit, match=r"sample_submission\.csv: found \[\]"):
        run_script(bundle, inputs, monkeypatch)


def test_a_run_of_an_installed_recipe_needs_no_trust(
    blended: Workspace, wheels: Path, tmp_path: Path, new_files: dict[str, Path]
) -> None:
    run = next(run for run in list_runs(blended.runs_path) if run.record.recipe == "logmel_cnn")
    made = make_bundle(run.path, tmp_path / "out", wheels=wheels)
    assert made.model == f"runs/{run.name}"
    assert "TRUST = []" in (made.path / "predict.py").read_text()
    assert not list((made.path / "wheels").glob("skops-*"))
    assert not list(made.path.glob("*-metadata.json"))
    assert predict_clips(made.path / made.model, new_files).ids == tuple(new_files)


def test_another_persons_recipe_needs_trust(blended: Workspace, wheels: Path, tmp_path: Path) -> None:
    run = next(run for run in list_runs(blended.runs_path) if run.record.recipe == "components")
    with pytest.raises(RunError, match="--trust"):
        make_bundle(run.path, tmp_path / "out", wheels=wheels)
    assert not (tmp_path / "out").exists()


def test_fold_models_bring_only_their_folds(blended: Workspace, wheels: Path, tmp_path: Path) -> None:
    made = make_bundle("folds", tmp_path / "out", blended.root, wheels=wheels)
    (run,) = (made.path / "runs").iterdir()
    assert {path.name for path in (run / "folds").iterdir()} == {"1", "3"}


AST = '''"""A recipe of the package's features, with pretrained weights."""
from sklearn.linear_model import LogisticRegression
import acoustic_kit as akit

class Settings(akit.Settings):
    weights: str = ""

def features(s): return {"x": akit.Ast(akit.AstInput(n_mels=32, max_length=64), s.weights)}
def train(fold, s): return LogisticRegression(max_iter=50).fit(fold.train["x"], fold.train.labels)
def predict(model, clips, s): return akit.class_probabilities(model, clips["x"], len(clips.classes))
'''


def test_pretrained_weights_are_in_the_bundle(
    workspace: Workspace, tiny_ast: Path, wheels: Path, tmp_path: Path, new_files: dict[str, Path]
) -> None:
    weights = shutil.copytree(tiny_ast, tmp_path / "ast")
    (weights / "preprocessor_config.json").unlink()  # which `ast` does not need
    workspace.recipes_path.mkdir()
    (workspace.recipes_path / "of_ast.py").write_text(AST)
    recipe = load_recipe("of_ast", workspace.recipes_path)
    run, _ = run_recipe(workspace, recipe, recipe.settings({"weights": str(weights)}), folds=["1"])
    made = make_bundle(run.name, tmp_path / "out", workspace.root, wheels=wheels, weights=weights)
    expected = predict_clips(run.path, new_files, trust=True, weights=weights)
    shutil.rmtree(weights)
    script = (made.path / "predict.py").read_text()
    assert 'WEIGHTS = ["weights/1"]' in script
    found = predict_clips(made.path / made.model, new_files, trust=True, weights=made.path / "weights/1")
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_folder_and_names_are_checked_first(blended: Workspace, wheels: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(UsageError, match="exists and is not replaced"):
        make_bundle("first", tmp_path, blended.root, wheels=wheels)
    for name in ("my-bundle", "me/My Bundle", "me/short", "me/" + 50 * "a"):
        with pytest.raises(UsageError, match=name):
            make_bundle("first", tmp_path / "out", blended.root, wheels=wheels, kaggle=name)


def test_the_command_prints_sizes(blended: Workspace, wheels: Path, tmp_path: Path) -> None:
    command = ["-C", str(blended.root), "bundle", "folds", "--out", str(tmp_path / "out"), "--wheels", str(wheels)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["part", "weights", "wheels", "rest", "all"]


def test_an_exported_file_needs_no_run(
    wheels: Path, tiny_wheel: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    monkeypatch.setattr("acoustic_kit.prediction.bundle.bundle.open_file", opened.append)
    name = 'my "first".onnx'
    (tmp_path / name).write_bytes(b"a graph")
    given = shutil.copytree(wheels, tmp_path / "wheels")
    tiny_wheel(given, "onnxruntime", version("onnxruntime"))
    made = make_bundle(tmp_path / name, tmp_path / "out", wheels=given)
    assert opened == [tmp_path / name]
    assert made.files()["weights"] == [made.path / name]
    assert not (made.path / "runs").exists()
    packages = {path.name.partition("-")[0] for path in (made.path / "wheels").iterdir()}
    assert {"acoustic_kit", "onnxruntime"} <= packages
    assert not {"zarr", "numcodecs", "skops", "scikit_learn"} & packages
    script = ast.parse((made.path / "predict.py").read_text())
    assert name in [node.value for node in ast.walk(script) if isinstance(node, ast.Constant)]
