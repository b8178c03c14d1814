"""Processes of torchrun train what one process trains, resume after a kill, and end together. On the CPU, over Gloo."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.device import Compute
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.run import Run, list_runs
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace

RECIPE = Path(__file__).with_name("shared_recipe.py")
PATIENCE = 1800  # seconds, by which a command that hangs is known
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(workspace: Workspace) -> Iterator[Start]:
    """A function that trains, on the CPU, in a process group of its own, as a terminal starts a command."""
    begun: list[subprocess.Popen[str]] = []

    def call(
        settings: list[str],
        *options: str,
        recipe: str = str(RECIPE),
        processes: int = 2,
        device: str = "cpu",
    ) -> subprocess.Popen[str]:
        port = ["--standalone", "--nproc-per-node", str(processes)]
        torchrun = (
            [sys.executable, "-m", "torch.distributed.run", *port, "-m"] if processes > 1 else [sys.executable, "-m"]
        )
        line = [
            *torchrun,
            "acoustic_kit.cli",
            "-C",
            str(workspace.root),
            "recipe",
            "run",
            recipe,
            "--device",
            device,
            *options,
        ]
        line += [part for setting in settings for part in ("--set", setting)]
        pipe = subprocess.PIPE
        begun.append(subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, start_new_session=True))
        return begun[-1]

    yield call
    for process in begun:
        process.terminate()  # torchrun ends its processes, which SIGKILL would leave
        process.wait(PATIENCE)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def in_one_process(workspace: Workspace, settings: list[str], device: str = "cpu") -> Run:
    """The run that the others must equal, out of their way."""
    recipe = load_recipe(RECIPE)
    compute = Compute(device, "32")
    values = recipe.settings(parse_assignments(recipe, settings))
    made, _ = run_recipe(workspace, recipe, values, folds=["1"], compute=compute)
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


def wait_until_none_is_left(workspace: Workspace) -> None:
    """Wait for the processes that torchrun started, which have sessions of their own."""
    until = time.monotonic() + 60
    line = ["ps", "-ww", "-e", "-o", "args="]
    while str(workspace.root) in subprocess.run(line, capture_output=True, text=True, check=True).stdout:
        assert time.monotonic() < until
        time.sleep(0.2)


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
    code, out, err = ended(start(settings, "--folds", "1"))
    assert code == 0, err
    found = the_run(workspace)
    assert_alike(found, expected)
    assert found.compute == ["cpu, 32-true, 2 processes"]
    assert err.count("Training on cpu, float32, 2 processes.") == 1
    assert err.count(f"Run {found.path}") == 1
    assert out.splitlines()[0].split() == ["fold", "training", "clips", "time", "f1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "settings", "rtol"),
    [
        (2, ["mixup_by=batch", "keep=valid_loss", "clip_norm=0.5"], 1e-5),
        (2, ["norm=false", "micro_batch=3", "plateau=true", "epochs=5"], 1e-5),
        (3, ["keep=accuracy", "ema=0.9", "clip_norm=0.1"], 1e-5),  # two batches in validation: one process has none
        (3, ["batch_size=17"], 2e-3),  # whose running variance is then another
    ],
)
def test_several_processes_train_what_one_trains(
    workspace: Workspace, start: Start, processes: int, settings: list[str], rtol: float
) -> None:
    expected = in_one_process(workspace, settings)
    code, _, err = ended(start(settings, "--folds", "1", processes=processes))
    assert code == 0, err
    assert_alike(the_run(workspace), expected, rtol)


@pytest.mark.gpu
def test_two_gpus_train_what_one_trains(workspace: Workspace, start: Start) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU")
    settings = ["sam=0.05", "ema=0.9"]
    expected = in_one_process(workspace, settings, "cuda")
    options = ["--folds", "1", "--precision", "32"]
    code, _, err = ended(start(settings, *options, device="cuda"))
    assert code == 0, err
    assert_alike(the_run(workspace), expected, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_stopped_training_resumes_with_other_processes(
    workspace: Workspace, start: Start, before: int, after: int
) -> None:
    settings = ["epochs=300", "ema=0.9", "norm=false"]
    expected = in_one_process(workspace, settings)
    process = start(settings, "--folds", "1", processes=before)
    wait_for_an_epoch(workspace, process)
    process.terminate()
    process.communicate()
    wait_until_none_is_left(workspace)
    assert not the_run(workspace).done
    code, _, err = ended(start(settings, "--folds", "1", processes=after))
    assert code == 0, err
    assert_alike(the_run(workspace), expected, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_the_process_that_fails_says_why(workspace: Workspace, start: Start, rank: int) -> None:
    process = start([f"fails_in={rank}"], "--folds", "1")
    code, out, err = ended(process)
    assert code == 1
    assert err.count("this process fails, and says so") == 1
    assert "defect" not in err
    assert not out
    wait_until_none_is_left(workspace)


@pytest.mark.slow
def test_ctrl_c_ends_all(workspace: Workspace, start: Start) -> None:
    process = start(["epochs=100000"], "--folds", "1")
    wait_for_an_epoch(workspace, process)
    process.send_signal(signal.SIGINT)  # torchrun passes it on
    code, _, err = ended(process)
    assert code != 0
    assert err.count("Stopped.") == 1
    wait_until_none_is_left(workspace)


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_others(workspace: Workspace, start: Start) -> None:
    process = start(["epochs=100000"], "--folds", "1")
    wait_for_an_epoch(workspace, process)
    line = ["ps", "-ww", "-o", "pid=", "--ppid", str(process.pid)]
    *_, last = subprocess.run(line, capture_output=True, text=True, check=True).stdout.split()
    os.kill(int(last), signal.SIGKILL)
    code, _, err = ended(process)
    wait_until_none_is_left(workspace)
    assert code == 1
    assert "defect" not in err
    assert "SIGKILL" in err or "Signal 9" in err


@pytest.mark.slow
def test_one_command_trains_several_runs(workspace: Workspace, start: Start) -> None:
    options = ["--folds", "1,2", "--seed", "0,1"]
    code, _, err = ended(start([], *options))
    assert code == 0, err
    runs = list_runs(workspace.runs_path)
    assert len(runs) == 2
    assert {tuple(run.done) for run in runs} == {("1", "2")}
    assert {tuple(run.compute) for run in runs} == {("cpu, 32-true, 2 processes",)}
    assert err.count("Training on cpu, float32, 2 processes.") == 2
    code, _, err = ended(start([], *options))
    assert code == 0, err
    assert err.count("is already there") == 2


@pytest.mark.slow
def test_a_run_that_another_process_trains_is_told_once(workspace: Workspace, start: Start) -> None:
    process = start(["epochs=100000"], "--folds", "1", processes=1)
    wait_for_an_epoch(workspace, process)
    code, _, err = ended(start(["epochs=100000"], "--folds", "1"))
    assert code == 1
    assert err.count("is being trained by another process") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet34_salience_fusion_film_attention", "freesound_mobilenet_pca"])
def test_a_layer_without_gradient_and_two_stages(workspace: Workspace, start: Start, name: str) -> None:
    settings = ["lengths=12,16"] if "lengths" in load_recipe(name).fields else []
    code, _, err = ended(start(settings, "--fast", "--folds", "1", recipe=name))
    assert code == 0, err
    assert the_run(workspace).done["1"].processes == 2
