"""One block of clips, of one feature or several, on its way from the files to the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from acoustic_kit.errors import AkitError
from acoustic_kit.features.feature import Feature

if TYPE_CHECKING:
    from pathlib import Path

    from acoustic_store import Block, StoredFeature

SILENCED = "+silence"  # ends the fingerprint of a clip that could not be decoded and was made silent on request
LEFT_OUT = "+left out"  # likewise of one on which worker processes died, so that the next build tries it again
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
    left_out: Mapping[str, str] = field(default_factory=dict)  # clips that are not to be computed, and why

    @property
    def clips(self) -> tuple[tuple[str, str], ...]:
        """Id and fingerprint of each clip."""
        return self.parts[0][1].clips

    def without(self, id: str, reason: str) -> Job:
        """The job with a failure in place of one clip."""

        def marked(block: Block) -> Block:
            return replace(block, clips=tuple((i, f + LEFT_OUT if i == id else f) for i, f in block.clips))

        parts = tuple((feature, marked(block)) for feature, block in self.parts)
        return replace(self, parts=parts, left_out={**self.left_out, id: reason})

    def run(self, on_clip: Callable[[int], None] = lambda _: None) -> Stages:
        """Compute and commit the blocks. Each source is read once. `on_clip` hears the number of each as it begins."""
        read = compute = write = 0.0
        clock = time.perf_counter
        with ExitStack() as stack:
            writers = [stack.enter_context(block.open()) for _, block in self.parts]
            size = self.parts[0][0].batch_size
            for start in range(0, len(self.clips), size):
                clips = self.clips[start : start + size]
                began = clock()
                sources = []
                for number, clip in enumerate(clips, start):
                    on_clip(number)
                    sources.append(self._source(*clip))
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

        if id in self.left_out:
            return self._guarded(id, partial(_leave_out, self.left_out[id]))
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


def _leave_out(reason: str) -> None:
    raise AkitError(reason)


@lru_cache(maxsize=4)
def _stored(store_url: str, key: str) -> StoredFeature:
    """The finished source of the feature under construction, opened once a process."""
    from acoustic_store import FeatureStore

    return FeatureStore.open(store_url)[key]


forget_opened_features = _stored.cache_clear
