"""Connection to a Dask cluster, and tasks on its workers, a few per worker at a time."""

from __future__ import annotations

import asyncio
import logging
import pickle
import platform
import threading
import time
import traceback
import uuid
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from itertools import islice
from queue import SimpleQueue
from typing import Any, TypeVar

from acoustic_kit import __version__
from acoustic_kit.errors import AkitError

IN_FLIGHT = 2  # tasks per thread of the cluster: one that is computed, one in transit
REFRESH = 10.0  # seconds between queries of the workers

Argument = TypeVar("Argument")
Send = Callable[[Any], None]  # sends a message, serializable by msgpack, to the client while a task runs

_one_at_a_time = threading.Lock()  # feature kernels and torch are multithreaded, and reuse buffers


class WorkersDied(AkitError):  # noqa: N818
    """Workers died on a task as often as the scheduler allows."""


class TaskCancelled(Exception):  # noqa: N818 (not an error: its client has left, or needs no more)
    """Ends a task on a worker after it was cancelled."""


class Cluster:
    """A connection to a Dask scheduler; made by `connect`."""

    def __init__(self, client: Any, address: str) -> None:
        self.address = address
        self._client = client
        self._known: dict[str, dict[str, Any]] = {}
        self._known_at = -REFRESH

    def workers(self) -> dict[str, dict[str, Any]]:
        """Return Dask's information about each worker, by address, at most `REFRESH` seconds old."""
        if time.monotonic() - self._known_at >= REFRESH:
            self._known = dict(self._client.scheduler_info(n_workers=-1)["workers"])
            self._known_at = time.monotonic()
        return self._known

    @property
    def has_gpus(self) -> bool:
        """Whether any worker was started with `--resources GPU=…`."""
        return any(worker["resources"].get("GPU") for worker in self.workers().values())

    def summary(self) -> str:
        """Return a short description of the workers."""
        workers = self.workers().values()
        if not workers:
            return "no workers yet; work starts with the first one"
        gpus = sum(bool(worker["resources"].get("GPU")) for worker in workers)
        threads = sum(int(worker["nthreads"]) for worker in workers)
        return (
            f"{len(workers)} worker{'s' * (len(workers) > 1)}"
            + (f", {gpus} with a GPU" if gpus else "")
            + (f", of whose {threads} threads each uses one (start them with --nthreads 1)" * (threads > len(workers)))
        )

    def run(
        self,
        function: Callable[[Argument, Send], Any],
        arguments: Iterable[Argument],
        *,
        gpu: Callable[[Argument], bool] = lambda _: False,
        on_message: Callable[[Any], None] = lambda _: None,
    ) -> Generator[tuple[Argument, Any]]:
        """Call a function with each argument on any worker, and yield each argument with its outcome, as it finishes.

        The outcome is the function's result, the exception that it raised, or `WorkersDied` if workers died on it as
        often as the scheduler allows. Close the generator to cancel the rest. Arguments are taken from the iterable a
        few per thread of the cluster in advance. Tasks of one worker run one after another.

        - `function`: of a module that workers can import; its second argument sends a message to `on_message`
        - `gpu`: whether a task needs a worker with the resource GPU, if there are any

        Raises AkitError if the connection to the scheduler is lost.
        """
        inbox: SimpleQueue[Any] = SimpleQueue()
        topic = f"akit-{uuid.uuid4().hex}"
        waiting = iter(arguments)
        running: dict[str, tuple[Any, Argument]] = {}
        self._client.subscribe_topic(topic, lambda event: inbox.put(event[1]))
        try:
            while True:
                for argument in islice(waiting, max(0, self._room() - len(running))):
                    future = self._submit(function, argument, topic, gpu(argument))
                    running[future.key] = (future, argument)
                    future.add_done_callback(inbox.put)
                if not running:
                    return
                item = inbox.get()
                if not hasattr(item, "key"):
                    on_message(item)
                    continue
                future, argument = running.pop(item.key)
                yield argument, self._outcome(future)
        finally:
            if self._client.status == "running":
                self._client.unsubscribe_topic(topic)
                if running:
                    self._client.cancel([future for future, _ in running.values()], force=True)

    def _room(self) -> int:
        """Return how many tasks may be in flight: the scheduler has their arguments in memory."""
        return IN_FLIGHT * max(1, sum(int(worker["nthreads"]) for worker in self.workers().values()))

    def _submit(self, function: Callable[[Argument, Send], Any], argument: Argument, topic: str, gpu: bool) -> Any:
        import cloudpickle

        return self._client.submit(
            _call,
            cloudpickle.dumps((function, argument)),  # bytes, as the scheduler unpickles other objects
            installed_versions(),
            topic,
            key=f"{function.__name__}-{uuid.uuid4().hex}",
            pure=False,
            resources={"GPU": 1} if gpu and self.has_gpus else None,
        )

    def _outcome(self, future: Any) -> Any:
        from distributed import KilledWorker

        if future.status == "cancelled":
            raise AkitError(
                f"The connection to the scheduler at {self.address} is lost, or the tasks were cancelled there. "
                "Finished work is stored: run the same command again."
            )
        try:
            result = future.result()
        except KilledWorker as error:
            return WorkersDied(f"{error.allowed_failures + 1} workers died on it, one after another")
        except Exception as error:
            return error
        return result.error() if isinstance(result, _Raised) else result


@contextmanager
def connect(address: str, timeout: float = 10.0) -> Iterator[Cluster]:
    """Connect to a cluster by the address of its scheduler: `tcp://host:8786`, or `tls://…` by Dask's configuration.

    Parameters
    ----------
    timeout : seconds to wait for the scheduler's response

    Raises
    ------
    AkitError : Dask is not installed, the scheduler does not respond, or a worker has other versions than this machine

    """
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise AkitError(
            "A cluster needs Dask, which is not installed. Install it with: pip install 'acoustic-kit[cluster]'"
        ) from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # akit raises its own errors
    try:
        asyncio.run(_check_reachable(address, timeout))  # a Client that fails blocks for seconds when collected
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise AkitError(
            f"Cannot connect to a Dask scheduler at {address} ({reason}). Start one with `dask scheduler`, and pass "
            "the address that it prints."
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about versions, which are checked below
        client = Client(address, timeout=timeout, set_as_default=False)
    with client:
        cluster = Cluster(client, address)
        _check_versions(client)
        yield cluster


async def _check_reachable(address: str, timeout: float) -> None:
    from distributed import Security
    from distributed.comm import connect as open_connection

    comm = await open_connection(address, timeout=timeout, **Security().get_connection_args("client"))
    await comm.close()


@cache
def installed_versions() -> dict[str, str]:
    """Return the versions that determine results: of akit, Python and the libraries that a run records."""
    from acoustic_kit.runs.locked_run import RECORDED_PACKAGES

    packages = {package: metadata.version(package) for package in RECORDED_PACKAGES}
    return {"akit": __version__, "python": ".".join(platform.python_version_tuple()[:2]), **packages}


def _check_versions(client: Any) -> None:
    """Raise AkitError if a connected worker has other versions; the tasks of later workers check theirs."""
    found = client.run(installed_versions, on_error="return")
    for worker, versions in found.items():
        if isinstance(versions, BaseException):
            raise AkitError(f"The worker {worker} cannot load akit ({versions}). Install the same version there.")
        _compare(versions, installed_versions(), worker)


def _compare(theirs: Mapping[str, str], ours: Mapping[str, str], worker: str) -> None:
    names = sorted({name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name)})
    if names:
        differ = ", ".join(f"{name} {theirs.get(name, 'none')} (here {ours.get(name, 'none')})" for name in names)
        raise AkitError(f"The worker {worker} has {differ}. Install the same versions, as results depend on them.")


def _call(payload: bytes, versions: Mapping[str, str], topic: str) -> Any:
    """Run a task on a worker."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    try:
        _compare(installed_versions(), versions, worker.address)
        with _one_at_a_time:
            function, argument = pickle.loads(payload)
            return function(argument, partial(_send, worker, key, topic))
    except Exception as error:
        return _Raised.of(error)


@dataclass(frozen=True)
class _Raised:
    """An exception in transit: the client would wait forever for one that Dask cannot pickle or unpickle."""

    pickled: bytes
    text: str

    @staticmethod
    def of(error: Exception) -> _Raised:
        text = traceback.format_exc()
        error.add_note(text)  # for --debug, in place of the traceback
        error.__traceback__ = error.__cause__ = error.__context__ = None
        try:
            return _Raised(pickle.dumps(error), text)
        except Exception:  # not picklable
            return _Raised(b"", text)

    def error(self) -> Exception:
        try:
            found: Exception = pickle.loads(self.pickled)
        except Exception:  # its class is missing here
            return RuntimeError(self.text.strip().rpartition("\n")[2])
        return found


def _send(worker: Any, key: str, topic: str, message: Any) -> None:
    """Send a message. Raises TaskCancelled if the task was cancelled, as a thread cannot be killed."""
    task = worker.state.tasks.get(key)
    if task is None or task.state == "cancelled":
        raise TaskCancelled
    worker.log_event(topic, message)


def this_worker() -> str:
    """Return the address of the worker that runs the calling task."""
    from distributed import get_worker

    return str(get_worker().address)
