"""Compute blocks on a GPU with torch, in this process, while worker processes decode the next clips."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Self, TypeVar

from acoustic_kit.features.build.job import BlockJob, Stages, forget_opened_features

MIN_ROUND = 2  # blocks; each round reads the index of the source again
GROWTH = 8  # a round has at least 1/8 of all blocks before it, to limit how often indexes are read

T = TypeVar("T")


def overlapped(jobs: Sequence[BlockJob]) -> Generator[tuple[BlockJob, Stages]]:
    """Run jobs: while the device computes one, a thread reads the next, and another writes the previous one."""
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        ahead = reader.submit(_timed, jobs[0].read)
        behind: Future[tuple[BlockJob, Stages]] | None = None
        for number, job in enumerate(jobs, 1):
            sources, read = ahead.result()
            if number < len(jobs):
                ahead = reader.submit(_timed, jobs[number].read)
            rows, computed = _timed(job.compute, sources)
            if behind is not None:
                yield behind.result()
            behind = writer.submit(_written, job, rows, read, computed)
        if behind is not None:
            yield behind.result()


def _timed(work: Callable[..., T], *inputs: Any) -> tuple[T, float]:
    began = time.perf_counter()
    return work(*inputs), time.perf_counter() - began


def _written(job: BlockJob, rows: Sequence[Any], read: float, computed: float) -> tuple[BlockJob, Stages]:
    _, wrote = _timed(job.write, rows)
    return job, Stages(read, computed, wrote)


@dataclass
class DeviceJobs:
    """Jobs for a device, which begin, in rounds, once all clips that they read are stored.

    Parameters
    ----------
    waiting : the jobs of each feature, in order
    unbuilt : feature key → ids of the clips that are still to be built

    """

    waiting: Sequence[deque[BlockJob]]
    unbuilt: Mapping[str, set[str]]
    _free: list[BlockJob] = field(default_factory=list)
    _begun: int = 0
    _rounds: deque[Future[None]] = field(default_factory=deque)
    _found: SimpleQueue[tuple[BlockJob, Stages] | None] = field(default_factory=SimpleQueue)  # None ends a round
    _left: bool = False

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(1)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop after the blocks in progress, which are committed whole, or not at all."""
        self._left = True
        self._pool.shutdown(cancel_futures=True)
        forget_opened_features()

    def built(self, job: BlockJob) -> None:
        """Stop waiting for the clips of a finished job, of this device or of another executor."""
        for feature, block in job.parts:
            self.unbuilt[feature.key].difference_update(id for id, _ in block.clips)

    def begin(self, ready: Callable[[BlockJob], BlockJob], rest: bool = False) -> None:
        """Begin the jobs whose sources are stored, if they are enough for a round, or the `rest`.

        `ready` returns the final form of each.
        """
        for line in self.waiting:
            while line and not self._waits(line[0]):
                self._free.append(line.popleft())
        if len(self._free) >= (1 if rest else max(MIN_ROUND, self._begun // GROWTH)):
            self._rounds.append(self._pool.submit(self._round, [ready(job) for job in self._free]))
            self._begun += len(self._free)
            self._free.clear()

    def _waits(self, job: BlockJob) -> bool:
        source = job.feature.source
        assert source is not None
        unbuilt = self.unbuilt.get(source.key, set())
        return bool(unbuilt) and not unbuilt.isdisjoint(id for id, _ in job.clips)

    def finished(self, wait: bool = False) -> Iterator[tuple[BlockJob, Stages]]:
        """Yield the finished jobs; with `wait`, all that have begun. Raises the error of a job."""
        while self._rounds and (wait or not self._found.empty()):
            if (one := self._found.get()) is not None:
                self.built(one[0])
                yield one
            else:
                self._rounds.popleft().result()

    def _round(self, jobs: Sequence[BlockJob]) -> None:
        forget_opened_features()  # snapshots with fewer clips
        try:
            with closing(overlapped(jobs)) as found:
                for one in found:
                    self._found.put(one)
                    if self._left:
                        return
        finally:
            self._found.put(None)
