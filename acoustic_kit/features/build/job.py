"""Compute one block of clips, of one feature or several, from the files into the store."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from acoustic_kit.device import Compute
from acoustic_kit.errors import AkitError
from acoustic_kit.features.build.recordings import is_open, open_recording
from acoustic_kit.features.feature import Feature

if TYPE_CHECKING:
    from pathlib import Path

    from acoustic_kit.dsp.decoding import Decoding, Sound
    from acoustic_kit.dsp.sound_file import Span
    from acoustic_store import Block, StoredFeature

Part = tuple[Feature, "Block"]  # a block that is to be built of a feature

# States of clips in the store, beside their fingerprints.
SILENT = "silence"  # it could not be decoded, and counts as silence on request
RETRY = "retry"  # worker processes died on it; the next build tries it again

N_REQUESTS = 16  # to object storage at a time
NOTHING: Mapping[str, Future[Any]] = MappingProxyType({})
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
class BlockJob:
    """The same clips of one feature, or of several that are computed from the same decoded files."""

    parts: tuple[Part, ...]
    store_url: str
    paths: Mapping[str, Path | str]  # id → file, or URL on S3
    stop_on_failure: bool
    left_out: Mapping[str, str] = field(default_factory=dict)  # id → reason, of clips that are not computed
    spans: Mapping[str, Span] = field(default_factory=dict)  # id → part of the file, of clips that are not whole files
    device: str = "cpu"  # as `Compute` takes it, for features that have a form for a GPU

    @property
    def feature(self) -> Feature:
        """The first feature."""
        return self.parts[0][0]

    @property
    def clips(self) -> tuple[tuple[str, str], ...]:
        """Id and fingerprint of each clip of the block."""
        return self.parts[0][1].clips

    def recording(self, id: str) -> Path | str | None:
        """Return the recording of which the clip is decoded; None if it is a whole file, or is not decoded."""
        return self.paths[id] if id in self.spans and self.feature.source is None else None

    def without(self, id: str, reason: str) -> BlockJob:
        """Return the job with a failure in place of one clip, which the next build tries again.

        If it is a window, so are those after it: their recording is decoded through it.
        """
        ids = [other for other, _ in self.clips]
        left_out = {id} | {
            other for other in ids[ids.index(id) :] if self.recording(other) == self.recording(id) is not None
        }
        return replace(self.mark_for_retry(left_out), left_out={**self.left_out, **dict.fromkeys(left_out, reason)})

    def mark_for_retry(self, ids: Collection[str]) -> BlockJob:
        """Return the job with a state on these clips that lets the next build compute them again."""

        def marked(block: Block) -> Block:
            retried = dict.fromkeys((id for id, _ in block.clips if id in ids), RETRY)
            return replace(block, states=tuple({**dict(block.states), **retried}.items()))

        return replace(self, parts=tuple((feature, marked(block)) for feature, block in self.parts))

    def run(self, on_clip: Callable[[int], None] = lambda _: None) -> Stages:
        """Compute and commit the blocks, reading each source once; call `on_clip` with a clip's number as it begins."""
        read = compute = write = 0.0
        clock = time.perf_counter
        with ExitStack() as stack:
            fetched = stack.enter_context(self._fetching())
            writers = [stack.enter_context(block.open()) for _, block in self.parts]
            size = self.feature.batch_size if self._gpu is None else len(self.clips)
            for start in range(0, len(self.clips), size):
                clips = self.clips[start : start + size]
                began = clock()
                sources = []
                for number, (id, _) in enumerate(clips, start):
                    on_clip(number)
                    sources.append(self._source(id, fetched))
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

    def try_clip(self, clip: tuple[str, str]) -> None:
        """Compute one clip without storing it, to find the clip on which processes die."""
        source = self._source(clip[0])
        for feature, _ in self.parts:
            self._rows(feature, [clip], [source])

    def read(self) -> list[Any]:
        """Return the sources of the clips, or failures; with `compute` and `write` this is `run` in three steps."""
        with self._fetching() as fetched:
            return [self._source(id, fetched) for id, _ in self.clips]

    def compute(self, sources: Sequence[Any]) -> list[Any]:
        """Return the feature of all clips, or failures."""
        return self._rows(self.feature, self.clips, sources)

    def write(self, rows: Sequence[Any]) -> None:
        """Commit the block of the feature."""
        self.parts[0][1].write(rows)

    @cached_property
    def _gpu(self) -> str | None:
        """The device on which torch computes the feature; None for the CPU, without torch."""
        return Compute(self.device).gpu() if self.feature.has_device_form else None

    @contextmanager
    def _fetching(self) -> Iterator[Mapping[str, Future[Any]]]:
        """Fetch clips from object storage, many at a time, to hide its latency; nothing for local files.

        The result is by URL, or by id if the source is a stored feature.
        """
        from acoustic_kit.dsp.sound_file import fetch

        source = self.feature.source
        if "://" not in (self.store_url if source else str(self.paths[self.clips[0][0]])):
            yield NOTHING
            return
        wanted = [id for id, _ in self.clips if id not in self.left_out and id not in self._silent]
        read: Callable[[Any], Any] = fetch
        if source is not None:
            _stored(self.store_url, source.key)  # opened here once, for all threads
            read = partial(self._stored_source, source.key)
        else:
            wanted = list(dict.fromkeys(str(self.paths[id]) for id in wanted if not is_open(self.recording(id))))
        pool = ThreadPoolExecutor(N_REQUESTS)
        try:
            yield {one: pool.submit(read, one) for one in wanted}
        finally:
            pool.shutdown(cancel_futures=True)

    def _stored_source(self, key: str, id: str) -> Any:
        """Return a clip of the source feature: its array, for a GPU as it is stored, or a Failure."""
        stored = _stored(self.store_url, key)
        if id not in stored:
            return stored.failures[id]
        return stored.read(id) if self._gpu is None else stored.stored(id)

    @cached_property
    def _silent(self) -> frozenset[str]:
        """The clips that count as silence."""
        return frozenset(id for id, state in self.parts[0][1].states if state == SILENT)

    def _source(self, id: str, fetched: Mapping[str, Future[Any]] = NOTHING) -> Any:
        """Return the decoded file by decoding, or the source feature's array; or a Failure."""
        from acoustic_kit.dsp.decoding import Sound

        if id in self.left_out:
            return self._guarded(id, partial(_leave_out, self.left_out[id]))
        source = self.feature.source
        if source is not None:
            return fetched[id].result() if id in fetched else self._stored_source(source.key, id)
        decodings = {feature.decoding for feature, _ in self.parts}
        if id in self._silent:
            return dict.fromkeys(decodings, Sound(np.zeros(SILENT_RATE, np.float32), SILENT_RATE))
        return self._guarded(id, lambda: self._decoded(id, decodings, fetched))

    def _decoded(
        self, id: str, decodings: Collection[Decoding], fetched: Mapping[str, Future[Any]]
    ) -> dict[Decoding, Sound]:
        """Return the decoded file, or part of it. Raises SoundError."""
        from acoustic_kit.dsp.decoding import decode_as

        place = self.paths[id]
        future = fetched.get(str(place))
        if id in self.spans:
            return open_recording(place, future).read(self.spans[id], decodings)
        return decode_as(future.result() if future else place, decodings)

    def _rows(self, feature: Feature, clips: Sequence[tuple[str, str]], sources: Sequence[Any]) -> list:
        """Return the feature of each clip, or a Failure."""
        from acoustic_store import Failure

        compute: Callable[[list[Any]], list[Any]] = feature.compute_batch
        if (device := self._gpu) is not None:
            import torch

            compute = partial(feature.compute_on, torch.device(device))
        rows = list(sources)
        good = [i for i, source in enumerate(sources) if not isinstance(source, Failure)]
        inputs = [sources[i] if feature.source else sources[i][feature.decoding] for i in good]
        try:
            computed = compute(inputs) if good else []
        except AkitError:  # of one clip: compute each by itself
            computed = [
                row
                for i, one in zip(good, inputs, strict=True)
                for row in self._alone(clips[i][0], partial(compute, [one]))
            ]
        for i, row in zip(good, computed, strict=True):
            rows[i] = row
        return rows

    def _alone(self, id: str, compute: Callable[[], list[Any]]) -> list[Any]:
        found = self._guarded(id, compute)
        return found if isinstance(found, list) else [found]

    def _guarded(self, id: str, work: Callable[[], Any]) -> Any:
        """Return the result of `work`, or a Failure if it raises AkitError, unless the build is to stop."""
        from acoustic_store import Failure

        try:
            return work()
        except AkitError as error:
            if self.stop_on_failure:
                raise AkitError(f"{id}: {error}") from error
            return Failure(str(error))


def chains(jobs: Sequence[BlockJob]) -> list[deque[BlockJob]]:
    """Divide jobs into sequences for one process each: those that go on with the recording of the job before."""
    found: list[deque[BlockJob]] = []
    last: Path | str | None = None
    for job in jobs:
        if last is not None and job.recording(job.clips[0][0]) == last:
            found[-1].append(job)
        else:
            found.append(deque([job]))
        last = job.recording(job.clips[-1][0])
    return found


def _leave_out(reason: str) -> None:
    raise AkitError(reason)


def _stored(store_url: str, key: str) -> StoredFeature:
    """Return the reader of a stored source feature, opened once a process."""
    from acoustic_store import FeatureStore

    opened = _opened(store_url)
    if key not in opened:
        opened[key] = FeatureStore.open(store_url)[key]
    return opened[key]


@lru_cache(maxsize=1)  # the files of an earlier store, perhaps deleted since, are closed
def _opened(store_url: str) -> dict[str, StoredFeature]:
    return {}


forget_opened_features = _opened.cache_clear
