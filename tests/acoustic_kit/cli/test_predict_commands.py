"""`akit predict`, also in a separate process without a workspace and a network."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from acoustic_kit.cli import app
from acoustic_kit.ensemble.run_blend import blend_runs
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.run import Run
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace

ISOLATED = """
import sys
def refuse(event, args):
    if event.startswith("socket.") and event != "socket.gethostname":
        raise OSError(f"the network was used: {event} {args}")
sys.addaudithook(refuse)
from acoustic_kit.cli import main
main()
"""


def akit(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def isolated(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess:
    """Run a command in a process that cannot open sockets, in a folder outside of any workspace."""
    command = [sys.executable, "-c", ISOLATED, *map(str, arguments)]
    variables = os.environ | {"HOME": str(folder), "HF_HOME": str(folder / "hf")}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


def table(text: str) -> dict[str, list[str]]:
    """Return the rows of a CSV by their first cell; the header under an empty key."""
    header, *rows = csv.reader(text.splitlines())
    return {"": header} | {row[0]: row[1:] for row in rows}


@pytest.fixture(scope="module")
def kit(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `runs/`, `submissions/`, the test clips in `audio/` and a template, without a workspace."""
    folder = tmp_path_factory.mktemp("kit")
    work = Workspace.find(shutil.copytree(built, folder / "work"))
    for recipe, settings in [("stats_pca_linear", {}), ("logmel_cnn", {"epochs": 1, "width": 4})]:
        loaded = load_recipe(recipe)
        run_recipe(work, loaded, loaded.settings(settings))
    blend_runs(work, method="mean", name="first")
    shutil.move(work.runs_path, folder / "runs")
    shutil.move(work.submissions_path, folder / "submissions")
    test = work.manifest.filter(pl.col("split") == "test")
    (folder / "audio").mkdir()
    for path in test["path"]:
        shutil.copy(work.data_root / path, folder / "audio")
    rows = [["id", *work.config.classes], *([Path(id).stem, "0", "0", "0"] for id in test["id"])]
    (folder / "template.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    shutil.rmtree(folder / "work")
    return folder


def run_folder(kit: Path, recipe: str) -> Path:
    (found,) = (kit / "runs").glob(f"{recipe}-*")
    return found


def own_predictions(path: Path) -> dict[str, np.ndarray]:
    frame = pl.read_parquet(path / "test.parquet")
    return {row[0]: np.array(row[1:]) for row in frame.iter_rows()}


@pytest.mark.parametrize("recipe", ["stats_pca_linear", pytest.param("logmel_cnn", marks=pytest.mark.slow)])
def test_a_copied_run_predicts_without_workspace_and_network(kit: Path, tmp_path: Path, recipe: str) -> None:
    run = shutil.copytree(run_folder(kit, recipe), tmp_path / "copy")
    done = isolated(tmp_path, "predict", run, kit / "audio", "--workers", "0")
    assert done.returncode == 0, done.stderr
    found = table(done.stdout)
    own = own_predictions(run)
    assert found.pop("") == ["id", "sound_00", "sound_01", "sound_02"]
    assert list(found) == sorted(own)
    for id, row in found.items():
        np.testing.assert_allclose([float(p) for p in row], own[id], rtol=0, atol=1e-6)
    assert "Predicted 12 clips with copy, 4 models." in done.stderr  # as its folder is called


def test_a_copied_blend_fills_the_template_without_a_workspace(kit: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "submission.csv"
    options = ["--template", kit / "template.csv", "--out", out, "--workers", "0"]
    done = isolated(tmp_path, "predict", kit / "submissions" / "first.json", kit / "audio", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    found, own = table(out.read_text()), [own_predictions(path) for path in (kit / "runs").iterdir()]
    assert found.pop("") == ["id", "sound_00", "sound_01", "sound_02"]
    assert len(found) == 12
    for id, row in found.items():
        expected = np.mean([predictions[f"{id}.wav"] for predictions in own], axis=0)
        np.testing.assert_allclose([float(p) for p in row], expected, rtol=0, atol=1e-6)


def test_a_bad_file_is_a_row_and_no_failure(kit: Path, tmp_path: Path) -> None:
    clips = shutil.copytree(kit / "audio", tmp_path / "clips")
    bad = sorted(clips.iterdir())[0]
    bad.write_text("no sound")
    run, template = run_folder(kit, "stats_pca_linear"), kit / "template.csv"
    plain = akit("predict", run, clips)
    assert plain.exit_code == 0, plain.output
    found = table(plain.stdout)
    assert found[""][-1] == "error"
    assert found[bad.name] == ["", "", "", "it cannot be decoded: Format not recognised"]
    assert "1 of 12 clips could not be read" in plain.stderr
    filled = akit("predict", run, clips, "--template", template)
    assert filled.exit_code == 0, filled.output
    np.testing.assert_allclose([float(p) for p in table(filled.stdout)[bad.stem]], 1 / 3, atol=1e-9)
    assert f"{bad.stem}: it cannot be decoded" in filled.stderr


def test_a_budget_tells_its_forecast_and_leaves_no_parts(kit: Path, tmp_path: Path) -> None:
    run, out = run_folder(kit, "stats_pca_linear"), tmp_path / "o.csv"
    done = akit("predict", run, kit / "audio", "--workers", "0", "--budget", "1h", "--out", out)
    assert done.exit_code == 0, done.output
    assert "for 12 clips, of a budget of 1 h 0 min" in done.stderr
    assert f"{run.name}, 4 models" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["o.csv"]
    refused = akit("predict", run, kit / "audio", "--workers", "0", "--budget", "0.01s", "--out", out)
    assert refused.exit_code == 1
    assert re.search(r"--budget \d+s would suffice", refused.stderr)


def test_ids_without_files_stop_it_before_it_begins(kit: Path, tmp_path: Path) -> None:
    clips, out = shutil.copytree(kit / "audio", tmp_path / "clips"), tmp_path / "o.csv"
    gone = sorted(clips.iterdir())[0]
    gone.unlink()
    arguments = [
        "predict",
        run_folder(kit, "stats_pca_linear"),
        clips,
        "--template",
        kit / "template.csv",
        "--out",
        out,
    ]
    refused = akit(*arguments)
    assert refused.exit_code == 1
    assert f"1 of the template's 12 ids have no file among 11: '{gone.stem}'" in refused.stderr
    assert not out.exists()
    assert "clips" not in refused.stderr.partition("Error")[0]  # nothing was computed
    filled = akit(*arguments, "--allow-missing")
    assert filled.exit_code == 0, filled.output
    assert f"{gone.stem}: the file does not exist" in filled.stderr
    assert len(table(out.read_text())) == 13


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["none", "audio"], 2, "neither a run's folder nor a submission's JSON"),
        (["runs/RUN", "nothing"], 2, "There is no file or folder nothing"),
        (["runs/RUN", "runs"], 1, "no audio files in runs"),
        (["runs/RUN"], 2, "Missing argument 'PATH"),
        (["template.csv", "audio"], 2, "neither a run's folder"),
        (["runs/RUN", "audio", "--template", "none.csv"], 1, r"none.csv: cannot read the file"),
        (["runs/RUN", "audio", "--table", "none.csv"], 1, r"none.csv: cannot read"),
        (["runs/RUN", "audio", "--budget", "90"], 2, r"90m"),
        (["runs/RUN", "audio", "--engine", "onnx"], 2, r"stats_pca_linear"),
        (["runs/RUN", "audio", "--engine", "tflite"], 2, r"tflite"),
    ],
)
def test_mistakes_are_told_in_two_lines(
    kit: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, says: str
) -> None:
    monkeypatch.chdir(kit)
    name = run_folder(kit, "stats_pca_linear").name
    result = akit("predict", *(argument.replace("RUN", name) for argument in arguments))
    assert result.exit_code == code, result.output
    assert re.search(says, result.stderr)
    assert "Traceback" not in result.output


def test_in_a_workspace_a_runs_name_is_enough(workspace: Workspace, tmp_path: Path) -> None:
    run: Run = run_recipe(workspace, load_recipe("stats_pca_linear"), folds=["1"])[0]
    clip = next((workspace.data_root / "audio").glob("*.wav"))
    done = akit("-C", workspace.root, "predict", "stats_pca", clip, clip.parent, "--out", tmp_path / "o.csv")
    assert done.exit_code == 0, done.output
    assert f"{run.name} is not finished" in done.stderr
    assert len(table((tmp_path / "o.csv").read_text())) == 61


def test_a_submissions_name_is_enough(workspace: Workspace, tmp_path: Path) -> None:
    run, _ = run_recipe(workspace, load_recipe("stats_pca_linear"))
    written = blend_runs(workspace, name="stats").submission  # the run's name begins so too
    assert written is not None
    clip = next((workspace.data_root / "audio").iterdir())
    said = []
    for name in ("stats", "stats.csv", written, written.with_suffix(".json"), run.name):
        result = akit("-C", workspace.root, "predict", name, clip, "--workers", "0")
        assert result.exit_code == 0, result.output
        said.append("with stats, " in result.stderr)
    assert said == [True, True, True, True, False]
    result = akit("-C", workspace.root, "predict", "secnd", clip)
    assert result.exit_code == 2
    assert "submissions stats" in result.stderr
    before = written.read_bytes()
    result = akit("-C", workspace.root, "predict", "stats", clip, "--out", written)
    assert result.exit_code == 2
    assert "is a submission" in result.stderr
    assert written.read_bytes() == before
