"""What computes the blocks of a build: worker processes of this machine, or machines of a cluster."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Protocol

from acoustic_kit.features.build.job import BlockJob, Stages


class Executor(Protocol):
    """What a build is computed by: the processes of this machine, or those of a cluster."""

    died_on: dict[str, str]  # clip → how the process ended that was computing it

    def run(self, jobs: Sequence[BlockJob], in_this_process: bool = False) -> Generator[tuple[BlockJob, Stages]]:
        """Each job as it finishes, without the clips that had to be left out."""
