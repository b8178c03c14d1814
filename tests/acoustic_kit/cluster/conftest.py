"""A real Dask scheduler and real workers, as processes."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import psutil
import pytest
import torch
from threadpoolctl import threadpool_limits

from acoustic_kit.cluster import Cluster, connect
from acoustic_kit.data import make_synthetic
from acoustic_kit.features import Stats, build_features
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace
from acoustic_store import FeatureStore

PATIENCE = 60  # seconds
IMPATIENT = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "2",  # by default 3
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s",  # to a worker that was killed with a result: by default 30 s
    "DASK_DISTRIBUTED__SCHEDULER__IDLE_TIMEOUT": "300s",  # tests that were killed leave nothing behind for long
}


@dataclass
class Machines:
    """A scheduler on this machine, and its workers: each a nanny and, below it, the process that computes."""

    folder: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)  # what they printed
    address: str = ""

    def start_scheduler(self) -> None:
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
        self.address = self.wait_for(r"Scheduler at:\s+(tcp://\S+)")

    def start_worker(self, *options: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """A nanny with one worker of one thread; it returns when the scheduler knows the worker."""
        before = len(self.lines)
        common = ["--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--memory-limit", "0"]
        folder = ["--local-directory", str(self.folder)]
        process = self._start("worker", self.address, *common, *folder, *options, env=env)
        self.wait_for(r"Registered to:\s+(tcp://\S+)", after=before)
        return process

    def _start(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            cwd=self.folder,
            env=os.environ | IMPATIENT | (env or {}),
        )
        self.processes.append(process)
        threading.Thread(target=lambda: self.lines.extend(process.stdout or ()), daemon=True).start()
        return process

    def wait_for(self, pattern: str, after: int = 0) -> str:
        """The first group of the pattern in what was printed."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if found := re.search(pattern, "".join(self.lines[after:])):
                return found[1] if found.groups() else found[0]
            time.sleep(0.02)
        raise AssertionError(f"{pattern} did not come:\n" + "".join(self.lines))

    def stop(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Machines]:
    found = Machines(folder)
    try:
        found.start_scheduler()
        yield found
    finally:
        found.stop()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """A scheduler without workers."""
    with started(tmp_path) as found:
        yield found


@pytest.fixture(scope="session")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A scheduler with two workers, the second of which says that it has a GPU."""
    with started(tmp_path_factory.mktemp("machines")) as found:
        found.start_worker()
        found.start_worker("--resources", "GPU=1")
        yield found


def kill_below(nanny: subprocess.Popen[str]) -> None:
    below = psutil.Process(nanny.pid).children()
    next(process for process in below if "spawn_main" in " ".join(process.cmdline())).kill()


@pytest.fixture
def kill_worker() -> Callable[[subprocess.Popen[str]], None]:
    """Kill the process that computes; its nanny starts another one."""
    return kill_below


@pytest.fixture(scope="session")
def cluster(two_workers) -> Iterator[Cluster]:
    with connect(two_workers.address) as connected:
        yield connected


@pytest.fixture(scope="session")
def files() -> Callable[[FeatureStore], dict[str, bytes]]:
    """Every file of a store."""
    return lambda store: {
        str(p.relative_to(store.path)): p.read_bytes() for p in sorted(store.path.rglob("*")) if p.is_file()
    }


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace of 300 clips, one of which cannot be read, with `stats` built here. Copy it before you change it."""
    folder = tmp_path_factory.mktemp("many")
    make_synthetic(folder / "data", n_classes=3, clips_per_class=100, seconds=0.3, sample_rate=8000)
    workspace = init_workspace(folder / "work", folder / "data", test_folds=[5])
    row = workspace.manifest.row(100, named=True)
    (workspace.data_root / row["path"]).write_bytes(b"no sound")
    manifest = workspace.manifest.with_columns(id=pl.col("id").replace(row["id"], "bad"))
    manifest.write_parquet(workspace.manifest_path)
    workspace = Workspace.find(workspace.root)
    build_features(workspace.manifest, workspace.data_root, workspace.store(), [Stats()])
    return workspace


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As a worker of Dask has; sums over another number of threads are rounded differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


@pytest.fixture
def elsewhere(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy of `workspace`, in order to run the same there."""
    return Workspace.find(shutil.copytree(workspace.root, tmp_path / "elsewhere"))


@pytest.fixture
def copy(many: Workspace, tmp_path: Path) -> Workspace:
    """A copy of `many` without what is built in it."""
    return Workspace.find(shutil.copytree(many.root, tmp_path / "work", ignore=shutil.ignore_patterns("*.zarr")))
