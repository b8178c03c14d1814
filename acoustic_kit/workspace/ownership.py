"""Refuse workspaces of other users unless they are declared safe, as their recipes and metrics are programs."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from acoustic_kit.errors import AkitError

SAFE_WORKSPACES = "AKIT_SAFE_WORKSPACES"  # the environment variable: folders, separated as those in PATH; or *


def require_own(root: Path, config_name: str) -> None:
    """Check that a workspace belongs to the user who runs akit, to root, or is named in `AKIT_SAFE_WORKSPACES`.

    The owners of the folder, its settings, its recipes and its metrics are checked.

    Raises
    ------
    AkitError : for another owner; the message names the path and its owner

    """
    if sys.platform == "win32" or _is_named_safe(root):
        return
    for path in (root, root / config_name, *_files(root / "recipes"), *_files(root / "metrics")):
        if stranger := _foreign_owner(path):
            raise AkitError(
                f"{path} belongs to {stranger}, and recipes and metrics of a workspace are programs that run as you.\n"
                f"If you trust it, set {SAFE_WORKSPACES}={root} (several are separated by {os.pathsep!r}, "
                "* means any)."
            )


def _is_named_safe(root: Path) -> bool:
    named = [name for name in os.environ.get(SAFE_WORKSPACES, "").split(os.pathsep) if name]
    return "*" in named or any(Path(name).resolve() == root for name in named)


def _files(folder: Path) -> Iterator[Path]:
    yield folder
    with suppress(OSError):
        yield from folder.iterdir()


def _foreign_owner(path: Path) -> str | None:
    """Return the owner of a file, or of the link to it, other than this user and root; None if there is none."""
    trusted = {0, os.geteuid()}
    if os.geteuid() == 0:
        trusted.add(int(os.environ.get("SUDO_UID", "0")))
    try:
        owners = {path.lstat().st_uid, path.stat().st_uid} - trusted
    except OSError:
        return None
    return _user(owners.pop()) if owners else None


def _user(uid: int) -> str:
    import pwd

    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"another user ({uid})"
