"""Several processes train what one process trains, go on after a kill, and end together. On the CPU, over Gloo."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from acoustic_kit.device import Compute
from acoustic_kit.errors import AkitError
from acoustic_kit.recipe.recipe import find_recipes, load_recipe, recipe_folders
from acoustic_kit.recipe.recipe_file import RecipeFile, names_line
from acoustic_kit.runs.run import Run, list_runs
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.training import fabric
from acoustic_kit.workspace.workspace import Workspace

RECIPE = Path(__file__).with_name("shared_recipe.py")
AKIT = [sys.executable, "-m", "acoustic_kit.cli"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "acoustic_kit.cli"]
PATIENCE = 300  # seconds, at most, for one command
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(workspace: Workspace) -> Iterator[Start]:
    """A function that trains, on the CPU, in a process group of its own, as a terminal starts a command."""
    begun: list[subprocess.Popen[str]] = []

    def call(
        settings: list[str],
        *options: str,
        recipe: str = str(RECIPE),
        program: list[str] = AKIT,
        device: str = "cpu",
    ) -> subprocess.Popen[str]:
        line = [*program, "-C", str(workspace.root), "recipe", "run", recipe, "--device", device, *options]
        line += [part for setting in settings for part in ("--set", setting)]
        pipe = subprocess.PIPE
        begun.append(subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, start_new_session=True))
        return begun[-1]

    yield call
    for process in begun:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def in_one_process(workspace: Workspace, settings: list[str], device: str = "cpu") -> Run:
    """The run that the others must equal, out of their way."""
    recipe = load_recipe(RECIPE)
    compute = Compute(device, "32")
    made, _ = run_recipe(workspace, recipe, recipe.settings(settings), folds=["1"], compute=compute)
    workspace.runs_path.rename(workspace.root / "expected")
    return Run(workspace.root / "expected" / made.name, made.record)


def the_run(workspace: Workspace) -> Run:
    (found,) = list_runs(workspace.runs_path)
    return found


def log(run: Run) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run.path / "folds" / "1" / "net.jsonl").read_text().splitlines()]


def assert_alike(found: Run, expected: Run, rtol: float = 1e-5) -> None:
    assert found.name == expected.name
    for one, other in zip(log(found), log(expected), strict=True):
        assert one.keys() == other.keys()
        for name in ("epoch", "phase", "lr", "train_loss", "valid_loss"):
            assert one[name] == pytest.approx(other[name], rel=rtol), name
    for part in ("oof", "test"):
        ours, theirs = (pl.read_parquet(run.path / f"{part}.parquet") for run in (found, expected))
        assert ours["id"].to_list() == theirs["id"].to_list()
        np.testing.assert_allclose(ours.drop("id"), theirs.drop("id"), atol=10 * rtol)


def second_of(process: subprocess.Popen[str]) -> int:
    """The id of the process that trains beside the first."""
    line = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.pid)]
    lines = subprocess.run(line, capture_output=True, text=True, check=False).stdout.splitlines()
    (found,) = [line.split()[0] for line in lines if "recipe run" in line]
    return int(found)


def wait_until_none_is_left(process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    with suppress(ProcessLookupError):
        while time.monotonic() < until:
            os.killpg(process.pid, 0)
            time.sleep(0.1)
        pytest.fail("a process is left")


def wait_for_an_epoch(workspace: Workspace, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + PATIENCE
    while not list(workspace.runs_path.glob("*/checkpoints/1/net/state.safetensors")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def test_two_processes_train_what_one_trains(workspace: Workspace, start: Start) -> None:
    """Batch normalisation, mixup by clip, SAM, averaged weights; batches and shares of different sizes."""
    settings = ["sam=0.05", "ema=0.9"]
    expected = in_one_process(workspace, settings)
    code, out, err = ended(start(settings, "--folds", "1", "--devices", "2"))
    assert code == 0, err
    found = the_run(workspace)
    assert_alike(found, expected)
    assert found.compute == ["cpu, 32-true, 2 processes"]
    assert err.count("Training on cpu, float32, 2 processes.") == 1
    assert err.count(f"Run {found.path}") == 1
    assert all("chance" in line for line in err.splitlines() if "Warning" in line)  # two epochs
    assert out.splitlines()[0].split() == ["fold", "training", "clips", "time", "f1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "settings", "rtol"),
    [
        (2, ["mixup_by=batch", "keep=valid_loss", "clip_norm=0.5"], 1e-5),
        (2, ["norm=false", "micro_batch=3", "plateau=true", "epochs=5"], 1e-5),
        (2, ["norm=false", "micro_batch=1", "batch_size=9", "sam=0.1"], 1e-5),
        (3, ["keep=accuracy", "ema=0.9", "clip_norm=0.1"], 1e-5),  # two batches in validation: one process has none
        (3, ["norm=false", "batch_size=17"], 1e-5),  # the last batch has two clips
        (3, ["batch_size=17"], 2e-3),  # whose running variance is then another
    ],
)
def test_several_processes_train_what_one_trains(
    workspace: Workspace, start: Start, processes: int, settings: list[str], rtol: float
) -> None:
    expected = in_one_process(workspace, settings)
    code, _, err = ended(start(settings, "--folds", "1", "--devices", str(processes)))
    assert code == 0, err
    assert_alike(the_run(workspace), expected, rtol)


@pytest.mark.gpu
def test_two_gpus_train_what_one_trains(workspace: Workspace, start: Start) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU")
    settings = ["sam=0.05", "ema=0.9"]
    expected = in_one_process(workspace, settings, "cuda")
    options = ["--folds", "1", "--devices", "2", "--precision", "32"]
    code, _, err = ended(start(settings, *options, device="cuda"))
    assert code == 0, err
    assert_alike(the_run(workspace), expected, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 1), (1, 3)])
def test_a_killed_training_goes_on_with_as_many_processes_or_others(
    workspace: Workspace, start: Start, before: int, after: int
) -> None:
    settings = ["epochs=40", "ema=0.9", "norm=false"]
    expected = in_one_process(workspace, settings)
    process = start(settings, "--folds", "1", "--devices", str(before))
    wait_for_an_epoch(workspace, process)
    process.kill()
    process.communicate()
    wait_until_none_is_left(process)
    assert not the_run(workspace).done
    code, _, err = ended(start(settings, "--folds", "1", "--devices", str(after)))
    assert code == 0, err
    assert_alike(the_run(workspace), expected, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_where_one_fails_all_end_and_it_says_why_once(workspace: Workspace, start: Start, rank: int) -> None:
    process = start([f"fails_in={rank}"], "--folds", "1", "--devices", "2")
    code, out, err = ended(process)
    assert code == 1
    assert err.count("this process fails, and says so") == 1
    assert "Traceback" not in err
    assert "defect" not in err
    assert not out
    wait_until_none_is_left(process)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["terminal", "first"])
def test_ctrl_c_ends_all(workspace: Workspace, start: Start, how: str) -> None:
    process = start(["epochs=100000"], "--folds", "1", "--devices", "2")
    wait_for_an_epoch(workspace, process)
    if how == "terminal":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    code, _, err = ended(process)
    assert code == 130
    assert err.count("Stopped.") == 1
    assert "Traceback" not in err
    wait_until_none_is_left(process)


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_others(workspace: Workspace, start: Start) -> None:
    process = start(["epochs=100000"], "--folds", "1", "--devices", "2")
    wait_for_an_epoch(workspace, process)
    os.kill(second_of(process), signal.SIGKILL)
    code, _, err = ended(process)
    wait_until_none_is_left(process)
    assert code in {1, -signal.SIGKILL}  # Fabric's own watch may be faster
    assert "Traceback" not in err
    assert code != 1 or "Process 2 of 2 was ended by signal 9" in err


def test_that_another_process_was_lost_is_seen_below_a_recipes_line(tmp_path: Path) -> None:
    file = RecipeFile(tmp_path / "r.py", "r", "")
    with pytest.raises(AkitError) as caught, names_line(file, always=True):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:538] Connection reset by peer")
    assert fabric._lost_another(caught.value)
    assert not fabric._lost_another(AkitError("connection"))


@pytest.mark.slow
def test_torchrun_starts_the_processes_too_and_one_command_trains_several_runs(
    workspace: Workspace, start: Start
) -> None:
    options = ["--folds", "1,2", "--seed", "0,1"]
    code, _, err = ended(start([], *options, program=TORCHRUN))
    assert code == 0, err
    runs = list_runs(workspace.runs_path)
    assert len(runs) == 2
    assert {tuple(run.done) for run in runs} == {("1", "2")}
    assert {tuple(run.compute) for run in runs} == {("cpu, 32-true, 2 processes",)}
    assert err.count("Training on cpu, float32, 2 processes.") == 2
    code, _, err = ended(start([], *options, program=TORCHRUN))
    assert code == 0, err
    assert err.count("is already there") == 2
    _, _, err = ended(start([], "--devices", "3", program=TORCHRUN))
    assert "torchrun started 2 processes, where 3 would run" in err


@pytest.mark.slow
def test_a_run_that_another_process_trains_is_told_once(workspace: Workspace, start: Start) -> None:
    process = start(["epochs=100000"], "--folds", "1")
    wait_for_an_epoch(workspace, process)
    code, _, err = ended(start(["epochs=100000"], "--folds", "1", "--devices", "2"))
    assert code == 1
    assert err.count("is being trained by another process") == 1


def networks() -> list[str]:
    """One recipe of each file that has a network: found without running the files, which takes seconds."""
    by_file = {path: name for name, path in find_recipes(recipe_folders()).items()}
    return [name for path, name in by_file.items() if "def build_model" in path.read_text("utf-8")]


@pytest.mark.slow
@pytest.mark.parametrize("name", networks())
def test_every_network_trains_in_two_processes(workspace: Workspace, start: Start, name: str) -> None:
    """Also those with layers that are never used, whose gradients nobody must wait for."""
    settings = ["lengths=12,16"] if "lengths" in load_recipe(name).fields else []
    code, _, err = ended(start(settings, "--fast", "--folds", "1", "--devices", "2", recipe=name))
    assert code == 0, err
    assert the_run(workspace).done["1"].processes == 2
    assert all("chance" in line for line in err.splitlines() if "Warning" in line)  # of noise, in a few steps
