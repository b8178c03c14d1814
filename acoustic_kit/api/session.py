"""The workspace that the methods of an open workspace work in, and the cluster that they may compute on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from acoustic_kit.api.progress import say
from acoustic_kit.cluster import Cluster, connect
from acoustic_kit.errors import UsageError
from acoustic_kit.runs import remote_runs
from acoustic_kit.workspace.workspace import Workspace


class Session:
    """A folder that is a workspace, and whether progress is shown.

    `akit.toml` and the manifest are read by each call, so that changes of them count.
    """

    def __init__(self, root: str | Path, *, progress: bool = True) -> None:
        self.root = Workspace.at(Path(root).resolve()).root
        self.progress = progress

    @property
    def files(self) -> Workspace:
        """The workspace as the rest of the library takes it: paths, settings, manifest, store."""
        return Workspace.at(self.root)

    def files_with_runs(self) -> Workspace:
        """Return `files` after new runs on S3, if runs are stored there, are downloaded."""
        workspace = self.files
        remote_runs.pull(workspace)
        return workspace


@contextmanager
def cluster_at(address: str | None, workers: int | None, *, messages: bool) -> Iterator[Cluster | None]:
    """Connect to the cluster of a Dask scheduler, or yield None if `address` is None.

    - `messages`: whether the cluster is described on stderr

    Raises UsageError if `workers`, the processes of this machine, is given too; otherwise as `connect` does.
    """
    if address is None:
        yield None
        return
    if workers is not None:
        raise UsageError("--workers counts processes of this machine; with --cluster, the cluster's workers compute.")
    with connect(address) as cluster:
        if messages:
            say(f"Cluster {address}: {cluster.summary()}.")
        yield cluster
