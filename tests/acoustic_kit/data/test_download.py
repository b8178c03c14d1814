"""Downloads from a server on this machine that breaks off, is slow, lies about lengths and sends wrong bytes."""

import hashlib
import io
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from acoustic_kit.data import download, read_dataset
from acoustic_kit.data.download import download_data_set, fetch, find_data_set
from acoustic_kit.data.public_data import PUBLIC_DATA_SETS, Archive, PublicDataSet
from acoustic_kit.errors import AkitError, UsageError

SIZE = 1_500_000
CONTENT = os.urandom(SIZE)
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


@dataclass
class Server:
    """What the next requests meet, and what they were."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=lambda: {"/a.bin": CONTENT})
    ranges: bool = True
    etag: str | None = '"one"'
    status: int = 200
    length: int | None = 0  # added to the true Content-Length; None sends chunks without one
    break_after: list[int] = field(default_factory=list)  # bytes of body, one number a request
    pause: float = 0  # seconds after each 64 kB
    asked: list[str | None] = field(default_factory=list)  # the Range of each request


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        of: Server = self.server.of  # type: ignore[attr-defined]
        path = self.path.partition("?")[0]
        if path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", path.removeprefix("/moved"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        of.asked.append(self.headers["Range"])
        if path not in of.files or of.status != 200:
            self.send_error(404 if path not in of.files else of.status)
            return
        self._send(of, of.files[path])

    def _send(self, of: Server, content: bytes) -> None:
        asked, start = self.headers["Range"], 0
        same = self.headers["If-Range"] in (None, of.etag) and not (self.headers["If-Range"] or "").startswith("W/")
        if asked and of.ranges and same:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if of.etag:
            self.send_header("ETag", of.etag)
        body = content[start:]
        if of.length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body) + of.length))
        self.end_headers()
        self._send_body(of, body)

    def _send_body(self, of: Server, body: bytes) -> None:
        breaks = of.break_after.pop(0) if of.break_after else None
        for at in range(0, len(body[:breaks]), 1 << 16):
            part = body[:breaks][at : at + (1 << 16)]
            try:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if of.length is None else part)
            except OSError:
                return
            time.sleep(of.pause)
        if of.length is None and breaks is None:
            self.wfile.write(b"0\r\n\r\n")
        if breaks is not None or of.length:
            self.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(download, "PAUSE", 0.0)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.of = Server(f"http://127.0.0.1:{http.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield http.of  # type: ignore[attr-defined]
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def archive(server: Server) -> Archive:
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


def test_a_file_comes_whole_and_leaves_nothing_else(server: Server, archive: Archive, get: Get, log: Log) -> None:
    path = get(archive)
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["a.bin"]
    assert log.done[-1] == (SIZE, SIZE)
    assert log.notes == []
    get(archive)
    assert server.asked == [None]  # what is there and right is not asked for again


def test_a_redirect_is_followed(server: Server, archive: Archive, get: Get) -> None:
    server.break_after = [700_000]
    assert get(replace(archive, url=f"{server.url}/moved/a.bin")).read_bytes() == CONTENT
    assert server.asked[0] is None
    assert (server.asked[1] or "").startswith("bytes=")


def test_a_connection_that_breaks_off_is_taken_up_again(server: Server, archive: Archive, get: Get, log: Log) -> None:
    server.break_after = [500_000, 300_000]
    assert get(archive).read_bytes() == CONTENT
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in server.asked if asked]
    assert len(starts) == 2
    assert 0 < starts[0] < 500_000 < starts[1] < 800_000  # to a chunk
    assert [done for done, _ in log.done] == sorted(done for done, _ in log.done)


def test_next_call_resumes_after_repeated_breaks(server: Server, archive: Archive, get: Get, tmp_path: Path) -> None:
    server.break_after = [200_000] * download.TRIES
    fails(get, archive, r"broke after [\d,]+ of 1,500,000 bytes of a\.bin\.\nThe same command resumes")
    assert len(server.asked) == download.TRIES
    have = (tmp_path / "a.bin.part").stat().st_size
    assert have > 600_000
    assert get(archive).read_bytes() == CONTENT
    assert server.asked[-1] == f"bytes={have}-"
    assert names(tmp_path) == ["a.bin"]


def test_no_try_is_made_where_nothing_comes(server: Server, archive: Archive, get: Get) -> None:
    server.break_after = [300_000, 0, 300_000]
    fails(get, archive, "broke after")
    assert len(server.asked) == 2


@pytest.mark.parametrize("checksum", [MD5, None], ids=["with checksum", "without"])
def test_a_file_that_changed_meanwhile_is_downloaded_anew(
    server: Server, archive: Archive, get: Get, log: Log, checksum: str | None
) -> None:
    archive = replace(archive, checksum=checksum)
    server.files["/a.bin"] = os.urandom(SIZE)
    server.break_after = [900_000, 0]
    fails(get, archive, "broke after")
    server.files["/a.bin"], server.etag = CONTENT, '"two"'
    assert get(archive).read_bytes() == CONTENT
    assert "again from the start" in log.notes[0]


def test_wrong_partial_download_is_restarted_once(
    server: Server, archive: Archive, get: Get, tmp_path: Path, log: Log
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


def test_wrong_bytes(server: Server, archive: Archive, get: Get, tmp_path: Path) -> None:
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
    server: Server, archive: Archive, get: Get, etag: str | None, log: Log
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


def test_a_server_without_ranges(server: Server, archive: Archive, get: Get, log: Log) -> None:
    server.ranges, server.break_after = False, [900_000]
    assert get(archive).read_bytes() == CONTENT
    assert "cannot resume a.bin" in log.notes[0]
    assert len(log.notes) == 1


def test_a_server_that_tells_no_length(server: Server, archive: Archive, get: Get, log: Log) -> None:
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
def test_a_length_that_is_too_long(server: Server, archive: Archive, get: Get, size: int | None) -> None:
    server.length = 1000
    fails(
        get, replace(archive, size=size), "1,501,000 bytes long, not 1,500,000 as published" if size else "broke after"
    )
    server.length = 0
    assert get(archive).read_bytes() == CONTENT


@pytest.mark.parametrize("size", [SIZE, None])
def test_a_length_that_is_too_short(
    server: Server, archive: Archive, get: Get, tmp_path: Path, size: int | None
) -> None:
    server.length = -1000
    match = "1,499,000 bytes long, not 1,500,000 as published" if size else "is not the published file"
    fails(get, replace(archive, size=size), match)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "match"),
    [(404, "404 Not Found.* may have moved"), (503, r"503 [\w ]+\. It is overloaded"), (403, "403 Forbidden")],
)
def test_an_error_of_the_server_loses_nothing(
    server: Server, archive: Archive, get: Get, tmp_path: Path, status: int, match: str
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


def test_a_server_that_falls_silent(
    server: Server, archive: Archive, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", (5, 0.2))
    monkeypatch.setattr(download, "TRIES", 1)
    server.pause = 1.0
    fails(get, archive, "broke after|cannot be reached")


def test_a_disk_that_fills_up(server: Server, archive: Archive, get: Get, tmp_path: Path) -> None:
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
    server: Server, archive: Archive, get: Get, monkeypatch: pytest.MonkeyPatch
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


def test_kill_during_download_or_check_loses_nothing(
    server: Server, archive: Archive, get: Get, tmp_path: Path
) -> None:
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


def pack(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


ESC50 = {
    "ESC-50-master/meta/esc50.csv": b"filename,fold,target,category,src_file\n1.wav,1,0,dog,7\n",
    "ESC-50-master/audio/1.wav": b"RIFF",
}


@pytest.fixture
def esc50(server: Server) -> PublicDataSet:
    server.files["/esc50.zip"] = pack(ESC50)
    archive = Archive(f"{server.url}/esc50.zip", "esc50.zip", 1)
    return replace(PUBLIC_DATA_SETS["esc50"], archives=(archive,))


def test_a_data_set_is_downloaded_unpacked_and_can_be_read(esc50: PublicDataSet, tmp_path: Path) -> None:
    root = download_data_set(esc50, tmp_path / "new" / "ESC-50")
    assert read_dataset(root).layout == "esc50"
    assert names(tmp_path / "new") == ["ESC-50"]
    with pytest.raises(UsageError, match="not replaced"):
        download_data_set(esc50, tmp_path / "new" / "ESC-50")
    download_data_set(esc50, tmp_path / "other", keep_archives=True)
    assert names(tmp_path / "other.download") == ["esc50.zip"]


def test_a_data_set_that_cannot_be_had_leaves_nothing(server: Server, esc50: PublicDataSet, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(AkitError, match="404"):
        download_data_set(esc50, tmp_path / "ESC-50")
    assert names(tmp_path) == []


def test_an_archive_that_is_not_one_is_named_and_kept(server: Server, esc50: PublicDataSet, tmp_path: Path) -> None:
    server.files["/esc50.zip"] = b"<html>Please sign in</html>"
    with pytest.raises(AkitError, match=r"esc50\.zip is not unpacked: .*\n.*delete it"):
        download_data_set(esc50, tmp_path / "ESC-50")
    assert names(tmp_path) == ["ESC-50.download"]
    (tmp_path / "ESC-50.download" / "esc50.zip").unlink()
    server.files["/esc50.zip"] = pack(ESC50)
    download_data_set(esc50, tmp_path / "ESC-50")
    assert names(tmp_path) == ["ESC-50"]


def test_an_archive_of_something_else(server: Server, esc50: PublicDataSet, tmp_path: Path) -> None:
    server.files["/esc50.zip"] = pack({"readme": b"moved"})
    with pytest.raises(AkitError, match=r"cannot read it as ESC-50: it lacks meta/esc50\.csv"):
        download_data_set(esc50, tmp_path / "ESC-50")


def test_two_downloads_at_once(server: Server, esc50: PublicDataSet, tmp_path: Path) -> None:
    def second(what: str, done: int, total: int) -> None:
        with pytest.raises(AkitError, match="Another process is working"):
            download_data_set(esc50, tmp_path / "ESC-50")

    download_data_set(esc50, tmp_path / "ESC-50", on_progress=second)


def test_fsdkaggle2018_from_zenodo_becomes_the_competition(server: Server, tmp_path: Path, write_clip) -> None:
    rows = [(f"{n:03d}.wav", ["Bark", "Cello"][n % 2], n % 3 and 1) for n in range(24)]
    for name in [row[0] for row in rows]:
        write_clip(tmp_path / name)
    clips = {row[0]: (tmp_path / row[0]).read_bytes() for row in rows}
    train = "fname,label,manually_verified,freesound_id,license\n" + "".join(f"{a},{b},{c},5,CC0\n" for a, b, c in rows)
    test = 'fname,label,usage,freesound_id,license\n000.wav,Bark,"Public",5,CC0\n'
    data_set = PUBLIC_DATA_SETS["fsdkaggle2018"]
    top = "FSDKaggle2018"
    parts = {
        "meta": {
            "train_post_competition.csv": train.encode(),
            "test_post_competition_scoring_clips.csv": test.encode(),
        },
        "audio_test": {"000.wav": clips["000.wav"]},
        "audio_train": clips,
    }
    for part, files in parts.items():
        server.files[f"/{top}.{part}.zip"] = pack({f"{top}.{part}/{name}": files[name] for name in files})
    local = tuple(replace(archive, url=f"{server.url}/{archive.name}?download=1") for archive in data_set.archives)
    found = read_dataset(download_data_set(replace(data_set, archives=local), tmp_path / "set"))
    assert found.layout == "fsdkaggle2018"
    assert found.clips["split"].value_counts(sort=True).rows() == [("train", 24), ("test", 1)]
    assert "license" in found.clips.columns


def test_the_table() -> None:
    for name, data_set in PUBLIC_DATA_SETS.items():
        assert find_data_set(name) is data_set
        assert len({archive.name for archive in data_set.archives}) == len(data_set.archives)
        for archive in data_set.archives:
            assert archive.url.startswith("https://")
            assert archive.size is None or abs(archive.size - archive.megabytes * 10**6) < 10**6
            kind, _, digest = (archive.checksum or "md5:" + "0" * 32).partition(":")
            assert len(digest) == {"md5": 32, "sha256": 64}[kind]
    with pytest.raises(UsageError, match=r"unknown data set 'esc'.*esc50, urbansound8k, fsdkaggle2018, speechcommands"):
        find_data_set("esc")
