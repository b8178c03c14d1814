"""An executor of feature builds that computes blocks of clips on the workers of a cluster."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acoustic_kit.cluster.connection import Cluster, Send, WorkersDied, this_worker
from acoustic_kit.errors import AkitError
from acoustic_kit.features.build.job import BlockJob, Stages, chains, forget_opened_features
from acoustic_kit.features.build.recordings import close_recording

MAX_DEADLY_CLIPS = 3  # of one block; if workers die on more, the clips are not the cause

_build_of_this_worker = ""


@dataclass(frozen=True)
class _Task:
    jobs: tuple[BlockJob, ...]  # one, or all blocks of a recording, which is then decoded once
    build: str  # id of the build: a worker serves several in turn
    there: frozenset[Path]  # files that exist for the client


@dataclass
class ClusterExecutor:
    """Executor on a cluster. A job whose worker dies is run by another one, as often as the scheduler allows.

    Then its clips are computed one by one, and those on which workers die again are left out.
    """

    cluster: Cluster
    died_on: dict[str, str] = field(default_factory=dict)  # clip → how, without those that succeeded on retry
    _build: str = field(default_factory=lambda: uuid.uuid4().hex)

    def run(self, jobs: Sequence[BlockJob], in_this_process: bool = False) -> Generator[tuple[BlockJob, Stages]]:
        """Yield each job as it finishes, without the clips that were left out. Close the generator to stop early.

        - `in_this_process`: whether each job uses a whole machine or a GPU; workers with a GPU, if any, then run them

        Raises the exception of a job, and AkitError if workers die for another reason than a clip.
        """
        suspects: list[BlockJob] = []
        with closing(self._outcomes(map(tuple, chains(jobs)), gpu=in_this_process)) as outcomes:
            for chain, outcome in outcomes:
                if isinstance(outcome, WorkersDied):
                    suspects += chain
                else:
                    yield from zip(chain, outcome, strict=True)
        for suspect in suspects:  # while nothing else runs, as a dying worker fails all its tasks
            harmless = self._without_deadly(suspect, in_this_process)
            ((_, outcome),) = self._outcomes([(harmless,)], gpu=in_this_process)
            if isinstance(outcome, WorkersDied):
                raise _not_the_clips(suspect)
            yield harmless, outcome[0]

    def _outcomes(
        self, chains: Iterable[tuple[BlockJob, ...]], gpu: bool
    ) -> Generator[tuple[tuple[BlockJob, ...], Any]]:
        """Yield the jobs of each task with the stages of each, or with WorkersDied."""
        tasks = (_Task(jobs, self._build, _existing_files(jobs)) for jobs in chains)
        with closing(self.cluster.run(build_blocks, tasks, gpu=lambda _: gpu)) as outcomes:
            for task, outcome in outcomes:
                if isinstance(outcome, Exception) and not isinstance(outcome, WorkersDied):
                    raise outcome
                yield task.jobs, outcome

    def _without_deadly(self, job: BlockJob, gpu: bool) -> BlockJob:
        """Return the job without the clips on which workers die."""
        n_deadly = 0
        for clip in job.clips:  # one at a time, for the same reason
            if clip[0] in job.left_out:  # a window after a deadly one
                continue
            task = (_Task((job,), self._build, frozenset()), clip)
            ((_, outcome),) = self.cluster.run(try_clip, [task], gpu=lambda _: gpu)
            if isinstance(outcome, WorkersDied):
                n_deadly += 1
                self.died_on[clip[0]] = str(outcome)
                job = job.without(clip[0], f"{outcome}; the next build tries again")
            if n_deadly > MAX_DEADLY_CLIPS:
                raise _not_the_clips(job)
        return job


def _not_the_clips(job: BlockJob) -> AkitError:
    first, last = job.clips[0][0], job.clips[-1][0]
    return AkitError(
        f"Workers die repeatedly on the clips {first} to {last}, and not due to one of them: see the workers' own "
        "messages. Often they lack memory (`dask worker --memory-limit`). Built features are stored."
    )


def _existing_files(jobs: Sequence[BlockJob]) -> frozenset[Path]:
    """Return the files that jobs decode and that exist for this machine."""
    places = {path for job in jobs if job.feature.source is None for path in job.paths.values()}
    return frozenset(path for path in places if isinstance(path, Path) and path.exists())


def build_blocks(task: _Task, send: Send) -> list[Stages]:
    """Compute and commit blocks on a worker."""
    _check_access(task.jobs[0], task.there)
    with _build_context(task.build):
        return [job.run() for job in task.jobs]


def try_clip(task: tuple[_Task, tuple[str, str]], send: Send) -> None:
    """Compute one clip on a worker, and discard the result."""
    with _build_context(task[0].build):
        task[0].jobs[0].try_clip(task[1])


@contextmanager
def _build_context(build: str) -> Iterator[None]:
    """Close what an earlier build opened, when the store had fewer clips; exit the process on a MemoryError."""
    global _build_of_this_worker  # noqa: PLW0603 (a worker serves many builds, in one process)
    if build != _build_of_this_worker:
        forget_opened_features()
        close_recording()
        _build_of_this_worker = build
    try:
        yield
    except MemoryError:
        os._exit(errno.ENOMEM)  # as if killed by the system: the clip is identified, and the build continues


def _check_access(job: BlockJob, there: Collection[Path]) -> None:
    """Raise AkitError if this worker has no access to the store or to a file that exists for the client."""
    if "://" not in job.store_url and not (Path(job.store_url) / job.parts[0][0].key).is_dir():
        raise AkitError(
            f"The worker {this_worker()} has no access to the feature store {job.store_url}. Store it on a disk that "
            "all machines share, or in object storage: store = 's3://bucket/features.zarr' in akit.toml."
        )
    if unseen := next((path for path in there if not path.exists()), None):
        raise AkitError(
            f"The worker {this_worker()} has no access to {unseen}, which exists on this machine. Store the clips on a "
            "disk that all machines share, under the same path, or in object storage: data = 's3://bucket/clips'."
        )
