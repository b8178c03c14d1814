"""Blocks of clips as tasks of a cluster: what `features.workers.Workers` is for the processes of one machine."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acoustic_kit.cluster.connection import Cluster, Tell, WorkersDied, this_worker
from acoustic_kit.errors import AkitError
from acoustic_kit.features.build.job import BlockJob, Stages, forget_opened_features

MOST_DEADLY = 3  # clips of one block; workers that die on more do not die of the clips

_build_of_this_worker = ""


@dataclass(frozen=True)
class _Task:
    job: BlockJob
    build: str  # tells the builds apart that a worker serves one after another
    there: frozenset[Path]  # files that the client sees


@dataclass
class ClusterExecutor:
    """Runs jobs on a cluster. A job whose worker dies goes to another one, as often as the scheduler allows.

    After that its clips are tried one by one, and those on which workers die again are left out.
    """

    cluster: Cluster
    died_on: dict[str, str] = field(default_factory=dict)  # clip → how; none that went well the second time
    _build: str = field(default_factory=lambda: uuid.uuid4().hex)

    def run(self, jobs: Sequence[BlockJob], in_this_process: bool = False) -> Generator[tuple[BlockJob, Stages]]:
        """Each job as it finishes, without the clips that had to be left out. Close it when you leave it early.

        - `in_this_process`: they fill a machine, or a GPU, by themselves: they go to workers that have one, if any do

        Raises what a job raised, and AkitError where workers die for another reason than a clip.
        """
        suspects = []
        with closing(self._outcomes(jobs, gpu=in_this_process)) as outcomes:
            for job, outcome in outcomes:
                if isinstance(outcome, WorkersDied):
                    suspects.append(job)
                else:
                    yield job, outcome
        for suspect in suspects:  # now that nothing else runs: what dies beside a deadly task is suspected with it
            harmless = self._without_deadly(suspect, in_this_process)
            ((job, outcome),) = self._outcomes([harmless], gpu=in_this_process)
            if isinstance(outcome, WorkersDied):
                raise _not_the_clips(suspect)
            yield job, outcome

    def _outcomes(self, jobs: Sequence[BlockJob], gpu: bool) -> Generator[tuple[BlockJob, Any]]:
        """Each job with what it took, or WorkersDied."""
        tasks = (_Task(job, self._build, _files_there(job)) for job in jobs)
        with closing(self.cluster.run(build_block, tasks, gpu=lambda _: gpu)) as outcomes:
            for task, outcome in outcomes:
                if isinstance(outcome, Exception) and not isinstance(outcome, WorkersDied):
                    raise outcome
                yield task.job, outcome

    def _without_deadly(self, job: BlockJob, gpu: bool) -> BlockJob:
        """The job without the clips on which workers die."""
        deadly = []
        for clip in job.clips:  # one at a time, for the same reason
            task = (_Task(job, self._build, frozenset()), clip)
            ((_, outcome),) = self.cluster.run(try_clip, [task], gpu=lambda _: gpu)
            if isinstance(outcome, WorkersDied):
                deadly.append((clip[0], str(outcome)))
            if len(deadly) > MOST_DEADLY:
                raise _not_the_clips(job)
        for id, how in deadly:
            self.died_on[id] = how
            job = job.without(id, f"{how}; the next build tries again")
        return job


def _not_the_clips(job: BlockJob) -> AkitError:
    first, last = job.clips[0][0], job.clips[-1][0]
    return AkitError(
        f"Workers die again and again on the clips {first} to {last}, and not for one of them: see the workers' own "
        "messages. Most often they lack memory (`dask worker --memory-limit`). What was built is kept."
    )


def _files_there(job: BlockJob) -> frozenset[Path]:
    """The files of a job that are to be decoded, and that this machine sees."""
    return frozenset(path for path in _files(job) if path.exists())


def _files(job: BlockJob) -> Iterator[Path]:
    if job.parts[0][0].source is None:
        yield from (path for path in job.paths.values() if isinstance(path, Path))


def build_block(task: _Task, tell: Tell) -> Stages:
    """Compute and commit a block on a worker."""
    _check_reach(task.job, task.there)
    with _begun(task.build):
        return task.job.run()


def try_clip(task: tuple[_Task, tuple[str, str]], tell: Tell) -> None:
    """Compute one clip on a worker, and keep nothing of it."""
    with _begun(task[0].build):
        task[0].job.try_clip(task[1])


@contextmanager
def _begun(build: str) -> Iterator[None]:
    """Forget what an earlier build opened, which had fewer clips then; die where the memory does not suffice."""
    global _build_of_this_worker  # noqa: PLW0603 (a worker serves many builds, in one process)
    if build != _build_of_this_worker:
        forget_opened_features()
        _build_of_this_worker = build
    try:
        yield
    except MemoryError:
        os._exit(errno.ENOMEM)  # as if the system had killed it: the clip is found, and the build goes on


def _check_reach(job: BlockJob, there: Collection[Path]) -> None:
    """Raise AkitError where this worker does not see what the client sees."""
    if "://" not in job.store_url and not (Path(job.store_url) / job.parts[0][0].key).is_dir():
        raise AkitError(
            f"The worker {this_worker()} does not see the feature store {job.store_url}. Put it on a disk that all "
            "machines share, or into object storage: store = 's3://bucket/features.zarr' in akit.toml."
        )
    if unseen := next((path for path in there if not path.exists()), None):
        raise AkitError(
            f"The worker {this_worker()} does not see {unseen}, which is there on this machine. Put the clips on a "
            "disk that all machines share, under the same path, or into object storage: data = 's3://bucket/clips'."
        )
