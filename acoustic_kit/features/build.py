"""Run features over a manifest into the store: in worker processes, resumable, nothing read or built twice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from acoustic_kit.errors import AkitError
from acoustic_kit.features.build_job import LEFT_OUT, SILENCED, Job, Stages
from acoustic_kit.features.feature import Feature
from acoustic_kit.features.fingerprints import fingerprints
from acoustic_kit.features.wave import UNREAD
from acoustic_kit.features.workers import Workers, workers

if TYPE_CHECKING:
    import polars as pl

    from acoustic_store import Block, FeatureStore, StoredFeature

OnError = Literal["skip", "fail", "silence"]
OnProgress = Callable[[Feature, int, int], None]
Clips = Sequence[tuple[str, str]]  # id and fingerprint


@dataclass(frozen=True)
class BuildReport:
    """What one call of `build_features` did for one feature."""

    feature: Feature
    built: int  # clips computed now, failures included
    held: int  # clips that the store already held
    failures: dict[str, str]  # clip id → reason, of all clips asked for
    silenced: list[str]  # clips that could not be decoded and count as silence
    tried_again: dict[str, str]  # clip id → how the worker process ended that computed it first
    seconds: float  # wall time; of features that share the decoding, of all together
    stages: Stages  # of this feature; of those that share the decoding, of all together


def with_sources(features: Sequence[Feature]) -> list[Feature]:
    """The features and all that they are computed from, each once, sources first."""
    ordered: dict[str, Feature] = {}
    for feature in features:
        chain: list[Feature] = []
        link: Feature | None = feature
        while link is not None:
            chain.append(link)
            link = link.source
        ordered.update({f.key: f for f in reversed(chain)})
    return list(ordered.values())


def build_features(
    manifest: pl.DataFrame,
    data_root: Path,
    store: FeatureStore,
    features: Sequence[Feature],
    *,
    workers: int = 0,
    on_error: OnError = "skip",
    rebuild: Mapping[str, Collection[str]] = MappingProxyType({}),
    on_progress: OnProgress = lambda *_: None,
) -> list[BuildReport]:
    """Build what the store lacks of the features, and of what they are computed from, for all clips of the manifest.

    A clip is held when the store has it under the same key and fingerprint (a digest of the file's bytes). A build that
    was stopped at any instant goes on where it was. A file is decoded once, whatever the number of waves made of it.

    A clip that cannot be computed is recorded with its reason (`on_error="skip"`) and not tried again until its file
    changes; or it stops the build (`"fail"`); or, where its file cannot be decoded, it counts as one second of silence
    (`"silence"`), which later builds keep unless they are asked to fail.

    Parameters
    ----------
    manifest : one row a clip: `id`, `path`, `content`, `size`, `mtime_ns`
    data_root : the folder that `path` is relative to
    features : those that learn from clips (`pca`) as `for_folds` gives them
    workers : worker processes; 0 computes in this process. A clip on which one dies is tried a second time; one on
        which two die is recorded as failed, and tried again by the next build
    rebuild : feature key → clips to build again though they are held
    on_progress : called with the feature, clips done and clips to do

    Raises
    ------
    AkitError : a clip failed and `on_error` is "fail", worker processes die one after another, or a feature cannot be
        fitted
    acoustic_store.StoreError : the store is locked by another build, full or damaged

    """
    ordered = with_sources(features)
    with _workers(workers) as processes:
        build = _Build(manifest, data_root, store, processes, on_error, rebuild, on_progress)
        reports = build.waves([f for f in ordered if f.source is None])
        for feature in ordered:
            if feature.source is not None:
                reports += build.together([feature])
    return reports


_workers = workers  # `workers` is what the public function calls their number


@dataclass
class _Build:
    manifest: pl.DataFrame
    data_root: Path
    store: FeatureStore
    processes: Workers
    on_error: OnError
    rebuild: Mapping[str, Collection[str]]
    on_progress: OnProgress
    clips: dict[str, Clips] = field(default_factory=dict)  # by the key of the wave that they come from
    built: dict[str, set[str]] = field(default_factory=dict)  # by key: the clips that were built now
    opened: dict[str, StoredFeature] = field(default_factory=dict)  # by key: those of which nothing is to be built
    left_out: dict[str, set[str]] = field(default_factory=dict)  # by key: those on which worker processes died

    def __post_init__(self) -> None:
        paths = (self.data_root / path for path in self.manifest["path"])
        self.paths = dict(zip(self.manifest["id"], paths, strict=True))
        self.files = list(fingerprints(self.manifest, self.data_root).items())

    def waves(self, features: Sequence[Feature]) -> list[BuildReport]:
        """Build the features that are made of the decoded files, all at once."""
        for feature in features:
            self.clips[feature.key] = self._known_silence(feature)
        reports = self.together(features)
        if self.on_error != "silence" or not any(report.failures for report in reports):
            return reports
        self.left_out.clear()
        for report in reports:
            self.clips[report.feature.key] = self._with_silence({*report.failures, *report.silenced})
        return [
            replace(now, seconds=before.seconds + now.seconds, stages=before.stages + now.stages)
            for before, now in zip(reports, self.together(features), strict=True)
        ]

    def _known_silence(self, feature: Feature) -> Clips:
        """The clips; those that an earlier build made silent, and whose files are the same, under that fingerprint."""
        if self.on_error == "fail" or feature.key not in self.store:
            return self.files
        stored = self.store[feature.key]
        return self._with_silence(
            {id for id, f in self.files if id in stored and stored.fingerprint(id) == f + SILENCED}
        )

    def _with_silence(self, silent: Collection[str]) -> Clips:
        return [(id, fingerprint + SILENCED if id in silent else fingerprint) for id, fingerprint in self.files]

    def together(self, features: Sequence[Feature]) -> list[BuildReport]:
        """Build features that have one source."""
        began, stages = time.monotonic(), Stages()
        done = {feature.key: 0 for feature in features}  # now; `built` counts clips that were then silenced once
        with ExitStack() as stack:
            parts = {feature.key: self._planned(feature, stack) for feature in features}
            todo = {key: sum(len(block.clips) for _, block in found) for key, found in parts.items()}
            shared: dict[tuple, list[tuple[Feature, Block]]] = {}
            for part in (part for found in parts.values() for part in found):
                shared.setdefault(part[1].clips, []).append(part)
            in_this_process = any(feature.uses_all_cores for feature in features)
            jobs = [self._job(part) for part in shared.values()]
            for job, seconds in stack.enter_context(closing(self.processes.run(jobs, in_this_process))):
                stages += seconds
                for feature, block in job.parts:
                    self.left_out.setdefault(feature.key, set()).update(job.left_out)
                    done[feature.key] += len(block.clips)
                    self.built.setdefault(feature.key, set()).update(id for id, _ in block.clips)
                    self.on_progress(feature, done[feature.key], todo[feature.key])
        wall = time.monotonic() - began
        return [self._report(feature, wall, stages) for feature in features]

    def _planned(self, feature: Feature, stack: ExitStack) -> list[tuple[Feature, Block]]:
        """The blocks that are to be built of a feature, under a lock that `stack` holds."""
        clips = self._clips_of(feature)
        try:
            writer = stack.enter_context(self.store.writer(feature.key, feature.storage_dtype, feature.parameters()))
        except OSError:  # locked by another build, or read-only: no matter where nothing is to be built
            if not _holds_all(self.store, feature.key, clips):
                raise
            return []
        again = {*self.rebuild.get(feature.key, ()), *self._readable_again(feature)}
        blocks = writer.plan(clips, rebuild=again)
        if blocks and feature.source is None and not self.data_root.is_dir():
            raise AkitError(
                f"The data folder {self.data_root} is not there. Mount it, or say in akit.toml where it is: data = …"
            )
        if blocks:
            self.opened.pop(feature.key, None)
            feature = feature.ready(self.store)
        return [(feature, block) for block in blocks]

    def _readable_again(self, feature: Feature) -> set[str]:
        """Clips whose file could not be read when they were built, as a disk was not there, and now can."""
        if feature.key not in self.store:
            return set()
        self.opened[feature.key] = self.store[feature.key]  # its index is read once where nothing is to be built
        return {
            id
            for id, failure in self.opened[feature.key].failures.items()
            if failure.reason.startswith(UNREAD) and id in self.paths and os.access(self.paths[id], os.R_OK)
        }

    def _clips_of(self, feature: Feature) -> Clips:
        left_out: set[str] = set()
        while feature.source is not None:
            feature = feature.source
            left_out |= self.left_out.get(feature.key, set())
        clips = self.clips[feature.key]
        return [(id, f + LEFT_OUT if id in left_out else f) for id, f in clips] if left_out else clips

    def _job(self, parts: Sequence[tuple[Feature, Block]]) -> Job:
        paths = {id: self.paths[id] for id, _ in parts[0][1].clips}
        return Job(tuple(parts), self.store.url, paths, self.on_error == "fail")

    def _report(self, feature: Feature, seconds: float, stages: Stages) -> BuildReport:
        clips, built = self._clips_of(feature), len(self.built.get(feature.key, ()))
        opened = self.opened.get(feature.key)
        failures = (self.store[feature.key] if opened is None else opened).failures
        return BuildReport(
            feature,
            built,
            len(clips) - built,
            {id: failures[id].reason for id, _ in clips if id in failures},
            [id for id, fingerprint in clips if fingerprint.endswith(SILENCED)],
            {id: how for id, how in self.processes.died_on.items() if id not in failures},
            seconds,
            stages,
        )


def _holds_all(store: FeatureStore, key: str, clips: Clips) -> bool:
    from acoustic_store import DamagedError

    if key not in store:
        return False
    try:
        stored = store[key]
        known = {*stored.ids, *stored.failures}
    except DamagedError:
        return False
    return all(id in known and stored.fingerprint(id) == fingerprint for id, fingerprint in clips)
