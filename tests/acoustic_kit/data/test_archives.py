"""Archives that mean no good leave nothing behind; the others are unpacked as they were packed."""

import io
import os
import resource
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acoustic_kit.data import archives
from acoustic_kit.data.archives import extract
from acoustic_kit.errors import AkitError, UsageError

FILES = {"set/meta/a.csv": b"id,label\n", "set/audio/1.wav": os.urandom(70_000), "set/audio/empty.wav": b""}
STRIPPED = {name.removeprefix("set/"): content for name, content in FILES.items()}


def write_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def member(name: str, content: bytes = b"", **of: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in of.items():
        setattr(info, key, value)
    return info, content


def write_tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode, errors="surrogateescape") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=kind, linkname=target)


def read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder in which only `archive` and `target` may come to be, deep in one that nothing may leave."""
    place = tmp_path / "outer" / "place"
    place.mkdir(parents=True)
    yield place
    assert {path.name for path in place.iterdir()} <= {"archive", "target"}
    assert [path.name for path in place.parent.iterdir()] == ["place"]


def refused(archive: Path, match: str, **options: int) -> None:
    with pytest.raises(AkitError, match=match) as error:
        extract(archive, archive.parent / "target", **options)
    assert str(archive) in str(error.value)
    assert len(str(error.value).splitlines()) <= 2
    assert not (archive.parent / "target").exists()


WRITERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "zip": write_zip,
    "stored": lambda path, files: write_zip(path, files, zipfile.ZIP_STORED),
    "lzma": lambda path, files: write_zip(path, files, zipfile.ZIP_LZMA),
    "tar": lambda path, files: write_tar(path, [member(*file) for file in files.items()]),
    "gz": lambda path, files: write_tar(path, [member(*file) for file in files.items()], "w:gz"),
    "bz2": lambda path, files: write_tar(path, [member(*file) for file in files.items()], "w:bz2"),
    "xz": lambda path, files: write_tar(path, [member(*file) for file in files.items()], "w:xz"),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_packed_comes_out(place: Path, kind: str) -> None:
    seen: list[tuple[str, int, int]] = []
    archive = WRITERS[kind](place / "archive", FILES)
    assert extract(archive, place / "target", on_progress=lambda *progress: seen.append(progress)) == 3
    assert read(place / "target") == STRIPPED
    assert seen[-1] == ("unpacking archive", 70_009, 70_009)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_common_folder_is_taken_off_only_where_there_is_one(place: Path, kind: str) -> None:
    files = {"./a/1.wav": b"1", "./b/2.wav": b"2", "readme": b"3"}
    extract(WRITERS[kind](place / "archive", files), place / "target")
    assert read(place / "target") == {"a/1.wav": b"1", "b/2.wav": b"2", "readme": b"3"}


@pytest.mark.parametrize(
    "name",
    ["/etc/akit", "../x", "set/../../x", "C:/x", "c:x", "set/..", "//host/x", "..", "..\\x", "\\x", "a\\..\\..\\x"],
)
@pytest.mark.parametrize("kind", ["zip", "gz"])
def test_names_that_lead_out(place: Path, kind: str, name: str) -> None:
    refused(WRITERS[kind](place / "archive", FILES | {name: b"x"}), "leads out of the folder")


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from(["..", ".", "", "a", "b"]), max_size=5).map("/".join), min_size=1, max_size=4))
def test_whatever_the_names_nothing_is_written_elsewhere(tmp_path: Path, names: list[str]) -> None:
    place = tmp_path / str(time.monotonic_ns()) / "place"
    place.mkdir(parents=True)
    archive = write_tar(place / "archive", [member(name, b"x") for name in names])
    try:
        extract(archive, place / "target")
    except AkitError:
        assert [path.name for path in place.iterdir()] == ["archive"]
    else:
        assert sorted(path.name for path in place.iterdir()) == ["archive", "target"]
    assert [path.name for path in place.parent.iterdir()] == ["place"]


LINKS = [
    link("set/l", "/etc/passwd"),
    link("set/l", "../../outside"),
    link("set/l", "meta/a.csv"),
    link("set/l", "set/meta/a.csv", tarfile.LNKTYPE),
    member("set/pipe", type=tarfile.FIFOTYPE),
    member("set/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
]


@pytest.mark.parametrize("odd", LINKS)
def test_links_and_devices_are_refused(place: Path, odd: tuple[tarfile.TarInfo, bytes]) -> None:
    files = [member(*file) for file in FILES.items()]
    refused(write_tar(place / "archive", [*files, odd]), f"{odd[0].name}' is a (link|device)")


def test_a_link_to_a_link_higher_up_is_refused(place: Path) -> None:
    deep = "/".join("a" * 30)
    evil = [link(f"{deep}/l", "../" * 29 + "x"), link("h", f"{deep}/l", tarfile.LNKTYPE), member("h/planted", b"x")]
    refused(write_tar(place / "archive", evil), "is a link")


@pytest.mark.parametrize("name", ["audio/1.wav", "meta/a.csv"])
def test_nothing_is_written_through_a_link_that_is_there(place: Path, name: str) -> None:
    """Another process may put one there while an archive is being unpacked."""
    (place / "target" / "meta").mkdir(parents=True)
    (place / "target" / "audio").symlink_to(place)
    (place / "target" / "meta" / "a.csv").symlink_to(place / "planted")
    archive = write_tar(place / "archive", [member(name, b"x"), member("x", b"x")])
    with pytest.raises(AkitError, match="cannot be unpacked"):
        archives.unpack(archive, place / "target")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a", "a"], "'a' twice"),
        (["a/b", "a"], "'a' both"),
        (["a", "a/b/c"], "'a' both"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_do_not_go_together(place: Path, names: list[str], reason: str) -> None:
    refused(write_tar(place / "archive", [member(name, b"x") for name in (*names, "z")]), reason)
    with zipfile.ZipFile(place / "archive", "w") as archive:
        for name in (*names, "z"):
            archive.writestr(name, b"x")
    refused(place / "archive", reason)


def test_backslashes_are_separators_as_on_windows(place: Path) -> None:
    write_zip(place / "archive", {name.replace("/", "\\"): content for name, content in FILES.items()})
    extract(place / "archive", place / "target")
    assert read(place / "target") == STRIPPED


def test_a_link_in_a_zip(place: Path) -> None:
    info = zipfile.ZipInfo("set/l")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(write_zip(place / "archive", FILES), "a") as archive:
        archive.writestr(info, "/etc/passwd")
    refused(place / "archive", "'set/l' is a link")


@pytest.mark.parametrize("kind", ["zip", "gz", "xz"])
def test_bombs(place: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = WRITERS[kind](place / "archive", {"zeros": bytes(3_000_000)})
    refused(archive, r"more than 2,000,000 bytes", limit=2_000_000)
    monkeypatch.setattr(archives, "RATIO_FROM", 1_000_000)
    refused(archive, "more than 200 times")


def test_many_empty_files_are_a_bomb_too(place: Path) -> None:
    refused(write_zip(place / "archive", {f"{n}": b"" for n in range(3000)}), "more than 1,000,000 bytes", limit=10**6)


def test_a_tar_that_says_it_is_huge_is_refused_before_it_is_read(place: Path) -> None:
    archive = write_tar(place / "archive", [member("a", b"x")])
    info = tarfile.TarInfo("huge")
    info.size = 10**15
    archive.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + archive.read_bytes())
    refused(archive, "more than 64,000,000,000 bytes")


def test_a_long_header_is_not_read_into_memory(place: Path) -> None:
    info = tarfile.TarInfo("header")
    info.type, info.size = tarfile.XHDTYPE, 1 << 33
    (place / "archive").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    refused(place / "archive", "a header says that it is")


def test_a_size_below_zero(place: Path) -> None:
    block = bytearray(tarfile.TarInfo("loop").tobuf(tarfile.GNU_FORMAT))
    block[124:136] = tarfile.itn(-512, 12, tarfile.GNU_FORMAT)  # type: ignore[attr-defined]  # after it comes itself
    block[148:156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 8 * ord(" "))
    (place / "archive").write_bytes(block + bytes(10_240))
    refused(place / "archive", "'loop' has a size below 0")


def test_more_than_an_entry_says_is_not_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.RawIOBase):
        left = 3

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            assert self.left > 0
            return bytes(size)

    monkeypatch.setattr(archives.ZipReader, "open", lambda *_: Endless())
    refused(write_zip(place / "archive", FILES), "'set/meta/a.csv' does not have the 9 bytes")


def test_a_zip_whose_sizes_lie(place: Path) -> None:
    archive = write_zip(place / "archive", {"zeros": bytes(50_000)})
    data = bytearray(archive.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, at + 24, 10)  # the size, in the directory
    archive.write_bytes(data)
    refused(archive, "is damaged")
    struct.pack_into("<I", data, at + 24, 60_000)
    archive.write_bytes(data)
    refused(archive, "is damaged")


def test_a_password(place: Path) -> None:
    data = bytearray(write_zip(place / "archive", FILES).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (place / "archive").write_bytes(data)
    refused(place / "archive", "protected by a password")


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x03\x04 and no more", b"RIFF" + bytes(2000), b"\x1f\x8b\x08"])
def test_what_is_no_archive(place: Path, content: bytes) -> None:
    (place / "archive").write_bytes(content)
    refused(place / "archive", "is damaged|neither a zip")


def test_an_entry_without_a_name(place: Path) -> None:
    data = bytearray(write_zip(place / "archive", {"?": b"x"}).read_bytes())
    for header, at in ((b"PK\x03\x04", 26), (b"PK\x01\x02", 28)):  # the name becomes the extra field
        struct.pack_into("<HH", data, data.index(header) + at, 0, 1)
    (place / "archive").write_bytes(data)
    refused(place / "archive", "an entry has no name")
    refused(write_tar(place / "archive", [member("", b"x")]), "an entry has no name")


def test_an_archive_without_a_file(place: Path) -> None:
    refused(write_zip(place / "archive", {}), "no file")


@pytest.mark.parametrize("kind", WRITERS)
def test_an_archive_that_breaks_off(place: Path, kind: str) -> None:
    archive = WRITERS[kind](place / "archive", FILES)
    data = archive.read_bytes().rstrip(b"\0") if kind == "tar" else archive.read_bytes()  # a tar is padded
    for part in (0.3, 0.6, 0.9, 1.0 if kind == "tar" else 0.95):
        archive.write_bytes(data[: int(len(data) * part) // 512 * 512])
        refused(archive, "is damaged")


@pytest.mark.parametrize("kind", ["zip", "gz", "bz2", "xz", "lzma"])
def test_a_wrong_byte(place: Path, kind: str) -> None:
    archive = WRITERS[kind](place / "archive", FILES)
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 4
    archive.write_bytes(data)
    refused(archive, "is damaged|neither a zip")


def test_a_wrong_header_does_not_end_a_tar_silently(place: Path) -> None:
    data = bytearray(WRITERS["tar"](place / "archive", FILES).read_bytes())
    data[data.index(b"set/audio/1.wav") + 2] ^= 1
    (place / "archive").write_bytes(data)
    refused(place / "archive", "after 1,024 bytes")


def test_names_that_are_no_utf8(place: Path) -> None:
    latin = member("set/caf\udce9.wav", b"1")
    extract(write_tar(place / "archive", [latin, member("set/kölsch.wav", b"2")]), place / "target")
    assert read(place / "target") == {"café.wav": b"1", "kölsch.wav": b"2"}


def test_names_in_utf8_without_the_flag(place: Path) -> None:
    data = write_zip(place / "archive", {"set/a_e.wav": b"1", "set/b.wav": b"2"}).read_bytes()
    (place / "archive").write_bytes(data.replace(b"a_e", b"\xc3\xa9e"))
    extract(place / "archive", place / "target")
    assert read(place / "target") == {"ée.wav": b"1", "b.wav": b"2"}


def test_what_is_there_is_left_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, target = write_zip(place / "archive", FILES), place / "target"
    target.mkdir()
    (target / "mine").write_text("mine")
    with pytest.raises(UsageError, match="not replaced"):
        extract(archive, target)
    assert read(target) == {"mine": b"mine"}
    (target / "mine").unlink()
    monkeypatch.chdir(target)
    with pytest.raises(UsageError, match="not replaced"):
        extract(archive, Path())
    monkeypatch.chdir(place)
    extract(archive, target)
    assert read(target) == STRIPPED
    with pytest.raises(UsageError, match="is a file"):
        extract(archive, archive)


def test_a_disk_that_is_too_small(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 70_000}))
    refused(write_zip(place / "archive", FILES), "unpacks to 70,009 bytes, but the disk has only 70,000 left")


def test_a_disk_that_fills_up(place: Path) -> None:
    archive = write_zip(place / "archive", FILES)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        refused(archive, r"cannot be unpacked: File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_missing_archive(place: Path) -> None:
    refused(place / "archive", "No such file")


def test_a_kill_leaves_nothing_that_looks_whole(place: Path) -> None:
    archive, target = write_zip(place / "archive", FILES), place / "target"
    code = (
        "import sys, time; from pathlib import Path; from acoustic_kit.data.archives import extract\n"
        "def wait(what, done, total):\n    if done > 9: print('half', flush=True); time.sleep(60)\n"
        "extract(Path(sys.argv[1]), Path(sys.argv[2]), on_progress=wait)"
    )
    command = [sys.executable, "-c", code, str(archive), str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        with pytest.raises(AkitError, match="Another process is working"):
            extract(archive, target)
        process.kill()
    assert not target.exists()
    extract(archive, target)  # clears away what the killed process left
    assert read(target) == STRIPPED


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_gives_a_message_or_the_same_files(tmp_path: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["zip", "tar", "gz"]))
    place = tmp_path / str(time.monotonic_ns())
    place.mkdir()
    archive = WRITERS[kind](place / "archive", {"set/a": b"abc" * 50, "set/b/c": b"d"})
    content = bytearray(archive.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 4096) - 1))] = data.draw(st.integers(0, 255))
    archive.write_bytes(content)
    try:
        extract(archive, place / "target")
    except AkitError:
        assert [path.name for path in place.iterdir()] == ["archive"]
