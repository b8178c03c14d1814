"""Worker processes: each computes one block at a time; if one dies, its block is computed again."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any

from acoustic_kit.errors import AkitError
from acoustic_kit.features.build.job import BlockJob, Stages, chains, forget_opened_features
from acoustic_kit.features.build.recordings import close_recording
from acoustic_kit.features.feature import Feature

DEATHS_IN_A_ROW = 10  # without a finished block between them: the clips are not the reason


@dataclass
class Workers:
    """Up to `n` processes that run jobs, started as needed; with 0, jobs run in this process.

    The blocks of one recording are run by one process, which has it open. The clip on which a process died is tried
    again, in a new process; if that dies too, the clip is left out, and with a window the rest of its recording.
    """

    n: int
    died_on: dict[str, str] = field(default_factory=dict)  # clip id → how the process ended that was computing it
    _idle: list[_Worker] = field(default_factory=list)
    _busy: dict[Any, _Worker] = field(default_factory=dict)
    _deaths: Counter[tuple[str, str]] = field(default_factory=Counter)  # of feature, and recording or clip
    _in_a_row: int = 0

    def run(self, jobs: Sequence[BlockJob], in_this_process: bool = False) -> Generator[tuple[BlockJob, Stages]]:
        """Yield each job as it finishes, without the clips that were left out. Close it when you leave it early.

        Raises the error of a job, and AkitError if processes die one after another.
        """
        if not self.n or in_this_process:
            yield from ((job, job.run()) for job in jobs)
            return
        waiting = deque(sorted(chains(jobs), key=len, reverse=True))  # long recordings first
        try:
            while waiting or self._busy:
                while waiting and len(self._busy) < self.n:
                    chain = waiting.popleft()
                    worker = self._worker(with_main=any(map(_is_of_main, chain)))
                    self._busy[worker.give(chain)] = worker
                for connection in wait(list(self._busy)):
                    worker = self._busy.pop(connection)
                    try:
                        stages = worker.result()
                    except EOFError:
                        waiting.append(deque([self._after_death(worker), *worker.chain]))
                        continue
                    job, self._in_a_row = worker.job, 0
                    if worker.chain:
                        self._busy[worker.give(worker.chain)] = worker
                    else:
                        self._idle.append(worker)
                    yield job, stages
        except BaseException:
            self.stop()
            raise

    def _worker(self, *, with_main: bool) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.with_main or not with_main:
                return worker
            worker.end(kill=True)
        return _Worker(with_main)

    def _after_death(self, worker: _Worker) -> BlockJob:
        """Return the job to run again. Raises AkitError if too many processes have died in a row."""
        how, clip, job = worker.end(), worker.clip, worker.job
        self._in_a_row += 1
        if self._in_a_row == DEATHS_IN_A_ROW:
            raise AkitError(
                f"{DEATHS_IN_A_ROW} worker processes died one after another; the last {how}"
                + (f" on the clip {clip}" if clip else "")
                + ". What was built is kept: call it again with fewer --workers."
            )
        if clip is None:
            return job
        self.died_on[clip] = how
        place = (job.feature.key, str(job.recording(clip) or clip))
        self._deaths[place] += 1
        if self._deaths[place] < 2:
            return job
        return job.without(clip, f"the process that computed it {how}, twice; the next build tries again")

    def stop(self) -> None:
        """Kill all processes: blocks are committed whole, so nothing stored is lost."""
        for worker in (*self._idle, *self._busy.values()):
            worker.end(kill=True)
        self._idle.clear()
        self._busy.clear()


def worker_count(workers: int | None) -> int:
    """Return the number of worker processes: `workers`, or one per core that this process may use."""
    if workers is not None:
        return workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def workers(n: int | Workers) -> Iterator[Workers]:
    """Provide worker processes, which end with the `with` block; those that are given are kept."""
    forget_opened_features()  # of an earlier build in this process
    if isinstance(n, Workers):
        yield n
        return
    found = Workers(n)
    try:
        yield found
    finally:
        found.stop()
        close_recording()


class _Worker:
    """A process with its job, and those that follow; spawned, as a fork after a Zarr read can deadlock.

    `with_main`: it first executes the calling script, in which a feature is defined. Otherwise scripts need no guard.
    """

    job: BlockJob
    chain: deque[BlockJob]

    def __init__(self, with_main: bool) -> None:
        self.with_main = with_main
        context = multiprocessing.get_context("spawn")
        self._jobs, jobs = context.Pipe()
        self._clips, clips = context.Pipe(duplex=False)
        self._process = context.Process(target=_serve, args=(jobs, clips), daemon=True)
        # Ctrl-C in a terminal is sent to all processes; this one is ended by its parent, without a traceback. The
        # tracker, which the first process starts, would unblock the signal.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with nullcontext() if with_main else _without_main():
                self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        jobs.close()  # so that these pipes end with the process
        clips.close()

    def give(self, chain: deque[BlockJob]) -> Connection:
        """Begin the first job; return a connection that is ready once it is finished or the process is dead."""
        self.job, self.chain = chain.popleft(), chain
        with suppress(BrokenPipeError):  # dead already, which `result` detects
            self._jobs.send(self.job)
        return self._jobs

    def result(self) -> Stages:
        """Return the seconds of the finished job. Raises its error, or EOFError if the process died."""
        try:
            found = self._jobs.recv()
        except ConnectionResetError:
            raise EOFError from None
        while self._clips.poll():
            self._clips.recv_bytes()
        if isinstance(found, Stages):
            return found
        raise found

    @property
    def clip(self) -> str | None:
        """The clip that a dead process was computing; None if it had not begun one."""
        last = None
        with suppress(EOFError, OSError):
            while self._clips.poll():
                last = int(self._clips.recv_bytes())
        return None if last is None else self.job.clips[last][0]

    def end(self, kill: bool = False) -> str:
        """Wait for the end of the process, or kill it, and return how it ended."""
        if kill:
            self._process.kill()
        self._process.join()
        code = self._process.exitcode or 0
        if code == errno.ENOMEM:
            return "ran out of memory"
        if code >= 0:
            return f"ended with exit code {code}"
        name = signal.Signals(-code).name
        return f"was killed ({name}), perhaps for lack of memory" if name == "SIGKILL" else f"crashed ({name})"


def _is_of_main(job: BlockJob) -> bool:
    """Return whether a feature of a job is defined in the calling script."""
    for feature, _ in job.parts:
        link: Feature | None = feature
        while link is not None:
            if type(link).__module__ == "__main__":
                return True
            link = link.source
    return False


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the calling script from a new process, which would execute it once more, up to the same call."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve(jobs: Connection, clips: Connection) -> None:
    """Run jobs in a process, until its parent is gone or ends it."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        while True:
            try:
                job = jobs.recv()
            except (EOFError, OSError):
                return
            except Exception as error:  # a class cannot be imported here
                why = f"{type(error).__name__}: {error}"
                outcome: Any = AkitError(
                    f"A worker process cannot load the feature ({why}). Define it in the recipe's own file, or "
                    "compute with --workers 0."
                )
            else:
                outcome = _outcome(job, clips)
            try:
                jobs.send(outcome)
            except (pickle.PicklingError, TypeError, AttributeError):  # the exception cannot be pickled
                jobs.send(RuntimeError(repr(outcome)))
    except (EOFError, OSError):
        return


def _outcome(job: BlockJob, clips: Connection) -> Any:
    try:
        return job.run(lambda number: clips.send_bytes(b"%d" % number))
    except MemoryError:
        os._exit(errno.ENOMEM)  # as if the system had killed it: the clip is named, and the build continues
    except Exception as error:
        error.add_note(traceback.format_exc())  # for --debug: tracebacks are not pickled
        return error


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
