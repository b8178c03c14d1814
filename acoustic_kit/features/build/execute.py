"""Execute a plan: blocks go to worker processes or a cluster, and to the GPU as soon as their sources are stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing

from acoustic_kit.features.build.executor import Executor
from acoustic_kit.features.build.gpu import DeviceJobs
from acoustic_kit.features.build.job import BlockJob, Part, Stages


def by_clips(parts: Iterable[Part]) -> list[list[Part]]:
    """Group the blocks of several features that hold the same clips, so that each file is decoded once."""
    shared: dict[tuple, list[Part]] = {}
    for feature, block in parts:
        shared.setdefault((block.clips, block.states), []).append((feature, block))
    return list(shared.values())


def execute(
    jobs: Sequence[BlockJob],
    gpu_jobs: Mapping[str, Sequence[BlockJob]],
    executor: Executor,
    in_this_process: bool,
    finish: Callable[[BlockJob], BlockJob],
) -> Generator[tuple[BlockJob, Stages]]:
    """Run jobs and yield each with the seconds that it took, as it finishes. Close it when you leave it early.

    Parameters
    ----------
    jobs : for the executor
    gpu_jobs : feature key → jobs for this machine's GPU, which begin once the clips that they read are stored
    in_this_process : whether the executor runs its jobs in this process
    finish : gives a job for the GPU its final form before it begins

    """
    unbuilt: dict[str, set[str]] = {}
    for job in (*jobs, *(job for found in gpu_jobs.values() for job in found)):
        for feature, block in job.parts:
            unbuilt.setdefault(feature.key, set()).update(id for id, _ in block.clips)
    waiting = [deque(found) for found in gpu_jobs.values()]
    with DeviceJobs(waiting, unbuilt) as on_gpu, closing(executor.run(jobs, in_this_process)) as finished:
        for job, stages in finished:
            on_gpu.built(job)
            yield job, stages
            on_gpu.begin(finish)
            yield from on_gpu.finished()
        on_gpu.begin(finish, rest=True)
        for done in on_gpu.finished(wait=True):
            yield done
            on_gpu.begin(finish, rest=True)
