"""Links, devices and pipes stay what they are when they are written."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from acoustic_kit.errors import AkitError
from acoustic_kit.files import write_atomically


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real, link, second = tmp_path / "there" / "real.csv", tmp_path / "link.csv", tmp_path / "second.csv"
    real.write_text("old")
    link.symlink_to("there/real.csv")
    second.symlink_to(link)
    write_atomically(second, "new", follow=True)
    assert second.is_symlink()
    assert link.is_symlink()
    assert not real.is_symlink()
    assert real.read_text() == "new"
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["real.csv"]


def test_a_link_to_a_file_that_is_yet_to_be_made(tmp_path: Path) -> None:
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "later" / "real.csv")
    write_atomically(link, "new", follow=True)
    assert link.is_symlink()
    assert (tmp_path / "later" / "real.csv").read_text() == "new"


def test_links_in_a_circle_are_named(tmp_path: Path) -> None:
    link = tmp_path / "link.csv"
    link.symlink_to(link)
    with pytest.raises(AkitError, match=r"link\.csv"):
        write_atomically(link, "new", follow=True)


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()), daemon=True)
    reader.start()
    write_atomically(pipe, "new", follow=True)
    reader.join(10)
    assert got == ["new"]
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


def test_a_device_is_written_into() -> None:
    before = Path("/dev/null").stat().st_rdev
    write_atomically(Path("/dev/null"), "new", follow=True)
    assert stat.S_ISCHR(Path("/dev/null").lstat().st_mode)
    assert Path("/dev/null").stat().st_rdev == before


def test_a_full_device_is_named() -> None:
    with pytest.raises(AkitError, match="/dev/full"):
        write_atomically(Path("/dev/full"), "new", follow=True)


@pytest.mark.parametrize("name", ["/dev/stdout", "/proc/self/fd/1", "link"])
def test_what_the_shell_appends_to_keeps_what_it_had(name: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    (tmp_path / "link").symlink_to("/dev/stdout")
    write = f"from acoustic_kit.files import *; write_atomically(Path({name!r}), 'new\\n', follow=True)"
    with log.open("a") as appended:
        subprocess.run([sys.executable, "-c", write], stdout=appended, cwd=tmp_path, check=True)
    assert log.read_text() == "before\nnew\n"
