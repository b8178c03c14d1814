"""Public data sets: downloaded, unpacked, checked and read."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from acoustic_kit.data import read_dataset
from acoustic_kit.data.download import download_data_set, find_data_set
from acoustic_kit.data.public_data import PUBLIC_DATA_SETS, Archive, PublicDataSet
from acoustic_kit.errors import AkitError, UsageError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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
def esc50(server: Any) -> PublicDataSet:
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


def test_a_data_set_that_cannot_be_had_leaves_nothing(server: Any, esc50: PublicDataSet, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(AkitError, match="404"):
        download_data_set(esc50, tmp_path / "ESC-50")
    assert names(tmp_path) == []


def test_an_archive_that_is_not_one_is_named_and_kept(server: Any, esc50: PublicDataSet, tmp_path: Path) -> None:
    server.files["/esc50.zip"] = b"<html>Please sign in</html>"
    with pytest.raises(AkitError, match=r"esc50\.zip is not unpacked: .*\n.*delete it"):
        download_data_set(esc50, tmp_path / "ESC-50")
    assert names(tmp_path) == ["ESC-50.download"]
    (tmp_path / "ESC-50.download" / "esc50.zip").unlink()
    server.files["/esc50.zip"] = pack(ESC50)
    download_data_set(esc50, tmp_path / "ESC-50")
    assert names(tmp_path) == ["ESC-50"]


def test_an_archive_of_something_else(server: Any, esc50: PublicDataSet, tmp_path: Path) -> None:
    server.files["/esc50.zip"] = pack({"readme": b"moved"})
    with pytest.raises(AkitError, match=r"cannot read it as ESC-50: it lacks meta/esc50\.csv"):
        download_data_set(esc50, tmp_path / "ESC-50")


def test_two_downloads_at_once(server: Any, esc50: PublicDataSet, tmp_path: Path) -> None:
    def second(what: str, done: int, total: int) -> None:
        with pytest.raises(AkitError, match="Another process is working"):
            download_data_set(esc50, tmp_path / "ESC-50")

    download_data_set(esc50, tmp_path / "ESC-50", on_progress=second)


def test_fsdkaggle2018_from_zenodo_becomes_the_competition(server: Any, tmp_path: Path, write_clip) -> None:
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
