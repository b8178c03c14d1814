"""Command line: the main workflow, JSON, exit codes, help, and short errors."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
import typer
from typer.testing import CliRunner, Result

from acoustic_kit.cli import app
from acoustic_kit.cli.demo import STEPS
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.workspace.workspace import Workspace

AKIT = [sys.executable, "-c", "from acoustic_kit.cli import main; main()"]


def akit(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def succeed(*arguments: str | Path) -> Result:
    result = akit(*arguments)
    assert result.exit_code == 0, result.output
    return result


def fail(code: int, *arguments: str | Path) -> str:
    """Return the stderr of a failing command without progress bars: at most two lines, no traceback."""
    result = akit(*arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    lines = [line for line in result.stderr.splitlines() if line.strip() and not re.search(r"\d/\d", line)]
    assert len(lines) <= 2, result.stderr
    return "\n".join(lines)


def document(*arguments: str | Path) -> Any:
    return json.loads(succeed(*arguments).stdout)


@pytest.mark.parametrize("metric", ["f1", "map3"])
def test_from_audio_files_to_a_checked_submission(synthetic: Path, tmp_path: Path, metric: str) -> None:
    work = tmp_path / "work"
    submission = work / "submissions" / "first.csv"
    assert (
        "48 train, 12 test"
        in succeed("init", work, "--data", synthetic, "--test-folds", "5", "--metric", metric).output
    )
    inspected = succeed("-C", work, "data", "inspect").output
    assert "sound_00" in inspected
    assert re.search(r"sample rate, Hz( +8000){6}\n", inspected)
    assert re.search(r"stats-\w{8}\s+60\s+0\s+0 ", succeed("-C", work, "features", "build").output)
    succeed("-C", work, "recipe", "run", "stats_pca_linear")
    succeed("-C", work, "recipe", "run", "stats_pca_linear", "--set", "n_components=10")
    assert "n_components=10" in succeed("-C", work, "runs", "list").output
    assert "nested estimate" in succeed("-C", work, "blend", "--top", "2", "--metric", metric, "--name", "first").output
    assert "acceptable" in succeed("-C", work, "submission", "check", submission).output
    scores = document("-C", work, "score", submission, "--json")
    assert scores[metric] > 0.6
    labels = pl.read_csv(submission)["label"]
    assert {len(label.split()) for label in labels} == {3 if metric == "map3" else 1}


def test_a_second_build_says_that_nothing_is_to_do(workspace: Workspace) -> None:
    assert "Nothing to do" in succeed("-C", workspace.root, "features", "build").stderr


def test_a_second_run_is_reported_not_redone(workspace: Workspace) -> None:
    succeed("-C", workspace.root, "recipe", "run", "stats_pca_linear")
    assert "already there" in succeed("-C", workspace.root, "recipe", "run", "stats_pca_linear").stderr


def test_several_seeds_make_several_runs_if_the_recipe_uses_them(workspace: Workspace) -> None:
    source = load_recipe("stats_pca_linear").file.source
    workspace.recipes_path.mkdir()
    (workspace.recipes_path / "seeded.py").write_text(source.replace("SEEDED = False", "SEEDED = True"))
    result = succeed("-C", workspace.root, "recipe", "run", "seeded", "stats_pca_linear", "--seed", "0,1", "--fast")
    assert "stats_pca_linear draws nothing" in result.stderr
    runs = document("-C", workspace.root, "runs", "list", "--json")
    found = sorted((run["recipe"], run["seed"], run["fast"]) for run in runs)
    assert found == [("seeded", 0, True), ("seeded", 1, True), ("stats_pca_linear", 0, True)]


def test_the_template_of_a_new_recipe_runs(workspace: Workspace) -> None:
    succeed("-C", workspace.root, "recipe", "new", "my_idea")
    assert "my_idea" in succeed("-C", workspace.root, "recipe", "list").stdout
    assert "n_trees" in succeed("-C", workspace.root, "recipe", "show", "my_idea").stdout
    succeed("-C", workspace.root, "recipe", "run", "my_idea", "--set", "n_trees=20")
    succeed("-C", workspace.root, "recipe", "run", "my_idea", "--fast")
    runs = document("-C", workspace.root, "runs", "list", "--json")
    assert {run["recipe"] for run in runs} == {"my_idea"}
    path = workspace.recipes_path / "my_idea.py"
    succeed("-C", workspace.root, "recipe", "run", path, "--set", "n_trees=20")


def test_read_commands_print_one_json_document_and_nothing_else(workspace: Workspace) -> None:
    root = workspace.root
    succeed("-C", root, "recipe", "run", "stats_pca_linear")
    path = root / "submissions" / "x.csv"
    succeed("-C", root, "blend", "--name", "x")
    inspected = document("-C", root, "data", "inspect", "--json")
    assert inspected["clips"] == {"train": 48, "test": 12}
    assert [one["name"] for one in inspected["comparison"]] == ["length", "peak", "rms", "sample rate", "channels"]
    assert {"unit", "train", "test", "differs"} < set(inspected["comparison"][0])
    assert {stored["clips"] for stored in document("-C", root, "features", "list", "--json")["built"]} == {60}
    (stats,) = document("-C", root, "features", "info", "stats", "--json")
    assert stats["parameters"]["preset"] == "basic"
    recipes = {recipe["name"]: recipe for recipe in document("recipe", "list", "--json")}
    assert recipes["stats_pca_linear"]["data"] == ""
    assert recipes["eat_s_esc50"]["data"] == "ESC-50"
    assert recipes["eat_s_esc50"]["score"] == "accuracy 0.9215"
    assert document("recipe", "show", "stats_pca_linear", "--json")["settings"]["n_components"] == 0.97
    (run,) = document("-C", root, "runs", "list", "--json")
    assert document("-C", root, "runs", "show", run["run"], "--json")["name"] == run["run"]
    assert document("-C", root, "submission", "check", path, "--json") == {
        "file": str(path), "acceptable": True, "problems": [],
    }  # fmt: skip
    assert set(document("-C", root, "score", path, "--json")) == {
        "accuracy",
        "balanced_accuracy",
        "f1",
        "map3",
    }


def test_the_submission_check_names_the_line_and_fails(workspace: Workspace) -> None:
    succeed("-C", workspace.root, "recipe", "run", "stats_pca_linear")
    succeed("-C", workspace.root, "blend", "--name", "x")
    path = workspace.submissions_path / "x.csv"
    lines = path.read_text().splitlines()
    lines[3] = lines[3].partition(",")[0] + ",no_such_class"
    path.write_text("\n".join(lines) + "\n")
    result = akit("-C", workspace.root, "submission", "check", path)
    assert result.exit_code == 1
    assert "no_such_class" in result.stdout
    assert "line 4" in result.stdout


def test_runs_are_shown_and_deleted(workspace: Workspace) -> None:
    succeed("-C", workspace.root, "recipe", "run", "stats_pca_linear", "--folds", "2", "--note", "only one fold")
    shown = succeed("-C", workspace.root, "runs", "show", "stats_pca_linear").stdout
    assert "only one fold" in shown
    assert "1, 3, 4" in shown  # folds missing
    succeed("-C", workspace.root, "runs", "rm", "stats_pca_linear")
    assert document("-C", workspace.root, "runs", "list", "--json") == []
    assert not list(workspace.runs_path.iterdir())


def test_bad_clips_are_named_with_their_reason(tmp_path: Path) -> None:
    data, work = tmp_path / "data", tmp_path / "work"
    for number in range(12):
        path = data / ("low", "high")[number % 2] / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        pitch = (200, 2000)[number % 2] + number
        soundfile.write(path, 0.5 * np.sin(2 * np.pi * pitch * np.arange(4000) / 8000), 8000)
    (data / "low" / "bad.wav").write_text("no sound")
    assert "bad.wav" in succeed("init", work, "--data", data, "--n-folds", "2").output
    stop = fail(1, "-C", work, "features", "build", "--on-error", "fail", "--workers", "0")
    assert "low/bad.wav" in stop
    assert "low/bad.wav" in succeed("-C", work, "features", "build", "--workers", "0").stderr
    assert "failed: low/bad.wav" in succeed("-C", work, "features", "info", "stats").stdout
    assert "1 clips have no features" in succeed("-C", work, "recipe", "run", "stats_pca_linear").stderr


def test_verify_reports_a_flipped_bit_and_rebuilds_it(workspace: Workspace) -> None:
    chunk = sorted(workspace.store().path.glob("stats-*/*/c.0"))[0]
    content = bytearray(chunk.read_bytes())
    content[100] ^= 1
    chunk.write_bytes(content)
    assert "--rebuild" in fail(1, "-C", workspace.root, "features", "verify")
    assert "damaged" in fail(1, "-C", workspace.root, "recipe", "run", "stats_pca_linear").lower()
    succeed("-C", workspace.root, "features", "verify", "--rebuild")
    succeed("-C", workspace.root, "features", "verify", "stats")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["-C", "{tmp}", "runs", "list"], 1, "akit init"),
        (["init", "{work}", "--data", "{data}"], 2, "already is a workspace"),
        (["init", "{tmp}/new", "--data", "{tmp}/nothing"], 1, "nothing"),
        (["init", "{tmp}/new", "--data", "{data}", "--test-folds", "9"], 2, "1, 2, 3, 4, 5"),
        (["init", "{tmp}/new", "--data", "{data}", "--test-folds", "x"], 2, "--test-folds x"),
        (["init", "{tmp}/new", "--data", "{data}", "--n-folds", "3"], 2, "--unofficial"),
        (["init", "{tmp}/new", "--data", "{data}", "--metric", "f2"], 2, "f2"),
        (["init", "{tmp}/new", "--data", "{data}", "--layout", "esc51"], 2, "esc50"),
        (["-C", "{work}", "features", "build", "stat"], 2, "stat"),
        (["-C", "{work}", "features", "info", "logmel"], 2, "not built"),
        (["-C", "{work}", "recipe", "run", "nothing"], 2, "no recipe"),
        (["-C", "{work}", "recipe", "run", "stats_pca_linear", "--set", "n_component=2"], 2, "n_components"),
        (["-C", "{work}", "recipe", "run", "stats_pca_linear", "--set", "C=-1"], 2, "greater than 0"),
        (["-C", "{work}", "recipe", "run", "stats_pca_linear", "--folds", "5"], 2, "no fold 5"),
        (["-C", "{work}", "recipe", "run", "stats_pca_linear", "--full", "--folds", "1"], 2, "--full"),
        (["-C", "{work}", "recipe", "run", "stats_pca_linear", "--seed", "x"], 2, "--seed x"),
        (["-C", "{work}", "runs", "show", "nothing"], 2, "no run"),
        (["-C", "{work}", "runs", "list", "--metric", "f2"], 2, "f2"),
        (["-C", "{work}", "blend"], 1, "no runs to blend"),
        (["-C", "{work}", "blend", "--from", "{tmp}/none.json"], 1, "none.json"),
        (["-C", "{work}", "runs", "import", "{tmp}/none.csv"], 2, "none.csv"),
        (["-C", "{work}", "runs", "import"], 2, "--oof"),
        (["-C", "{work}", "submission", "note", "none", "text"], 2, "none"),
        (["-C", "{work}", "submit", "{tmp}/none.csv", "-m", "x"], 2, "none.csv"),
        (["-C", "{work}", "submission", "check", "{tmp}/none.csv"], 2, "none.csv"),
        (["-C", "{work}", "score", "{tmp}/none.csv"], 2, "none.csv"),
        (["-C", "{work}", "recipe", "new", "stats_pca_linear"], 2, "already"),
    ],
)
def test_mistakes_give_errors_of_one_or_two_lines(
    built: Path, synthetic: Path, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    filled = [part.format(tmp=tmp_path, work=built, data=synthetic) for part in arguments]
    assert says in fail(code, *filled)


@pytest.mark.parametrize("seed", ["-1", str(2**32), "9" * 5000])
@pytest.mark.parametrize(
    "command",
    [
        ["init", "new", "--data", "data", "--fold-seed"],
        ["recipe", "run", "stats_pca_linear", "--seed"],
        ["recipe", "tune", "stats_pca_linear", "--seed"],
        ["blend", "--seed"],
    ],
)
def test_a_seed_that_no_generator_takes_is_misuse(built: Path, command: list[str], seed: str) -> None:
    result = akit("-C", built, *command, seed)
    assert result.exit_code == 2
    assert "--seed" in result.stderr or "--fold-seed" in result.stderr


@pytest.mark.parametrize(
    ("error", "says"),
    [(RecursionError("maximum depth"), "nested too deeply"), (pl.exceptions.PanicException("index 9"), "index 9")],
)
def test_recursion_and_panics_of_libraries_give_short_errors(
    built: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, says: str
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(Workspace, "find", fails)
    assert says in fail(1, "-C", built, "runs", "list")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = subprocess.run(
        [*AKIT, "--debug", "-C", tmp_path, "runs", "list"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert result.stdout == ""


def test_an_interrupt_ends_with_130_and_says_how_to_go_on(workspace: Workspace) -> None:
    recipe = workspace.root / "endless.py"
    recipe.write_text(
        '"""Endless."""\nimport time, acoustic_kit as akit\nclass Settings(akit.Settings): pass\n'
        'def features(s): return {"x": akit.Stats()}\n'
        'def train(fold, s):\n    print("training", flush=True)\n    time.sleep(60)\n'
        "def predict(model, clips, s): ...\n"
    )
    command = [*AKIT, "-C", str(workspace.root), "recipe", "run", str(recipe)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "training\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "same command again" in errors
    assert "Traceback" not in errors


def test_other_paths_are_relative_to_the_current_folder(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeed("-C", workspace.root, "recipe", "run", "stats_pca_linear")
    succeed("-C", workspace.root, "blend", "--name", "x")
    monkeypatch.chdir(workspace.root / "submissions")
    succeed("submission", "check", "x.csv")  # found upwards
    monkeypatch.chdir(tmp_path)
    succeed("-C", "work", "submission", "check", os.path.join("work", "submissions", "x.csv"))  # noqa: PTH118
    fail(2, "-C", "work", "submission", "check", "submissions/x.csv")


def commands(group: typer.core.TyperGroup, name: str = "akit") -> Iterator[tuple[str, Any]]:
    for key, command in group.commands.items():
        yield f"{name} {key}", command
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {key}")


COMMANDS = dict(commands(typer.main.get_command(app)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(name: str) -> None:
    text = succeed(*name.split()[1:], "--help").stdout
    assert COMMANDS[name].help
    if not hasattr(COMMANDS[name], "commands"):
        assert f"Example: {name}" in text.replace("\n  ", " ")


def test_demo_runs_on_a_data_set_and_replaces_no_finished_demo(synthetic: Path, tmp_path: Path) -> None:
    result = succeed("demo", tmp_path / "demo", "--data", synthetic, "--metric", "map3")
    assert (tmp_path / "demo" / "work" / "submissions" / "first.csv").exists()
    assert "balanced_accuracy" in result.stdout
    own = tmp_path / "demo" / "work" / "recipes" / "mine.py"
    own.parent.mkdir(exist_ok=True)
    own.touch()
    assert str(tmp_path / "demo") in fail(2, "demo", tmp_path / "demo", "--data", synthetic, "--metric", "map3")
    (tmp_path / "demo" / ".akit-demo").touch()  # as versions left it that made such a folder anew
    assert "not empty" in fail(2, "demo", tmp_path / "demo")
    assert own.exists()


def test_a_demo_that_was_stopped_goes_on(synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo, done = tmp_path / "demo", STEPS
    monkeypatch.setattr("acoustic_kit.cli.demo.STEPS", (*done[:2], "-C {work} runs show nothing"))
    assert akit("demo", demo, "--data", synthetic).exit_code == 2
    manifest = demo / "work" / "manifest.parquet"
    before = manifest.stat().st_mtime_ns
    monkeypatch.setattr("acoustic_kit.cli.demo.STEPS", done[:2])
    assert "not empty" in fail(2, "demo", demo, "--data", synthetic, "--metric", "map3")
    succeed("demo", demo, "--data", synthetic)
    assert manifest.stat().st_mtime_ns == before


def test_a_run_that_used_its_own_fold_is_marked_optimistic(workspace: Workspace) -> None:
    recipe = workspace.root / "peeking.py"
    recipe.write_text(
        '"""Peeking."""\nfrom sklearn.dummy import DummyClassifier\nimport acoustic_kit as akit\n'
        "class Settings(akit.Settings): pass\n"
        'def features(s): return {"x": akit.Stats()}\n'
        'def train(fold, s):\n    model = DummyClassifier().fit(fold.train["x"], fold.train.labels)\n'
        '    return akit.FitResult(model, bias_warnings=("chose by its own fold",))\n'
        'def predict(model, clips, s): return akit.class_probabilities(model, clips["x"], len(clips.classes))\n'
    )
    succeed("-C", workspace.root, "recipe", "run", recipe)
    assert "optimistic" in succeed("-C", workspace.root, "runs", "list").stdout
    assert "chose by its own fold" in succeed("-C", workspace.root, "runs", "show", "peeking").stdout
    assert "chose by its own fold" in succeed("-C", workspace.root, "blend", "--name", "x").stdout
    record = json.loads((workspace.submissions_path / "x.json").read_text())
    assert record["runs"][0]["optimistic"] == ["chose by its own fold"]


def test_the_demo_stops_at_a_failed_step_and_changes_nothing(workspace: Workspace, tmp_path: Path) -> None:
    before = sorted(str(path) for path in workspace.root.rglob("*"))
    fail(2, "demo", workspace.root / "d", "--data", tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert akit("demo", workspace.root / "d", "--data", tmp_path / "empty").exit_code == 1
    shutil.rmtree(workspace.root / "d")
    assert sorted(str(path) for path in workspace.root.rglob("*")) == before
    own = tmp_path / "e" / "own"
    own.mkdir(parents=True)
    assert "not empty" in fail(2, "demo", tmp_path / "e", "--data", own)
    assert own.exists()


def test_a_workspace_that_is_not_there_is_not_looked_for_upwards(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.root)
    result = akit("-C", "typo", "runs", "list")
    assert result.exit_code == 2
    assert "no folder typo" in result.stderr


def test_lists_may_have_blanks_but_no_gaps(workspace: Workspace) -> None:
    succeed("-C", workspace.root, "recipe", "run", "stats_pca_linear", "--folds", "1, 2")
    fail(2, "-C", workspace.root, "recipe", "run", "stats_pca_linear", "--folds", "")
    fail(2, "-C", workspace.root, "blend", "--runs", "")


def test_a_recipe_that_does_not_load_does_not_hide_the_others(workspace: Workspace) -> None:
    workspace.recipes_path.mkdir()
    (workspace.recipes_path / "broken.py").write_text("x = (")
    result = succeed("-C", workspace.root, "recipe", "list")
    assert "stats_pca_linear" in result.stdout
    assert "broken cannot be loaded" in result.stderr


def test_fast_runs_are_blended_while_there_are_no_others(workspace: Workspace) -> None:
    succeed("-C", workspace.root, "recipe", "run", "stats_pca_linear", "--fast")
    assert "nested estimate" in succeed("-C", workspace.root, "blend").stdout
    succeed("-C", workspace.root, "recipe", "run", "stats_pca_linear")
    assert "--fast run" in succeed("-C", workspace.root, "blend").stderr


def test_init_says_which_labels_no_submission_can_hold(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "audio").mkdir(parents=True)
    wave = np.random.default_rng(0).normal(0, 0.1, 800)
    for name in [f"{i}.wav" for i in range(9)]:
        soundfile.write(data / "audio" / name, np.roll(wave, ord(name[0])) * (1 + ord(name[0]) / 99), 8000)
    labels = "".join(f"{i}.wav,{('Tearing paper', 'paper')[i % 2]}\n" for i in range(8))
    (data / "train.csv").write_text(f"fname,label\n{labels}")
    init = ("--data", data, "--metric", "map3", "--n-folds", "2")
    for shown, warns in (("paper", True), ('"paper,Tearing paper"', False)):
        (data / "sample_submission.csv").write_text(f"fname,label\n8.wav,{shown}\n")
        said = succeed("init", tmp_path / f"work-{warns}", *init).stderr
        assert ("Tearing paper" in said and "template" in said) == warns
