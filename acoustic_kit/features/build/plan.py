"""Plan a build: the clips that the store lacks of each feature, in blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from acoustic_kit.data.schema import clip_spans
from acoustic_kit.dsp.clip_source import clip_place, is_readable
from acoustic_kit.dsp.sound_file import Span, is_temporary
from acoustic_kit.errors import AkitError
from acoustic_kit.features.build.job import RETRY, SILENT, Part
from acoustic_kit.features.feature import Feature
from acoustic_kit.features.fingerprints import fingerprints

if TYPE_CHECKING:
    import polars as pl

    from acoustic_store import Block, FeatureStore, StoredFeature


BLOCK_SIZE = 64  # clips


def with_sources(features: Sequence[Feature]) -> list[Feature]:
    """Return the features and all that they are computed from, each once, sources first."""
    ordered: dict[str, Feature] = {}
    for feature in features:
        chain: list[Feature] = []
        link: Feature | None = feature
        while link is not None:
            chain.append(link)
            link = link.source
        ordered.update({f.key: f for f in reversed(chain)})
    return list(ordered.values())


@dataclass
class BuildPlan:
    """The clips of a build and their states, which grow while it runs."""

    store: FeatureStore
    data_root: Path | str
    rebuild: Mapping[str, Collection[str]]  # feature key → ids
    paths: Mapping[str, Path | str]  # id → file, or URL on S3
    spans: Mapping[str, Span]  # id → part of the file
    clips: list[tuple[str, str]]  # id and fingerprint; those of one recording follow each other, by start
    block_size: int = BLOCK_SIZE
    silent: dict[str, set[str]] = field(default_factory=dict)  # by key of a wave: clips that count as silence
    deadly: dict[str, set[str]] = field(default_factory=dict)  # by key: clips on which worker processes died
    complete: dict[str, StoredFeature] = field(default_factory=dict)  # by key: features of which nothing is missing

    @classmethod
    def of(
        cls,
        manifest: pl.DataFrame,
        data_root: Path | str,
        store: FeatureStore,
        rebuild: Mapping[str, Collection[str]],
        digests: Mapping[str, str] | None = None,
        block_size: int = BLOCK_SIZE,
    ) -> Self:
        """Return the plan for all clips of a manifest; see `build_features`."""
        paths = {id: clip_place(data_root, path) for id, path in manifest.select("id", "path").iter_rows()}
        digests = fingerprints(manifest, data_root) if digests is None else digests
        spans, clips = clip_spans(manifest), list(digests.items())
        if spans:
            order = {path: i for i, path in enumerate(dict.fromkeys(paths.values()))}
            clips.sort(key=lambda clip: (order[paths[clip[0]]], spans.get(clip[0], (-1.0, 0.0))))
        return cls(store, data_root, rebuild, paths, spans, clips, block_size)

    def missing(self, feature: Feature, locks: ExitStack) -> list[Part]:
        """Return the blocks of a feature that are to be built, and hold its lock.

        Raises AkitError if the data folder is missing, acoustic_store.StoreError if another build holds the lock.
        """
        states = self.states(feature)
        try:
            writer = locks.enter_context(self.store.writer(feature.key, feature.storage_dtype, feature.parameters()))
        except OSError:  # locked by another build, or read-only: irrelevant if nothing is to be built
            if not self._is_complete(feature.key, states):
                raise
            return []
        again = {*self.rebuild.get(feature.key, ()), *self._readable_again(feature)}
        groups = self._recordings if feature.source is None else {}
        blocks = writer.plan(self.clips, again, self.block_size, states, groups)
        if blocks and feature.source is None and not self._has_data(blocks[0]):
            raise AkitError(
                f"The data folder {self.data_root} is missing. Mount it, or set its path in akit.toml: data = …"
            )
        if blocks:
            self.complete.pop(feature.key, None)
            feature = feature.ready(self.store)
        return [(feature, block) for block in blocks]

    @cached_property
    def _recordings(self) -> dict[str, str]:
        """The recording of each window, by id, if it has several."""
        windows = Counter(self.paths[id] for id in self.spans)
        return {id: str(path) for id in self.spans if windows[path := self.paths[id]] > 1}

    def states(self, feature: Feature) -> dict[str, str]:
        """Return the states of the clips that have one, by id."""
        deadly = self.deadly_above(feature)
        while feature.source is not None:
            feature = feature.source
        return dict.fromkeys(self.silent.get(feature.key, ()), SILENT) | dict.fromkeys(deadly, RETRY)

    def deadly_above(self, feature: Feature) -> set[str]:
        """Return the clips on which processes died that computed what the feature is computed from."""
        deadly: set[str] = set()
        while feature.source is not None:
            feature = feature.source
            deadly |= self.deadly.get(feature.key, set())
        return deadly

    def keep_silent(self, wave: Feature) -> None:
        """Let the clips count as silence that an earlier build made silent, and whose files are the same."""
        if wave.key in self.store:
            stored = self.store[wave.key]
            self.silent[wave.key] = {
                id
                for id, fingerprint in self.clips
                if id in stored and (stored.fingerprint(id), stored.state(id)) == (fingerprint, SILENT)
            }

    def _has_data(self, block: Block) -> bool:
        """Return whether the data root exists; on S3, whether any of these clips does."""
        if isinstance(self.data_root, Path):
            return self.data_root.is_dir()
        return any(is_readable(self.paths[id]) for id, _ in block.clips)

    def _readable_again(self, feature: Feature) -> set[str]:
        """Return the clips whose file could not be read when they were built, and can be read now."""
        if feature.key not in self.store:
            return set()
        stored = self.complete[feature.key] = self.store[feature.key]  # opened once if nothing is missing
        failed = {id for id, failure in stored.failures.items() if is_temporary(failure.reason) and id in self.paths}
        readable = {path for path in {self.paths[id] for id in failed} if is_readable(path)}
        return {id for id in failed if self.paths[id] in readable}

    def _is_complete(self, key: str, states: Mapping[str, str]) -> bool:
        from acoustic_store import DamagedError

        if key not in self.store:
            return False
        try:
            stored = self.store[key]
            known = {*stored.ids, *stored.failures}
        except DamagedError:
            return False
        return all(
            id in known and (stored.fingerprint(id), stored.state(id)) == (fingerprint, states.get(id, ""))
            for id, fingerprint in self.clips
        )
