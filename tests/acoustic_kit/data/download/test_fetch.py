"""Downloads of one file from a server that breaks off, is slow, lies about lengths and sends wrong bytes."""

import hashlib
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from acoustic_kit.data import download
from acoustic_kit.data.download import fetch
from acoustic_kit.data.public_data import Archive
from acoustic_kit.errors import AkitError

SIZE = 1_500_000
CONTENT = os.urandom(SIZE)
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def archive(server: Any) -> Archive:
    server.files["/a.bin"] = CONTENT
    return Archive(f"{server.url}/a.bin", "a.bin", 1, SIZE, MD5)


@dataclass
class Log:
    notes: list[str] = field(default_factory=list)
    done: list[tuple[int, int]] = field(default_factory=list)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def get(tmp_path: Path, log: Log) -> Callable[[Archive], Path]:
    def get(archive: Archive) -> Path:
        return fetch(archive, tmp_path, lambda what, done, total: log.done.append((done, total)), log.notes.append)

    return get


Get = Callable[[Archive], Path]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fails(get: Get, archive: Archive, match: str) -> None:
    with pytest.raises(AkitError, match=match) as error:
        get(archive)
    assert len(str(error.value).splitlines()) <= 2


def test_a_file_comes_whole_and_leaves_nothing_else(server: Any, archive: Archive, get: Get, log: Log) -> None:
    path = get(archive)
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["a.bin"]
    assert log.done[-1] == (SIZE, SIZE)
    assert log.notes == []
    get(archive)
    assert server.asked == [None]  # what is there and right is not asked for again


def test_a_redirect_is_followed(server: Any, archive: Archive, get: Get) -> None:
    server.break_after = [700_000]
    assert get(replace(archive, url=f"{server.url}/moved/a.bin")).read_bytes() == CONTENT
    assert server.asked[0] is None
    assert (server.asked[1] or "").startswith("bytes=")


def test_a_connection_that_breaks_off_is_taken_up_again(server: Any, archive: Archive, get: Get, log: Log) -> None:
    server.break_after = [500_000, 300_000]
    assert get(archive).read_bytes() == CONTENT
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in server.asked if asked]
    assert len(starts) == 2
    assert 0 < starts[0] < 500_000 < starts[1] < 800_000  # to a chunk
    assert [done for done, _ in log.done] == sorted(done for done, _ in log.done)


def test_next_call_resumes_after_repeated_breaks(server: Any, archive: Archive, get: Get, tmp_path: Path) -> None:
    server.break_after = [200_000] * download.TRIES
    fails(get, archive, r"broke after [\d,]+ of 1,500,000 bytes of a\.bin\.\nThe same command resumes")
    assert len(server.asked) == download.TRIES
    have = (tmp_path / "a.bin.part").stat().st_size
    assert have > 600_000
    assert get(archive).read_bytes() == CONTENT
    assert server.asked[-1] == f"bytes={have}-"
    assert names(tmp_path) == ["a.bin"]


def test_no_try_is_made_where_nothing_comes(server: Any, archive: Archive, get: Get) -> None:
    server.break_after = [300_000, 0, 300_000]
    fails(get, archive, "broke after")
    assert len(server.asked) == 2


@pytest.mark.parametrize("checksum", [MD5, None], ids=["with checksum", "without"])
def test_a_file_that_changed_meanwhile_is_downloaded_anew(
    server: Any, archive: Archive, get: Get, log: Log, checksum: str | None
) -> None:
    archive = replace(archive, checksum=checksum)
    server.files["/a.bin"] = os.urandom(SIZE)
    server.break_after = [900_000, 0]
    fails(get, archive, "broke after")
    server.files["/a.bin"], server.etag = CONTENT, '"two"'
    assert get(archive).read_bytes() == CONTENT
    assert "again from the start" in log.notes[0]


def test_wrong_partial_download_is_restarted_once(
    server: Any, archive: Archive, get: Get, tmp_path: Path, log: Log
) -> None:
    server.break_after = [900_000, 0]
    fails(get, archive, "broke after")
    part = tmp_path / "a.bin.part"
    part.write_bytes(b"x" + part.read_bytes()[1:])
    assert get(archive).read_bytes() == CONTENT
    assert server.asked[-1] is None
    assert "a.bin was wrong" in log.notes[0]
    assert len(log.notes) == 1
    assert names(tmp_path) == ["a.bin"]


def test_wrong_bytes(server: Any, archive: Archive, get: Get, tmp_path: Path) -> None:
    server.files["/a.bin"] = bytes(SIZE)
    fails(get, archive, r"a\.bin is not the published file.*\nNothing was kept")
    assert names(tmp_path) == []
    assert len(server.asked) == 1
    server.break_after = [900_000]
    fails(get, archive, "is not the published file")
    assert len(server.asked) == 4  # the part, its rest, and all anew
    assert names(tmp_path) == []


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_validator_the_length_must_agree(
    server: Any, archive: Archive, get: Get, etag: str | None, log: Log
) -> None:
    archive = replace(archive, size=None, checksum=None)
    server.etag, server.break_after = etag, [900_000, 0]
    fails(get, archive, "resumes there")
    path = get(archive)
    assert path.read_bytes() == CONTENT
    assert len(log.notes) == 1  # of the checksum: it was gone on with
    path.unlink()
    server.break_after = [900_000, 0]
    fails(get, archive, "resumes there")
    server.files["/a.bin"] = other = os.urandom(SIZE + 1)
    assert get(archive).read_bytes() == other
    assert "again from the start" in log.notes[-2]


def test_a_server_without_ranges(server: Any, archive: Archive, get: Get, log: Log) -> None:
    server.ranges, server.break_after = False, [900_000]
    assert get(archive).read_bytes() == CONTENT
    assert "cannot resume a.bin" in log.notes[0]
    assert len(log.notes) == 1


def test_a_server_that_tells_no_length(server: Any, archive: Archive, get: Get, log: Log) -> None:
    archive = replace(archive, size=None, checksum=None)
    server.length, server.break_after = None, [900_000, 0]
    fails(get, archive, "starts again, as the server does not state the size|cannot be reached")
    path = get(archive)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, None, None]
    assert log.notes == [
        f"a.bin was not checked, as akit knows no checksum of it. Its sha256 is {hashlib.sha256(CONTENT).hexdigest()}."
    ]
    assert log.done[0][1] == 1_000_000  # what akit guesses


@pytest.mark.parametrize("size", [SIZE, None])
def test_a_length_that_is_too_long(server: Any, archive: Archive, get: Get, size: int | None) -> None:
    server.length = 1000
    fails(
        get, replace(archive, size=size), "1,501,000 bytes long, not 1,500,000 as published" if size else "broke after"
    )
    server.length = 0
    assert get(archive).read_bytes() == CONTENT


@pytest.mark.parametrize("size", [SIZE, None])
def test_a_length_that_is_too_short(server: Any, archive: Archive, get: Get, tmp_path: Path, size: int | None) -> None:
    server.length = -1000
    match = "1,499,000 bytes long, not 1,500,000 as published" if size else "is not the published file"
    fails(get, replace(archive, size=size), match)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "match"),
    [(404, "404 Not Found.* may have moved"), (503, r"503 [\w ]+\. It is overloaded"), (403, "403 Forbidden")],
)
def test_an_error_of_the_server_loses_nothing(
    server: Any, archive: Archive, get: Get, tmp_path: Path, status: int, match: str
) -> None:
    server.break_after = [900_000, 0]
    fails(get, archive, "broke after")
    before = (tmp_path / "a.bin.part").read_bytes()
    server.status = status
    fails(get, archive, match)
    assert (tmp_path / "a.bin.part").read_bytes() == before
    server.status = 200
    assert get(archive).read_bytes() == CONTENT


def test_no_network(get: Get, archive: Archive, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.bin"
        fails(get, replace(archive, url=url), r"cannot be reached: .*Connection refused\.\nCheck the network")
    fails(get, replace(archive, url="http://no.such.host.invalid/a.bin"), r"cannot be reached: ")
    assert names(tmp_path) == []


def test_a_server_that_falls_silent(server: Any, archive: Archive, get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", (5, 0.2))
    monkeypatch.setattr(download, "TRIES", 1)
    server.pause = 1.0
    fails(get, archive, "broke after|cannot be reached")


def test_a_disk_that_fills_up(server: Any, archive: Archive, get: Get, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (800_000, before[1]))
    try:
        fails(
            get,
            archive,
            r"a\.bin\.part cannot be written: File too large\.(.|\n)*Free some space",
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "a.bin.part").stat().st_size == 800_000
    assert get(archive).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=800000-"


def test_offline_takes_only_what_is_there(
    server: Any, archive: Archive, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fails(get, archive, r"a\.bin has not been downloaded, and the network is switched off")
    assert server.asked == []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    get(archive)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = get(archive)
    path.write_bytes(b"damaged")
    fails(get, archive, "switched off")
    assert path.read_bytes() == b"damaged"
    assert len(server.asked) == 1


def test_kill_during_download_or_check_loses_nothing(server: Any, archive: Archive, get: Get, tmp_path: Path) -> None:
    code = (
        "import os, sys, pooch; from pathlib import Path; from acoustic_kit.data import download, public_data\n"
        "def kill(*_, **__): os.kill(os.getpid(), 9)\n"
        "if sys.argv[2] == 'checked': pooch.core.hash_matches = kill\n"
        "see = lambda what, done, total: kill() if sys.argv[2] == 'comes' and done > 900_000 else None\n"
        f"download.fetch(public_data.{archive!r}, Path(sys.argv[1]), see, print)"
    )
    for when in ("comes", "checked"):
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path), when], check=False, timeout=60)
        assert done.returncode == -9
    assert (tmp_path / "a.bin.part").read_bytes() == CONTENT
    assert (server.asked[1] or "").startswith("bytes=")
    assert get(archive).read_bytes() == CONTENT
    assert len(server.asked) == 2
    assert names(tmp_path) == ["a.bin"]
