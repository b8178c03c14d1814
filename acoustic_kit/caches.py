"""Cache folders: akit's own, and those of libraries if neither the package nor the home folder is writable."""

import atexit
import os
import shutil
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# Environment variable of a library's cache → its default parent, below the home folder.
_CACHES = {"NUMBA_CACHE_DIR": ".cache", "MPLCONFIGDIR": ".config", "TRITON_CACHE_DIR": ".triton"}


def provide_caches() -> None:
    """Set the cache folders of numba, matplotlib and Triton to a temporary one if they have no writable folder.

    numba fails without one. Worker processes inherit it. It is not shared with other programs, as compiled code is
    executed from it.
    """
    lacking = [name for name in _CACHES if name not in os.environ and not _has_place(name)]
    if not lacking:
        return
    import tempfile

    try:
        folder = tempfile.mkdtemp(prefix="akit-cache-")
    except OSError:  # no writable folder
        return
    atexit.register(_remove, folder, os.getpid())
    for name in lacking:
        os.environ[name] = folder


def user_cache(name: str) -> "Path":
    """Return akit's cache folder of a name, created: below `XDG_CACHE_HOME`, else `~/.cache`.

    A temporary folder, deleted when the process ends, if that is not writable.
    """
    import tempfile
    from pathlib import Path

    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "akit" / name
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        folder = Path(tempfile.mkdtemp(prefix="akit-cache-"))
        atexit.register(_remove, str(folder), os.getpid())
    return folder


def _has_place(name: str) -> bool:
    if name == "NUMBA_CACHE_DIR":
        kernels = os.path.join(os.path.dirname(__file__), "dsp")  # noqa: PTH118, PTH120 (pathlib costs start-up)
        compiled = os.path.join(kernels, "__pycache__")  # noqa: PTH118
        if os.access(compiled if os.path.isdir(compiled) else kernels, os.W_OK):  # noqa: PTH112
            return True
    if sys.platform != "linux":
        return True  # other default folders, which are rarely unwritable
    home = os.path.expanduser("~")  # noqa: PTH111
    shared = {".cache": "XDG_CACHE_HOME", ".config": "XDG_CONFIG_HOME"}.get(_CACHES[name], "")
    place = os.environ.get(shared) or os.path.join(home, _CACHES[name])  # noqa: PTH118
    while not os.path.exists(place) and os.path.dirname(place) != place:  # noqa: PTH110, PTH120
        place = os.path.dirname(place)  # noqa: PTH120
    return bool(place) and os.access(place, os.W_OK)  # "" if the home folder of the user is unknown


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:  # not a fork
        shutil.rmtree(folder, ignore_errors=True)
