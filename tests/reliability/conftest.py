"""Real `akit` processes, and workspaces to ill-treat."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

AKIT = [sys.executable, "-c", "from acoustic_kit.cli import main; main()"]

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts `akit ARGUMENTS`, with its workers in a process group of its own; what is left at the end is killed."""
    groups = []

    def begin(*arguments: str | Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*AKIT, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        groups.append(process)
        return process

    yield begin
    for process in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of 600 short clips: ten blocks of a feature. Nothing is built. Copy it before you change it."""
    from acoustic_kit.data import make_synthetic
    from acoustic_kit.workspace.init import init_workspace

    folder = tmp_path_factory.mktemp("many")
    make_synthetic(folder / "data", n_classes=3, clips_per_class=200, seconds=0.3, sample_rate=8000)
    return init_workspace(folder / "work", folder / "data", test_folds=[5]).root


@pytest.fixture
def roomy(many: Path, tmp_path: Path) -> Path:
    """A copy of `many`."""
    return shutil.copytree(many, tmp_path / "roomy")
