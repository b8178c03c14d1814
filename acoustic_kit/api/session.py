"""What the methods of an open workspace share: the workspace, a cluster to compute on, and warnings."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from acoustic_kit.api.progress import say
from acoustic_kit.cluster import Cluster, connect
from acoustic_kit.data.leaks import leak_warnings
from acoustic_kit.errors import AkitWarning, UsageError
from acoustic_kit.runs import remote_runs
from acoustic_kit.runs.data_update import describe_changes
from acoustic_kit.workspace.workspace import Workspace

_PACKAGE = str(Path(__file__).parents[1])


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


def warn(text: str) -> None:
    """Issue an AkitWarning for the line outside of akit that called it."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, AkitWarning, stacklevel=level)


def warn_of_missing_recipe(name: str) -> None:
    """Warn that `akit.toml` lists a recipe that does not exist."""
    warn(f"akit.toml lists the recipe {name} in `features`, which does not exist. It is ignored.")


def warn_of_leaks(workspace: Workspace) -> None:
    """Warn of clips that are used both for training and for scoring."""
    for text in leak_warnings(workspace.manifest):
        warn(text)


def warn_of_changes(workspace: Workspace) -> None:
    """Warn if the tables or folders of the data set have changed since the manifest was made."""
    if text := describe_changes(workspace):
        warn(text)
