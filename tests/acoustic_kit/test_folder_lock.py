"""One process at a time: the other is told, or waits."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from acoustic_kit.errors import AkitError
from acoustic_kit.files import locked
from acoustic_store import FeatureStore, StoreError

WAITS = """
import sys
from pathlib import Path
from acoustic_kit.files import locked
with locked(Path(sys.argv[1])):
    print("in")
"""


def test_lock_excludes_others_until_the_block_ends(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with locked(folder, "busy here"), pytest.raises(AkitError, match="busy here"), locked(folder, "busy here"):
        pass
    with locked(folder, "busy here"):
        assert folder.is_dir()


def test_without_a_message_it_waits(tmp_path: Path) -> None:
    with locked(tmp_path):
        waiting = subprocess.Popen([sys.executable, "-c", WAITS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=2)
    assert waiting.communicate(timeout=60)[0] == "in\n"
    assert waiting.returncode == 0


def test_an_error_inside_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), locked(tmp_path, "busy"):
        raise BlockingIOError


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_named(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(AkitError, match="has no locks") as caught, locked(tmp_path, "busy"):
        pass
    assert str(tmp_path) in str(caught.value)
    store = FeatureStore.open(tmp_path / "store", create=True)
    with pytest.raises(StoreError, match="has no locks") as told, store.writer("x", "float32", {}):
        pass
    assert str(tmp_path / "store" / "x") in str(told.value)
    assert "space" not in str(told.value)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AkitError, match="file/x cannot be created"), locked(tmp_path / "file" / "x", "busy"):
        pass
