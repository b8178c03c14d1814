"""Note which workspaces share a feature store outside of them, so that none deletes what another needs."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from acoustic_kit.errors import AkitError
from acoustic_kit.files import read_regular, write_atomically

FOLDER = ".users"  # in the store: one file a workspace, with the path of its folder


def note_user(store: Path | str, root: Path) -> None:
    """Note in a local store that the workspace in `root` uses it; do nothing for a store inside of `root`."""
    if isinstance(store, str) or store.is_relative_to(root):
        return
    path = store / FOLDER / hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    if not path.exists():
        with suppress(AkitError):  # a read-only store
            write_atomically(path, f"{root}\n")


def other_users(store: Path | str, root: Path) -> dict[Path, Path]:
    """Return the folders of the other workspaces that are noted in a store, each with the file that notes it."""
    if isinstance(store, str) or not (store / FOLDER).is_dir():
        return {}
    found = {}
    for path in sorted((store / FOLDER).iterdir()):
        with suppress(OSError):
            found[Path(os.fsdecode(read_regular(path).removesuffix(b"\n")))] = path
    found.pop(root, None)
    return found
