"""Tasks on real Dask processes: what comes back, what a death costs, and what is told where it does not work."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from acoustic_kit.cluster import Cluster, WorkersDied, connect
from acoustic_kit.cluster.connection import IN_FLIGHT, this_worker
from acoustic_kit.errors import AkitError

# Functions for workers are lambdas or local: Dask sends those by value, as no worker can import a test.


@pytest.mark.slow
def test_each_argument_returns_with_its_result_or_exception(cluster: Cluster) -> None:
    found = dict(cluster.run(lambda n, tell: 12 // n, range(5)))
    assert {n: found[n] for n in range(1, 5)} == {1: 12, 2: 6, 3: 4, 4: 3}
    assert isinstance(found[0], ZeroDivisionError)


@pytest.mark.slow
def test_an_exception_that_cannot_travel_is_told(cluster: Cluster) -> None:
    def deep(n: int, tell) -> None:
        deep(n + 1, tell)

    def odd(n: int, tell) -> None:
        raise ValueError(open("/dev/null"))  # noqa: PTH123, SIM115

    ((_, outcome),) = cluster.run(deep, [0])
    assert isinstance(outcome, RecursionError)
    ((_, outcome),) = cluster.run(odd, [0])
    assert isinstance(outcome, RuntimeError)
    assert str(outcome).startswith("ValueError: <_io")


@pytest.mark.slow
def test_few_tasks_are_in_flight(cluster: Cluster) -> None:
    taken = done = 0

    def arguments() -> Iterator[int]:
        nonlocal taken
        for n in range(50):
            taken += 1
            assert taken - done <= 2 * IN_FLIGHT
            yield n

    for _ in cluster.run(lambda n, tell: n, arguments()):
        done += 1
    assert done == 50


@pytest.mark.slow
def test_messages_arrive_while_a_task_runs(cluster: Cluster, tmp_path: Path) -> None:
    heard = []

    def waits(path: str, tell) -> str:
        tell(["begun", 0.5])
        while not Path(path).exists():
            time.sleep(0.01)
        return "done"

    def answer(message: list) -> None:
        heard.append(message)
        (tmp_path / "go").touch()

    assert list(cluster.run(waits, [str(tmp_path / "go")], on_message=answer)) == [(str(tmp_path / "go"), "done")]
    assert [list(message) for message in heard] == [["begun", 0.5]]


@pytest.mark.slow
def test_a_task_that_nobody_waits_for_ends_at_its_next_message(cluster: Cluster, tmp_path: Path) -> None:
    def talks(path: str, tell) -> None:
        try:
            while True:
                tell("still here")
                time.sleep(0.01)
        finally:
            Path(path).touch()

    def leave(message: str) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError), closing(cluster.run(talks, [str(tmp_path / "end")], on_message=leave)) as run:
        list(run)
    deadline = time.monotonic() + 30
    while not (tmp_path / "end").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_tasks_that_need_a_gpu_go_where_one_is(cluster: Cluster) -> None:
    (gpu,) = [address for address, worker in cluster.workers().items() if worker["resources"]]
    assert cluster.has_gpus
    assert "2 workers, 1 with a GPU" in cluster.summary()
    assert {worker for _, worker in cluster.run(lambda n, tell: this_worker(), range(6), gpu=lambda n: True)} == {gpu}


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_a_deadly_task_is_told(cluster: Cluster, tmp_path: Path) -> None:
    def dies(task: tuple[str, int], tell) -> int:
        folder, times = task
        with open(f"{folder}/{times}", "a") as log:  # noqa: PTH123 (pathlib is not among what is sent along)
            log.write("x")
        if Path(f"{folder}/{times}").stat().st_size <= times:
            os.kill(os.getpid(), signal.SIGKILL)
        return times

    ((_, survived),) = cluster.run(dies, [(str(tmp_path), 1)])
    assert survived == 1
    ((_, died),) = cluster.run(dies, [(str(tmp_path), 9)])
    assert isinstance(died, WorkersDied)
    assert str(died) == "3 workers died on it, one after another"


def test_where_nothing_answers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("tcp://127.0.0.1:9", "http://127.0.0.1:9", "tls://127.0.0.1:9"):
        with pytest.raises(AkitError, match=f"Dask scheduler at {address}"), connect(address, 0.3):
            pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(AkitError, match=r"pip install 'acoustic-kit\[cluster\]'"), connect("tcp://127.0.0.1:9"):
        pass


OTHER_VERSION = """
import acoustic_kit
acoustic_kit.__version__ = "9.9"
"""


@pytest.mark.slow
def test_worker_version_mismatch_is_reported_at_connect_or_task(machines, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(OTHER_VERSION)
    with connect(machines.address) as cluster:
        assert "no workers yet" in cluster.summary()
        machines.start_worker("--preload", str(tmp_path / "other.py"))
        ((_, outcome),) = cluster.run(lambda n, tell: n, [1])
        assert isinstance(outcome, AkitError)
        assert "akit 9.9 (here" in str(outcome)
    with pytest.raises(AkitError, match=r"The worker tcp://\S+ has akit 9\.9 \(here"), connect(machines.address):
        pass


@pytest.mark.slow
def test_a_scheduler_that_dies_is_told(machines, tmp_path: Path) -> None:
    machines.start_worker()

    def kill(message: str) -> None:
        os.killpg(machines.processes[0].pid, signal.SIGKILL)

    def waits(n: int, tell) -> None:
        tell("begun")
        time.sleep(20)

    with connect(machines.address, timeout=1) as cluster, pytest.raises(AkitError, match="connection to the scheduler"):
        list(cluster.run(waits, [1], on_message=kill))
