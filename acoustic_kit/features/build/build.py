"""Run features over a manifest into the store: in worker processes, resumable, nothing read or built twice."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from acoustic_kit.device import Compute, gpu_name
from acoustic_kit.dsp.sound_file import NOT_READ
from acoustic_kit.features.build.execute import by_clips, execute
from acoustic_kit.features.build.executor import Executor
from acoustic_kit.features.build.job import BlockJob, Part
from acoustic_kit.features.build.plan import BLOCK_SIZE, BuildPlan, with_sources
from acoustic_kit.features.build.report import BuildProgress, BuildReport, OnProgress, report_on
from acoustic_kit.features.build.worker import Workers, workers
from acoustic_kit.features.feature import Feature

if TYPE_CHECKING:
    import polars as pl

    from acoustic_store import FeatureStore

OnError = Literal["skip", "fail", "silence"]


def build_features(
    manifest: pl.DataFrame,
    data_root: Path | str,
    store: FeatureStore,
    features: Sequence[Feature],
    *,
    workers: int | Workers = 0,
    on_error: OnError = "skip",
    rebuild: Mapping[str, Collection[str]] = MappingProxyType({}),
    on_progress: OnProgress = lambda *_: None,
    device: str = "cpu",
    executor: Executor | None = None,
    digests: Mapping[str, str] | None = None,
    block_size: int = BLOCK_SIZE,
) -> list[BuildReport]:
    """Build what the store lacks of the features, and of what they are computed from, for all clips of the manifest.

    >>> build_features(ws.manifest, ws.data_root, ws.store(), [LogMel(n_mels=64)])  # ws: Workspace

    A clip is held if the store has it under the same key and fingerprint (a digest of the file's bytes). A build that
    was stopped at any instant resumes. A file is decoded once, whatever the number of its clips and of the waves
    computed from them, by one worker process.

    A clip that cannot be computed is recorded with its reason (`on_error="skip"`) and not tried again until its file
    changes, unless it could not be read (a missing file, an error of the disk, too little memory): those are tried by
    each build. Or it stops the build (`"fail"`); or, if its file cannot be decoded, it counts as one second of silence
    (`"silence"`), which later builds keep unless they are asked to fail.

    Parameters
    ----------
    manifest : one row a clip: `id`, `path`, `content`, `size`, `mtime_ns`; of parts of files also `start` and `end`
    data_root : the folder, or the s3://bucket/path, that `path` is relative to
    store : opened for writing
    features : those that learn from clips (`pca`) as `for_folds` returns them
    workers : worker processes, or their number; 0 computes in this process. A clip on which one dies is tried a second
        time; one on which two die is recorded as failed, and tried again by the next build
    rebuild : feature key → clips to build again though they are held
    on_progress : called with the feature, clips done and clips to do
    device : `cpu`; or `cuda`, `cuda:1` or `auto` (a GPU if available) for the features that have a form for it.
        Their values then differ by rounding, which the key does not record. A GPU is used by this process, while worker
        processes decode
    executor : computes the blocks instead of worker processes, such as `ClusterExecutor`; `workers` is ignored then
    digests : those of `fingerprints`, if they are known already
    block_size : clips that a worker process computes at once

    Returns
    -------
    One report a feature, also of those that the features are computed from, which come first.

    Raises
    ------
    AkitError : a clip failed and `on_error` is "fail", worker processes die one after another, a feature cannot be
        fitted, or there is no such `device`
    UsageError : `device` is none of those named
    acoustic_store.StoreError : the store is locked by another build, full or damaged

    """
    ordered = with_sources(features)
    with _workers(workers) if executor is None else nullcontext(executor) as processes:
        is_gpu_of_use = device != "auto" or any(f.has_device_form for f in ordered)
        gpu = Compute(device).gpu() if executor is None and is_gpu_of_use else None
        plan = BuildPlan.of(manifest, data_root, store, rebuild, digests, block_size)
        for_jobs = device if executor is not None else gpu or "cpu"
        build = _Build(plan, processes, BuildProgress(on_progress), on_error, gpu, for_jobs)
        followers = build.followers(ordered)
        reports = build.waves([f for f in ordered if f.source is None], followers)
        for feature in ordered:
            if feature.source is not None and feature not in followers:
                reports += build.together((), [feature]) if build.is_on_gpu(feature) else build.together([feature])
    return reports


_workers = workers  # `workers` is what the public function calls their number


@dataclass
class _Build:
    plan: BuildPlan
    executor: Executor
    progress: BuildProgress
    on_error: OnError
    gpu: str | None  # of this machine
    device: str  # for jobs: that GPU, or what the workers of a cluster resolve

    def is_on_gpu(self, feature: Feature) -> bool:
        """Return whether this machine's GPU computes the feature."""
        return self.gpu is not None and feature.has_device_form and feature.source is not None

    def followers(self, features: Sequence[Feature]) -> list[Feature]:
        """Return, of features in order, those that the GPU can begin with while their waves are being decoded."""
        found: list[Feature] = []
        for feature in features:
            source = feature.source
            if source is not None and self.is_on_gpu(feature) and (source.source is None or source in found):
                found.append(feature)
        return found

    def waves(self, features: Sequence[Feature], followers: Sequence[Feature]) -> list[BuildReport]:
        """Build the features of the decoded files, all at once, and their followers on the GPU."""
        plan = self.plan
        if self.on_error != "fail":
            for feature in features:
                plan.keep_silent(feature)
        if self.on_error != "silence":
            return self.together(features, followers)
        reports = self.together(features)
        if any(report.failures for report in reports):
            plan.deadly.clear()
            for report in reports:
                bad = {id for id, reason in report.failures.items() if not reason.startswith(NOT_READ)}
                plan.silent.setdefault(report.feature.key, set()).update(bad)
            reports = self.together(features)
        return reports + self.together((), followers)

    def together(self, features: Sequence[Feature], followers: Sequence[Feature] = ()) -> list[BuildReport]:
        """Plan, execute and report features that have one source, and `followers` on the GPU.

        All blocks are planned before the first is built, so that they come out as they would one feature after another.
        """
        plan, progress = self.plan, self.progress
        progress.begin_round()
        with ExitStack() as locks:
            parts = {feature.key: plan.missing(feature, locks) for feature in (*features, *followers)}
            progress.expect(parts)
            jobs = [self._job(group) for group in by_clips(part for feature in features for part in parts[feature.key])]
            gpu_jobs = {feature.key: [self._job([part]) for part in parts[feature.key]] for feature in followers}
            alone = any(f.uses_all_cores or (f.has_device_form and self.device != "cpu") for f in features)
            finished = locks.enter_context(closing(execute(jobs, gpu_jobs, self.executor, alone, self._final)))
            for job, stages in finished:
                for feature, _ in job.parts:
                    plan.deadly.setdefault(feature.key, set()).update(job.left_out)
                progress.add(job, stages)
        gpu = None if self.gpu is None else gpu_name(self.gpu)
        return [
            report_on(feature, plan, self.executor, progress, gpu if self.is_on_gpu(feature) else None)
            for feature in (*features, *followers)
        ]

    def _job(self, parts: Sequence[Part]) -> BlockJob:
        ids = [id for id, _ in parts[0][1].clips]
        paths = {id: self.plan.paths[id] for id in ids}
        spans = {id: self.plan.spans[id] for id in ids if id in self.plan.spans}
        url = self.plan.store.url
        return BlockJob(tuple(parts), url, paths, self.on_error == "fail", spans=spans, device=self.device)

    def _final(self, job: BlockJob) -> BlockJob:
        """Return a job that was planned before its sources were built, as it would be planned now."""
        deadly = self.plan.deadly_above(job.feature)
        return job if deadly.isdisjoint(id for id, _ in job.clips) else job.mark_for_retry(deadly)
