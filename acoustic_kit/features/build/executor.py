"""The interface of what computes the blocks of a build: worker processes, or a cluster."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Protocol

from acoustic_kit.features.build.job import BlockJob, Stages


class Executor(Protocol):
    """Worker processes of this machine, or of a cluster."""

    died_on: dict[str, str]  # clip id → how the process ended that was computing it

    def run(self, jobs: Sequence[BlockJob], in_this_process: bool = False) -> Generator[tuple[BlockJob, Stages]]:
        """Yield each job as it finishes, without the clips that were left out, and the seconds that it took."""
