"""One block of clips on its way through a worker process, and the processes themselves."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from acoustic_kit.errors import AkitError
from acoustic_kit.features.feature import Feature

if TYPE_CHECKING:
    from pathlib import Path

    from acoustic_store import Block, StoredFeature

SILENCED = "+silence"  # ends the fingerprint of a clip that could not be decoded and was made silent on request
SILENT_RATE = 44100  # Hz; a clip that is made silent is one second long


@dataclass(frozen=True)
class Stages:
    """Seconds of work, summed over processes: reading (decoding, for waves), computing, writing."""

    read: float = 0.0
    compute: float = 0.0
    write: float = 0.0

    def __add__(self, other: Stages) -> Stages:
        return Stages(self.read + other.read, self.compute + other.compute, self.write + other.write)


@dataclass(frozen=True)
class Job:
    """The same clips of one feature, or of several that are computed from the same decoded files."""

    parts: tuple[tuple[Feature, Block], ...]
    store_url: str
    paths: Mapping[str, Path]  # of its clips' files
    stop_on_failure: bool

    @property
    def clips(self) -> tuple[tuple[str, str], ...]:
        """Id and fingerprint of each clip."""
        return self.parts[0][1].clips

    def run(self) -> Stages:
        """Compute and commit the blocks. Each source is read once."""
        read = compute = write = 0.0
        clock = time.perf_counter
        with ExitStack() as stack:
            writers = [stack.enter_context(block.open()) for _, block in self.parts]
            size = self.parts[0][0].batch_size
            for clips in (self.clips[start : start + size] for start in range(0, len(self.clips), size)):
                began = clock()
                sources = [self._source(*clip) for clip in clips]
                read += clock() - began
                for (feature, _), writer in zip(self.parts, writers, strict=True):
                    began = clock()
                    rows = self._rows(feature, clips, sources)
                    computed = clock()
                    for row in rows:
                        writer.add(row)
                    compute, write = compute + computed - began, write + clock() - computed
            began = clock()
        return Stages(read, compute, write + clock() - began)

    def _source(self, id: str, fingerprint: str) -> Any:
        """The decoded file, or the source feature's array; or a Failure."""
        from acoustic_kit.features.wave import Sound, decode

        source = self.parts[0][0].source
        if source is not None:
            stored = _stored(self.store_url, source.key)
            return stored.read(id) if id in stored else stored.failures[id]
        if fingerprint.endswith(SILENCED):
            return Sound(np.zeros(SILENT_RATE, np.float32), SILENT_RATE)
        return self._guarded(id, partial(decode, self.paths[id]))

    def _rows(self, feature: Feature, clips: Sequence[tuple[str, str]], sources: Sequence[Any]) -> list:
        """The feature of each clip, or a Failure."""
        from acoustic_store import Failure

        rows = list(sources)
        good = [i for i, source in enumerate(sources) if not isinstance(source, Failure)]
        try:
            computed = feature.compute_batch([sources[i] for i in good]) if good else []
        except AkitError:  # of one of them: each by itself
            computed = [self._guarded(clips[i][0], partial(feature.compute, sources[i])) for i in good]
        for i, row in zip(good, computed, strict=True):
            rows[i] = row
        return rows

    def _guarded(self, id: str, work: Callable[[], Any]) -> Any:
        """What `work` gives; a Failure where it cannot, unless the build is to stop."""
        from acoustic_store import Failure

        try:
            return work()
        except AkitError as error:
            if self.stop_on_failure:
                raise AkitError(f"{id}: {error}") from error
            return Failure(str(error))


@lru_cache(maxsize=4)
def _stored(store_url: str, key: str) -> StoredFeature:
    """The finished source of the feature under construction, opened once a process."""
    from acoustic_store import FeatureStore

    return FeatureStore.open(store_url)[key]


class Workers:
    """Processes that run jobs; without any, jobs run in this process."""

    def __init__(self, pool: ProcessPoolExecutor | None, n: int) -> None:
        self._pool, self._n = pool, n

    def run(self, jobs: Sequence[Job], in_this_process: bool = False) -> Iterator[tuple[Job, Stages]]:
        """Each job as it finishes; at most two jobs a worker are on their way at a time."""
        if self._pool is None or in_this_process:
            yield from ((job, job.run()) for job in jobs)
            return
        waiting = iter(jobs)
        running: dict[Future[Stages], Job] = {}
        try:
            for job in islice(waiting, 2 * self._n):
                running[self._pool.submit(job.run)] = job
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
                    for job in islice(waiting, 1):
                        running[self._pool.submit(job.run)] = job
        except BrokenProcessPool as error:
            raise AkitError(
                "A worker process died, most likely for want of memory. What was built is kept: call it again, "
                "perhaps with fewer --workers."
            ) from error


@contextmanager
def workers(n: int) -> Iterator[Workers]:
    """Worker processes, started when the first job comes; spawned, as a fork after a Zarr read can deadlock."""
    _stored.cache_clear()  # of an earlier build in this process
    if n == 0:
        yield Workers(None, 0)
        return
    pool = ProcessPoolExecutor(n, multiprocessing.get_context("spawn"), initializer=_die_with_parent)
    try:
        yield Workers(pool, n)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _die_with_parent() -> None:
    """End this worker at once on Ctrl-C or when the parent is gone: blocks are committed whole, so nothing is lost."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
