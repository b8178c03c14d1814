"""Two processes in one workspace: one of them is told to wait, and what a dead one held is free."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from acoustic_kit.cli import app
from acoustic_kit.features import Wave
from acoustic_kit.workspace.workspace import Workspace

Start = Callable[..., subprocess.Popen[str]]
PATIENCE = 60  # seconds

WAITS = '''"""Waits where it is told to."""
import os, time
from sklearn.dummy import DummyClassifier
import acoustic_kit as akit

class Settings(akit.Settings):
    name: str = ""

def features(s): return {"x": akit.Stats()}

def train(fold, s):
    print("training", flush=True)
    if "WAIT" in os.environ:
        time.sleep(600)
    return DummyClassifier(strategy="prior").fit(fold.train["x"], fold.train.labels)

def predict(model, clips, s):
    return akit.class_probabilities(model, clips["x"], len(clips.classes))
'''


def akit(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_build_locks_its_feature_and_a_killed_build_unlocks_it(roomy: Path, start: Start) -> None:
    first = start("-C", roomy, "features", "build", "wave", "--workers", "1")
    key = roomy / "features.zarr" / Wave().key
    wait_for((key / "000000").exists)
    os.killpg(first.pid, signal.SIGSTOP)  # in the middle of its work, for as long as we like
    assert first.poll() is None
    for command in (("features", "build", "wave"), ("recipe", "run", "stats_pca_linear")):
        second = akit("-C", roomy, *command, "--workers", "0")
        assert second.exit_code == 1
        assert f"{Wave().key} is being written by another process. Wait until it has finished" in second.stderr
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert akit("-C", roomy, "features", "build", "wave", "--workers", "0").exit_code == 0
    workspace = Workspace.find(roomy)
    stored = workspace.store()[Wave().key]
    assert set(stored.ids) == set(workspace.manifest["id"])
    assert stored.verify() == []
    assert sorted(path.name for path in key.iterdir()) == [*(f"{i:06}" for i in range(10)), "zarr.json"]


def test_a_second_run_waits_and_others_do_not(
    workspace: Workspace, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = workspace.root / "waits.py"
    recipe.write_text(WAITS)
    monkeypatch.setenv("WAIT", "1")
    first = start("-C", workspace.root, "recipe", "run", recipe)
    assert first.stdout is not None
    while (line := first.stdout.readline()) != "training\n":
        assert line, first.communicate()
    monkeypatch.delenv("WAIT")
    second = akit("-C", workspace.root, "recipe", "run", recipe)
    assert second.exit_code == 1
    assert "is being trained by another process; wait until it has finished" in second.stderr
    other = akit("-C", workspace.root, "recipe", "run", recipe, "--seed", "1", "--workers", "0")  # builds and trains
    assert other.exit_code == 0
    assert akit("-C", workspace.root, "features", "build", "logmel", "--workers", "0").exit_code == 0
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert akit("-C", workspace.root, "recipe", "run", recipe).exit_code == 0


def test_concurrent_feature_additions_to_config_are_both_kept(workspace: Workspace) -> None:
    one, other = Workspace.find(workspace.root), Workspace.find(workspace.root)
    one.remember_features(["logmel"])
    other.remember_features(["pcen"])
    assert Workspace.find(workspace.root).config.features == ("stats", "logmel", "pcen")


@pytest.mark.slow
def test_two_blends_of_one_name_end_with_a_whole_submission(workspace: Workspace, start: Start) -> None:
    assert akit("-C", workspace.root, "recipe", "run", "stats_pca_linear").exit_code == 0
    command = ("-C", workspace.root, "blend", "--method", "mean", "--name", "first")
    processes = [start(*command) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    written = workspace.root / "submissions"
    assert sorted(path.name for path in written.iterdir()) == ["first.csv", "first.json"]
    before = (written / "first.csv").read_bytes()
    shutil.rmtree(written)
    assert akit(*command).exit_code == 0
    assert (written / "first.csv").read_bytes() == before
