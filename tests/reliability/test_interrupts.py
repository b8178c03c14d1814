"""Ctrl-C, as a terminal sends it to all processes of a command: a short good-bye, code 130, and nobody left behind."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from acoustic_kit.cli import app
from acoustic_kit.errors import RunError
from acoustic_kit.features import Wave
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.imported import import_run
from acoustic_kit.runs.run import list_runs
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace

Start = Callable[..., subprocess.Popen[str]]
LIMIT = 60  # seconds, by which a command that hangs is known; how long it took is printed


def press_ctrl_c(process: subprocess.Popen[str], said: str = "Run the same command again") -> float:
    """Check how a process ends; the seconds that it took."""
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT)
    seconds = time.monotonic() - began
    if process.returncode == 0:  # it was just done
        return seconds
    assert process.returncode == 130, errors
    assert f"Stopped. {said}" in errors or "Stopped. Nothing was started." in errors
    assert "Traceback" not in errors
    assert seconds < LIMIT
    while is_group(process.pid):  # the tracker of multiprocessing outlives its parent for a moment
        assert time.monotonic() - began < LIMIT
        time.sleep(0.01)
    return seconds


def is_group(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_build_in_worker_processes_stops_and_goes_on(roomy: Path, start: Start) -> None:
    process = start("-C", roomy, "features", "build", "stats", "--workers", "2")
    key = roomy / "features.zarr" / Wave().key
    while not (key / "000000").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    print(f"features build: {press_ctrl_c(process):.2f} s")
    assert process.returncode == 130
    assert not (key / ".partial").exists()
    again = CliRunner().invoke(app, ["-C", str(roomy), "features", "build", "wave", "--workers", "0"])
    assert again.exit_code == 0, again.output


def test_interrupt_in_callback_or_long_step_ends_the_command(workspace: Workspace, start: Start) -> None:
    for number, stubborn in enumerate(
        ("try:\n            time.sleep(60)\n        except BaseException:\n            pass", "class Callback:\n"
         "            def __del__(self): time.sleep(60)\n        Callback()")
    ):  # fmt: skip
        recipe = workspace.root / f"stubborn{number}.py"
        recipe.write_text(
            '"""Stubborn."""\nimport time, acoustic_kit as akit\nclass Settings(akit.Settings): pass\n'
            'def features(s): return {"x": akit.Stats()}\n'
            f'def train(fold, s):\n    print("training", flush=True)\n    while True:\n        {stubborn}\n'
            "def predict(model, clips, s): ...\n"
        )
        process = start("-C", workspace.root, "recipe", "run", recipe)
        assert process.stdout is not None
        while (line := process.stdout.readline()) != "training\n":
            assert line, process.communicate()
        time.sleep(0.1)
        print(f"stubborn {number}: {press_ctrl_c(process):.2f} s")
        assert process.returncode == 130


COMMANDS = {
    "linear": ("recipe", "run", "stats_pca_linear", "--set", "C=0.2"),
    "cnn": ("recipe", "run", "logmel_cnn", "--device", "cpu"),
    "tune": ("recipe", "tune", "stats_pca_linear", "--trials", "30"),
    "blend": ("blend", "--decision", "tuned"),
    "predict": ("predict", "RUN", "DATA"),
    "report": ("report",),
}


@pytest.fixture(scope="module")
def busy(many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a trained run, and forty that were imported, so that blends and reports take a while."""
    folder = tmp_path_factory.mktemp("busy")
    workspace = Workspace.find(shutil.copytree(many, folder / "work"))
    run_recipe(workspace, load_recipe("stats_pca_linear"), workers=2)
    rng, classes = np.random.default_rng(0), list(workspace.config.classes)
    for number in range(40):
        paths = {}
        for split in ("train", "test"):
            ids = workspace.manifest.filter(pl.col("split") == split)["id"]
            p = rng.dirichlet(np.ones(len(classes)), len(ids))
            paths[split] = folder / f"{number}-{split}.parquet"
            pl.DataFrame({"id": ids, **dict(zip(classes, p.T, strict=True))}).write_parquet(paths[split])
        import_run(workspace, paths["test"], paths["train"], name=f"imported{number}")
    return workspace.root


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_long_command_stops_at_any_time(name: str, busy: Path, start: Start) -> None:
    workspace = Workspace.find(busy)
    trained = next(run for run in list_runs(workspace.runs_path) if run.finished and run.done)
    places = {"DATA": workspace.data_root, "RUN": trained.path}
    workers = [] if name in {"blend", "report"} else ["--workers", "2"]
    command = ["-C", busy, *(places.get(part, part) for part in COMMANDS[name]), *workers]
    began = time.monotonic()
    start("--version").communicate()
    start_up = time.monotonic() - began  # before akit's first line, Python itself answers Ctrl-C
    stopped = 0
    for start_ups in (1, 3, 6, 10, 16, 24, 36):
        seconds = start_ups * start_up
        process = start(*command)
        time.sleep(seconds)
        if process.poll() is not None:
            assert process.returncode == 0, process.communicate()
            break
        said = "" if name == "predict" else "Run the same command again"
        print(f"{name} after {seconds:.1f} s: {press_ctrl_c(process, said):.2f} s")
        stopped += process.returncode == 130
    assert stopped >= 2


@pytest.mark.parametrize(
    "error",
    [
        SystemError("CPUDispatcher returned a result with an exception set"),
        RuntimeError("Error calling __set_name__ on 'cached_property' instance"),
        RunError("a library cannot be imported"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_caused_by_an_interrupt_is_one(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise error from KeyboardInterrupt()

    monkeypatch.setattr("acoustic_kit.api.open_workspace.rank_runs", interrupted)
    result = CliRunner().invoke(app, ["-C", str(workspace.root), "runs", "list"])
    assert result.exit_code == 130
    assert "Stopped." in result.stderr
    assert "defect" not in result.output
