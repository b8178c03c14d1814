"""`kill -9` at any instant: the same command goes on, ends as one that nothing killed, and leaves nothing behind."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace

Start = Callable[..., subprocess.Popen[str]]
Tree = Callable[[Path], dict[str, object]]

LINEAR = ("recipe", "run", "stats_pca_linear", "--workers", "2")
TINY_CNN = (
    *("recipe", "run", "logmel_cnn", "--workers", "2", "--device", "cpu", "--folds", "1,2"),
    *("--set", "width=4", "--set", "frames=24", "--set", "n_mels=32", "--set", "epochs=6"),
)
COMMANDS = {
    "features": ("features", "build", "stats", "logmel", "--workers", "2"),
    "linear": LINEAR,
    "cnn": TINY_CNN,
    "blend": ("blend", "--name", "first", "--decision", "tuned"),
}
KILLS = [
    (name, seed) for name, n in (("features", 14), ("linear", 12), ("cnn", 12), ("blend", 12)) for seed in range(n)
]


def kill(process: subprocess.Popen[str]) -> bool:
    """Kill a process and its workers at once; whether it was still there to be killed."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_run_killed_three_times_ends_as_one_that_was_not(
    built: Path, tmp_path: Path, start: Start, tree: Tree
) -> None:
    whole, killed = (shutil.copytree(built, tmp_path / name) for name in ("whole", "killed"))
    for root in (whole, killed):
        shutil.rmtree(root / "features.zarr")
    before = len(tree(whole))
    run_recipe(Workspace.find(whole), load_recipe("stats_pca_linear"))
    expected = tree(whole)
    rng, n_killed = random.Random(1), 0
    for entries in sorted(rng.sample(range(before + 1, len(expected) - 10), 3)):
        process = start("-C", killed, *LINEAR)
        while process.poll() is None and count(killed) < entries:
            time.sleep(0.002)
        n_killed += kill(process)
    assert n_killed == 3
    finish(start("-C", killed, *LINEAR))
    assert tree(killed) == expected


def count(folder: Path) -> int:
    """Files and folders below one that changes: what vanishes meanwhile is not counted."""
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


@pytest.fixture(scope="session")
def uninterrupted(
    many: Path, tmp_path_factory: pytest.TempPathFactory, tree: Tree
) -> Callable[[Start, str], tuple[Path, float, dict[str, object]]]:
    """For a command: the workspace where it begins, how long it takes, and what it leaves."""
    known: dict[str, tuple[Path, float, dict[str, object]]] = {}

    def find(start: Start, name: str) -> tuple[Path, float, dict[str, object]]:
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            begin = shutil.copytree(many, folder / "begin")
            if name == "blend":
                for strength in ("0.1", "0.2"):
                    finish(start("-C", begin, *LINEAR, "--set", f"C={strength}"))
            end = shutil.copytree(begin, folder / "end")
            began = time.monotonic()
            finish(start("-C", end, *COMMANDS[name]))
            known[name] = begin, time.monotonic() - began, tree(end)
        return known[name]

    return find


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), KILLS)
def test_commands_killed_at_random_end_with_same_results(
    name: str, seed: int, start: Start, uninterrupted: Callable, tmp_path: Path, tree: Tree
) -> None:
    begin, seconds, expected = uninterrupted(start, name)
    work = shutil.copytree(begin, tmp_path / "work")
    rng, chance = random.Random(seed), 1.0
    while rng.random() < chance:
        process = start("-C", work, *COMMANDS[name])
        time.sleep(rng.uniform(0, seconds))
        kill(process)
        chance /= 2
    finish(start("-C", work, *COMMANDS[name]))
    assert tree(work) == expected


def test_checkpoints_of_a_finished_fold_are_deleted_after_kill(workspace: Workspace) -> None:
    recipe = load_recipe("stats_pca_linear")
    run, _ = run_recipe(workspace, recipe, folds=["2"])
    (run.path / "checkpoints" / "2" / "stage").mkdir(parents=True)
    run_recipe(workspace, recipe, folds=["2"])
    assert not (run.path / "checkpoints").exists()
