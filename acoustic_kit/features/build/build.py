"""Run features over a manifest into the store: in worker processes, resumable, nothing read or built twice."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from acoustic_kit.device import Compute, gpu_name
from acoustic_kit.dsp.clip_source import clip_place, is_readable
from acoustic_kit.dsp.sound_file import MISSING, NOT_READ
from acoustic_kit.errors import AkitError
from acoustic_kit.features.build.executor import Executor
from acoustic_kit.features.build.gpu import DeviceJobs
from acoustic_kit.features.build.job import LEFT_OUT, SILENCED, BlockJob, Stages
from acoustic_kit.features.build.worker import workers
from acoustic_kit.features.feature import Feature
from acoustic_kit.features.fingerprints import fingerprints

if TYPE_CHECKING:
    import polars as pl

    from acoustic_store import Block, FeatureStore, StoredFeature

# How the reasons begin that are no verdict on a file: the disk was away or failed, or memory was short (as before 2.0).
_UNREAD = (MISSING, NOT_READ, "it cannot be decoded: there is not enough memory")
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
    seconds: float  # wall time, until its last clip was built; features that share the decoding begin together
    stages: Stages  # of this feature, and of those that share the decoding with it
    gpu: str | None = None  # its name, where one computed the feature


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
    data_root: Path | str,
    store: FeatureStore,
    features: Sequence[Feature],
    *,
    workers: int = 0,
    on_error: OnError = "skip",
    rebuild: Mapping[str, Collection[str]] = MappingProxyType({}),
    on_progress: OnProgress = lambda *_: None,
    device: str = "cpu",
    executor: Executor | None = None,
) -> list[BuildReport]:
    """Build what the store lacks of the features, and of what they are computed from, for all clips of the manifest.

    A clip is held when the store has it under the same key and fingerprint (a digest of the file's bytes). A build that
    was stopped at any instant goes on where it was. A file is decoded once, whatever the number of waves made of it.

    A clip that cannot be computed is recorded with its reason (`on_error="skip"`) and not tried again until its file
    changes, unless it could not be read (a missing file, an error of the disk, too little memory): those are tried by
    each build. Or it stops the build (`"fail"`); or, where its file cannot be decoded, it counts as one second of
    silence (`"silence"`), which later builds keep unless they are asked to fail.

    Parameters
    ----------
    manifest : one row a clip: `id`, `path`, `content`, `size`, `mtime_ns`
    data_root : the folder, or the s3://bucket/path, that `path` is relative to
    features : those that learn from clips (`pca`) as `for_folds` gives them
    workers : worker processes; 0 computes in this process. A clip on which one dies is tried a second time; one on
        which two die is recorded as failed, and tried again by the next build
    rebuild : feature key → clips to build again though they are held
    on_progress : called with the feature, clips done and clips to do
    device : `cpu`; or `cuda`, `cuda:1` or `auto` (a GPU where there is one) for the features that have a form for it.
        Their values then differ by rounding, which the key does not tell. A GPU is used by this process, while worker
        processes decode
    executor : computes the blocks instead of worker processes, such as `ClusterExecutor`; `workers` is ignored then

    Raises
    ------
    AkitError : a clip failed and `on_error` is "fail", worker processes die one after another, a feature cannot be
        fitted, or there is no such `device`
    UsageError : `device` is none of those named
    acoustic_store.StoreError : the store is locked by another build, full or damaged

    """
    ordered = with_sources(features)
    with _workers(workers) if executor is None else nullcontext(executor) as processes:
        is_asked_for = device != "auto" or any(f.has_device_form for f in ordered)
        found = Compute(device).gpu() if executor is None and is_asked_for else None
        asked = device if executor is not None else found or "cpu"
        build = _Build(manifest, data_root, store, processes, on_error, rebuild, on_progress, found, asked)
        followers = build.followers(ordered)
        reports = build.waves([f for f in ordered if f.source is None], followers)
        for feature in ordered:
            if feature.source is not None and feature not in followers:
                reports += build.together((), [feature]) if build.is_on_gpu(feature) else build.together([feature])
    return reports


_workers = workers  # `workers` is what the public function calls their number


@dataclass
class _Tally:
    """How far features are that are built together."""

    todo: dict[str, int] = field(default_factory=dict)  # clips, by key
    done: Counter[str] = field(default_factory=Counter)
    stages: dict[str, Stages] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)
    _ended: dict[str, float] = field(default_factory=dict)

    def add(self, key: str, clips: int, stages: Stages) -> None:
        self.done[key] += clips
        self.stages[key] = self.stages.get(key, Stages()) + stages
        self._ended[key] = time.monotonic()

    def seconds(self, key: str) -> float:
        return self._ended.get(key, time.monotonic()) - self._began


@dataclass
class _Build:
    manifest: pl.DataFrame
    data_root: Path | str
    store: FeatureStore
    processes: Executor
    on_error: OnError
    rebuild: Mapping[str, Collection[str]]
    on_progress: OnProgress
    gpu: str | None  # of this machine
    device: str  # for jobs: that GPU, or what a cluster's workers are to make of it
    clips: dict[str, Clips] = field(default_factory=dict)  # by the key of the wave that they come from
    built: dict[str, set[str]] = field(default_factory=dict)  # by key: the clips that were built now
    opened: dict[str, StoredFeature] = field(default_factory=dict)  # by key: those of which nothing is to be built
    left_out: dict[str, set[str]] = field(default_factory=dict)  # by key: those on which worker processes died

    def __post_init__(self) -> None:
        paths = (clip_place(self.data_root, path) for path in self.manifest["path"])
        self.paths = dict(zip(self.manifest["id"], paths, strict=True))
        self.files = list(fingerprints(self.manifest, self.data_root).items())

    def is_on_gpu(self, feature: Feature) -> bool:
        """Whether this machine's GPU computes it."""
        return self.gpu is not None and feature.has_device_form and feature.source is not None

    def followers(self, features: Sequence[Feature]) -> list[Feature]:
        """Of features in order: those that the GPU can begin with while their waves are being decoded."""
        found: list[Feature] = []
        for feature in features:
            source = feature.source
            if source is not None and self.is_on_gpu(feature) and (source.source is None or source in found):
                found.append(feature)
        return found

    def waves(self, features: Sequence[Feature], followers: Sequence[Feature]) -> list[BuildReport]:
        """Build the features that are made of the decoded files, all at once, and what follows them on the GPU."""
        for feature in features:
            self.clips[feature.key] = self._known_silence(feature)
        if self.on_error != "silence":
            return self.together(features, followers)
        reports = self.together(features)
        if any(report.failures for report in reports):
            self.left_out.clear()
            for report in reports:
                bad = {id for id, reason in report.failures.items() if not reason.startswith(NOT_READ)}
                self.clips[report.feature.key] = self._with_silence({*bad, *report.silenced})
            reports = [
                replace(now, seconds=before.seconds + now.seconds, stages=before.stages + now.stages)
                for before, now in zip(reports, self.together(features), strict=True)
            ]
        return reports + self.together((), followers)

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

    def together(self, features: Sequence[Feature], followers: Sequence[Feature] = ()) -> list[BuildReport]:
        """Build features that have one source, and `followers` on the GPU: each block as soon as its source is there.

        All blocks are planned first, so that they come out as they would one feature after another.
        """
        with ExitStack() as stack:
            tally = _Tally()
            parts = {feature.key: self._planned(feature, stack) for feature in (*features, *followers)}
            tally.todo = {key: sum(len(block.clips) for _, block in found) for key, found in parts.items()}
            shared: dict[tuple, list[tuple[Feature, Block]]] = {}
            for part in (part for feature in features for part in parts[feature.key]):
                shared.setdefault(part[1].clips, []).append(part)
            jobs = [self._job(part) for part in shared.values()]
            waiting = [deque(self._job([part]) for part in parts[feature.key]) for feature in followers]
            unbuilt = {key: {id for _, block in found for id, _ in block.clips} for key, found in parts.items()}
            on_gpu = stack.enter_context(DeviceJobs(waiting, unbuilt))

            def note(job: BlockJob, stages: Stages) -> None:
                self._note(job, stages, tally)
                on_gpu.built(job)

            alone = any(f.uses_all_cores or (f.has_device_form and self.device != "cpu") for f in features)
            for done in stack.enter_context(closing(self.processes.run(jobs, alone))):
                note(*done)
                on_gpu.begin(self._ready)
                for found in on_gpu.finished():
                    note(*found)
            on_gpu.begin(self._ready, rest=True)
            for found in on_gpu.finished(wait=True):
                note(*found)
                on_gpu.begin(self._ready, rest=True)
        return [self._report(feature, tally) for feature in (*features, *followers)]

    def _note(self, job: BlockJob, stages: Stages, tally: _Tally) -> None:
        for feature, block in job.parts:
            key = feature.key
            self.left_out.setdefault(key, set()).update(job.left_out)
            self.built.setdefault(key, set()).update(id for id, _ in block.clips)
            tally.add(key, len(block.clips), stages)
            self.on_progress(feature, tally.done[key], tally.todo[key])

    def _ready(self, job: BlockJob) -> BlockJob:
        """A job that was planned before its sources were there, as it would be planned now."""
        left_out = self._left_out_above(job.feature)
        return job if left_out.isdisjoint(id for id, _ in job.clips) else job.tried_again(left_out)

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
        if blocks and feature.source is None and not self._has_data(blocks[0]):
            raise AkitError(
                f"The data folder {self.data_root} is not there. Mount it, or say in akit.toml where it is: data = …"
            )
        if blocks:
            self.opened.pop(feature.key, None)
            feature = feature.ready(self.store)
        return [(feature, block) for block in blocks]

    def _has_data(self, block: Block) -> bool:
        """Whether the data root is there; on S3, whether any of these clips is."""
        if isinstance(self.data_root, Path):
            return self.data_root.is_dir()
        return any(is_readable(self.paths[id]) for id, _ in block.clips)

    def _readable_again(self, feature: Feature) -> set[str]:
        """Clips whose file could not be read when they were built, and is there now."""
        if feature.key not in self.store:
            return set()
        self.opened[feature.key] = self.store[feature.key]  # its index is read once where nothing is to be built
        return {
            id
            for id, failure in self.opened[feature.key].failures.items()
            if failure.reason.startswith(_UNREAD) and id in self.paths and is_readable(self.paths[id])
        }

    def _clips_of(self, feature: Feature) -> Clips:
        left_out = self._left_out_above(feature)
        while feature.source is not None:
            feature = feature.source
        clips = self.clips[feature.key]
        return [(id, f + LEFT_OUT if id in left_out else f) for id, f in clips] if left_out else clips

    def _left_out_above(self, feature: Feature) -> set[str]:
        """The clips on which processes died that computed what the feature is computed from."""
        left_out: set[str] = set()
        while feature.source is not None:
            feature = feature.source
            left_out |= self.left_out.get(feature.key, set())
        return left_out

    def _job(self, parts: Sequence[tuple[Feature, Block]]) -> BlockJob:
        paths = {id: self.paths[id] for id, _ in parts[0][1].clips}
        return BlockJob(tuple(parts), self.store.url, paths, self.on_error == "fail", device=self.device)

    def _report(self, feature: Feature, tally: _Tally) -> BuildReport:
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
            tally.seconds(feature.key),
            tally.stages.get(feature.key, Stages()),
            gpu_name(self.gpu) if self.gpu is not None and self.is_on_gpu(feature) else None,
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
