"""Real `akit` processes, and workspaces to ill-treat."""

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

AKIT = [sys.executable, "-c", "from acoustic_kit.cli import main; main()"]
VOLATILE = {"created", "seconds", "train_seconds"}  # in JSON: what no two runs have in common

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
    from acoustic_kit.datasets import make_synthetic
    from acoustic_kit.workspace import init_workspace

    folder = tmp_path_factory.mktemp("many")
    make_synthetic(folder / "data", n_classes=3, clips_per_class=200, seconds=0.3, sample_rate=8000)
    return init_workspace(folder / "work", folder / "data", test_folds=[5]).root


@pytest.fixture
def roomy(many: Path, tmp_path: Path) -> Path:
    """A copy of `many`."""
    return shutil.copytree(many, tmp_path / "roomy")


def _lasting(path: Path) -> object:
    """What of a file is the same each time that it is made."""
    content = path.read_bytes()
    if path.suffix == ".json" and path.parent.name != "features.zarr" and "features.zarr" not in path.parts:
        return _without_times(json.loads(content))
    if path.suffix == ".jsonl":
        return [_without_times(json.loads(line)) for line in content.splitlines()]
    if path.suffix == ".skops":  # names and references are addresses in memory: the arrays are what there is to compare
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return sorted(hashlib.sha256(archive.read(n)).hexdigest() for n in archive.namelist() if n.endswith(".npy"))
    return hashlib.sha256(content).hexdigest()


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_times(held) for key, held in value.items() if key not in VOLATILE}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, object]]:
    """Every file and folder below one, with what lasts of its content: bytes, but for times and memory addresses."""

    def found(root: Path) -> dict[str, object]:
        paths = sorted(root.rglob("*"))
        return {str(path.relative_to(root)): None if path.is_dir() else _lasting(path) for path in paths}

    return found
