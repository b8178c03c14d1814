"""The workspace that the methods of an open workspace work in."""

from __future__ import annotations

from pathlib import Path

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
