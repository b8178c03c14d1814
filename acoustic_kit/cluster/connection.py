"""A Dask cluster: connecting to it, and running tasks there, a few for each worker at a time."""

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
from acoustic_kit.errors import AkitError, UsageError

IN_FLIGHT = 2  # tasks for each thread of the cluster: one that is computed, one that is on its way
REFRESH = 10.0  # seconds: how old our knowledge of the workers may be

Argument = TypeVar("Argument")
Tell = Callable[[Any], None]  # sends a message, of what msgpack knows, to the client while a task runs

_one_at_a_time = threading.Lock()  # feature kernels and torch use the threads themselves, and keep buffers


class WorkersDied(AkitError):  # noqa: N818
    """Workers died on a task, one after another, as often as the scheduler allows."""


class Unwanted(Exception):  # noqa: N818 (no error: its client has gone, or has what it needs)
    """Ends a task on a worker when nobody waits for it any more."""


class Cluster:
    """A connection to a Dask scheduler; made by `connect`."""

    def __init__(self, client: Any, address: str) -> None:
        self.address = address
        self._client = client
        self._known: dict[str, dict[str, Any]] = {}
        self._known_at = -REFRESH

    def workers(self) -> dict[str, dict[str, Any]]:
        """What Dask knows of each worker, by address, a few seconds ago."""
        if time.monotonic() - self._known_at >= REFRESH:
            self._known = dict(self._client.scheduler_info(n_workers=-1)["workers"])
            self._known_at = time.monotonic()
        return self._known

    @property
    def has_gpus(self) -> bool:
        """Whether any worker was started with `--resources GPU=…`."""
        return any(worker["resources"].get("GPU") for worker in self.workers().values())

    def summary(self) -> str:
        """What there is, in a few words."""
        workers = self.workers().values()
        if not workers:
            return "no workers yet; the work begins when the first one is there"
        gpus = sum(bool(worker["resources"].get("GPU")) for worker in workers)
        threads = sum(int(worker["nthreads"]) for worker in workers)
        return (
            f"{len(workers)} worker{'s' * (len(workers) > 1)}"
            + (f", {gpus} with a GPU" if gpus else "")
            + (f", of whose {threads} threads each uses one (start them with --nthreads 1)" * (threads > len(workers)))
        )

    def run(
        self,
        function: Callable[[Argument, Tell], Any],
        arguments: Iterable[Argument],
        *,
        gpu: Callable[[Argument], bool] = lambda _: False,
        on_message: Callable[[Any], None] = lambda _: None,
    ) -> Generator[tuple[Argument, Any]]:
        """Call a function with each argument on some worker: each argument, as it finishes, and what came of it.

        What comes is the function's result, or the exception that it raised; `WorkersDied` where workers died on it as
        often as the scheduler allows. Close it when you leave it early: that cancels the rest. Arguments are taken from
        the iterable a few for each thread of the cluster in advance. Tasks of one worker run one after another.

        - `function`: of a module that workers can import; its second argument sends a message to `on_message`
        - `gpu`: whether it is for a worker with the resource GPU, where there is one

        Raises AkitError where the connection to the scheduler is lost.
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
        """How many tasks may be in flight: their arguments lie in the memory of the scheduler."""
        return IN_FLIGHT * max(1, sum(int(worker["nthreads"]) for worker in self.workers().values()))

    def _submit(self, function: Callable[[Argument, Tell], Any], argument: Argument, topic: str, gpu: bool) -> Any:
        import cloudpickle

        return self._client.submit(
            _call,
            cloudpickle.dumps((function, argument)),  # bytes: the scheduler would unpickle anything else
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
                f"The connection to the scheduler at {self.address} is lost, or it was told to cancel our work. What "
                "was finished is kept: run the same command again."
            )
        try:
            result = future.result()
        except KilledWorker as error:
            return WorkersDied(f"{error.allowed_failures + 1} workers died on it, one after another")
        except Exception as error:
            return error
        return result.error() if isinstance(result, _Raised) else result


@contextmanager
def connect_if_given(address: str | None, workers: int | None = None) -> Iterator[Cluster | None]:
    """Connect to a cluster, or yield None if `address` is None.

    Raises UsageError if `workers`, the processes of this machine, is given too; otherwise as `connect` does.
    """
    if address is None:
        yield None
        return
    if workers is not None:
        raise UsageError("--workers counts processes of this machine; with --cluster, the cluster's workers compute.")
    with connect(address) as cluster:
        yield cluster


@contextmanager
def connect(address: str, timeout: float = 10.0) -> Iterator[Cluster]:
    """A cluster by the address of its scheduler (`tcp://host:8786`, `tls://…` as Dask's configuration says).

    Parameters
    ----------
    timeout : seconds until a scheduler that does not answer is given up

    Raises
    ------
    AkitError : Dask is not installed, nothing answers, or a worker has other versions than this machine

    """
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise AkitError(
            "A cluster needs Dask, which is not installed. Install it with: pip install 'acoustic-kit[cluster]'"
        ) from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what it would print is told by our own errors
    try:
        asyncio.run(_knock(address, timeout))  # not by a Client: one that fails blocks for seconds when it is collected
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise AkitError(
            f"There is no Dask scheduler to be reached at {address} ({reason}). Start one with `dask scheduler`, and "
            "give the address that it prints."
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other versions, which are checked below
        client = Client(address, timeout=timeout, set_as_default=False)
    with client:
        cluster = Cluster(client, address)
        _check_versions(client)
        yield cluster


async def _knock(address: str, timeout: float) -> None:
    from distributed import Security
    from distributed.comm import connect as open_connection

    comm = await open_connection(address, timeout=timeout, **Security().get_connection_args("client"))
    await comm.close()


@cache
def installed_versions() -> dict[str, str]:
    """What decides values here: the versions of akit, of Python and of the libraries that a run records."""
    from acoustic_kit.runs.locked_run import RECORDED_PACKAGES

    packages = {package: metadata.version(package) for package in RECORDED_PACKAGES}
    return {"akit": __version__, "python": ".".join(platform.python_version_tuple()[:2]), **packages}


def _check_versions(client: Any) -> None:
    """Raise AkitError where a worker that is there now has other versions; later ones are checked by their tasks."""
    found = client.run(installed_versions, on_error="return")
    for worker, versions in found.items():
        if isinstance(versions, BaseException):
            raise AkitError(f"The worker {worker} cannot load akit ({versions}). Install the same one there as here.")
        _compare(versions, installed_versions(), worker)


def _compare(theirs: Mapping[str, str], ours: Mapping[str, str], worker: str) -> None:
    names = sorted({name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name)})
    if names:
        differ = ", ".join(f"{name} {theirs.get(name, 'none')} (here {ours.get(name, 'none')})" for name in names)
        raise AkitError(f"The worker {worker} has {differ}. Install the same versions, as results depend on them.")


def _call(payload: bytes, versions: Mapping[str, str], topic: str) -> Any:
    """The work of a task."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    try:
        _compare(installed_versions(), versions, worker.address)
        with _one_at_a_time:
            function, argument = pickle.loads(payload)
            return function(argument, partial(_tell, worker, key, topic))
    except Exception as error:
        return _Raised.of(error)


@dataclass(frozen=True)
class _Raised:
    """An exception on its way to the client, which waits for ever for one that Dask cannot pickle or unpickle."""

    pickled: bytes
    text: str

    @staticmethod
    def of(error: Exception) -> _Raised:
        text = traceback.format_exc()
        error.add_note(text)  # for --debug, instead of what Dask would pickle too
        error.__traceback__ = error.__cause__ = error.__context__ = None
        try:
            return _Raised(pickle.dumps(error), text)
        except Exception:  # it holds what cannot travel either
            return _Raised(b"", text)

    def error(self) -> Exception:
        try:
            found: Exception = pickle.loads(self.pickled)
        except Exception:  # of a class that is not here
            return RuntimeError(self.text.strip().rpartition("\n")[2])
        return found


def _tell(worker: Any, key: str, topic: str, message: Any) -> None:
    """Send a message. Raises Unwanted where the task was cancelled, as a thread cannot be ended from outside."""
    task = worker.state.tasks.get(key)
    if task is None or task.state == "cancelled":
        raise Unwanted
    worker.log_event(topic, message)


def this_worker() -> str:
    """The address of the worker that the calling task runs on."""
    from distributed import get_worker

    return str(get_worker().address)
