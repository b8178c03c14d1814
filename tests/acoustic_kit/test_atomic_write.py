"""A file is written whole or not at all, by any number of processes, and what killed ones left goes."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from acoustic_kit.errors import AkitError
from acoustic_kit.files import replacing, write_atomically

WAITS = """
import sys, time
from pathlib import Path
from acoustic_kit.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    print(temporary, flush=True)
    time.sleep(600)
"""


def test_temporary_file_is_removed_after_its_process_died(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WAITS, str(tmp_path / "a.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        temporary = Path(writer.stdout.readline().strip())
        write_atomically(tmp_path / "a.json", "{}")
        assert temporary.exists()
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert temporary.exists()
    write_atomically(tmp_path / "b.json", "{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]


def test_writers_with_one_process_id_do_not_meet(tmp_path: Path) -> None:
    path, both_write = tmp_path / "a.txt", threading.Barrier(2)

    def write(letter: str) -> None:
        with replacing(path) as temporary, temporary.open("w") as file:
            both_write.wait(60)
            file.write(letter * 1000)
            both_write.wait(60)

    other = threading.Thread(target=write, args="b")
    other.start()
    write("a")
    other.join()
    assert path.read_text() in ("a" * 1000, "b" * 1000)
    assert list(tmp_path.iterdir()) == [path]


def test_what_another_machine_left_goes_after_a_day(tmp_path: Path) -> None:
    foreign = tmp_path / ".akit-00000000-0123456789abcdef.tmp"
    others = [tmp_path / ".a.json.tmp", tmp_path / ".akit-0-0.tmp"]
    for path in (foreign, *others):
        path.touch()
    write_atomically(tmp_path / "a.json", "{}")
    assert foreign.exists()
    os.utime(foreign, (1, 1))
    write_atomically(tmp_path / "a.json", "{}")
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "a.json"])


def test_without_locks_nothing_is_taken_for_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with replacing(tmp_path / "a.json") as temporary:
        write_atomically(tmp_path / "a.json", "{}")
        assert temporary.exists()


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("n" * 255), "{}")
    with pytest.raises(AkitError, match=r"n{256} cannot be written"):
        write_atomically(tmp_path / ("n" * 256), "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["n" * 255]
