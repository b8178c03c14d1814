"""Clips on S3 give what their files give: the same samples, the same reasons, the same features."""

import os
import shutil
import threading
import time
from pathlib import Path

import boto3
import numpy as np
import obstore
import pytest
import soundfile

from acoustic_kit.dsp.decoding import decode
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features import Stats, Wave, build_features, fingerprints
from acoustic_kit.report.sound import clip_sound
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace
from acoustic_store import FeatureStore, StoreError
from acoustic_store.files import open_files
from acoustic_store.object_files import ObjectFiles, client


def upload(folder: Path, url: str) -> None:
    """As other tools do, which write names as they are."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1")
    for path in folder.rglob("*"):
        if path.is_file():
            s3.put_object(Bucket=bucket, Key=f"{prefix}/{path.relative_to(folder).as_posix()}", Body=path.read_bytes())


@pytest.mark.parametrize(
    "name", ["a.wav", "b.flac", "c.ogg", "d.mp3", "with space/é #1 100%.wav", "1+1=2&x?.wav", "~[x].wav"]
)
def test_an_object_is_decoded_as_its_file(bucket: str, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    soundfile.write(path, rng.normal(0, 0.1, (5000, 2)), 16000)
    upload(tmp_path, f"s3://{bucket}/decode")
    sound, local = decode(f"s3://{bucket}/decode/{name}"), decode(path)
    assert sound.sample_rate == local.sample_rate
    np.testing.assert_array_equal(sound.samples, local.samples)
    assert clip_sound(f"s3://{bucket}/decode/{name}").audio == clip_sound(path).audio


@pytest.mark.parametrize("content", [b"", b"no sound at all", b"RIFF", None])
def test_what_is_wrong_is_told_as_of_a_file(bucket: str, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x.wav").write_bytes(content)
        upload(tmp_path, f"s3://{bucket}/wrong{len(content)}")
    reasons = []
    for place in (tmp_path / "x.wav", f"s3://{bucket}/wrong{len(content or b'')}/x.wav"):
        with pytest.raises(AkitError) as caught:
            decode(place if content is not None else f"{place}.none")
        reasons.append(str(caught.value))
    assert reasons[0] == reasons[1]


def test_features_of_clips_on_s3_are_those_of_their_files(bucket: str, built: Path, tmp_path: Path) -> None:
    local = Workspace.find(built)
    root = Path(shutil.copytree(built, tmp_path / "work", ignore=shutil.ignore_patterns("*.zarr")))
    url = f"s3://{bucket}/features/clips"
    toml = (root / "akit.toml").read_text().splitlines()
    (root / "akit.toml").write_text("\n".join([f'data = "{url}"', *(line for line in toml if "data =" not in line)]))
    workspace = Workspace.find(root)
    assert workspace.data_root == url
    arguments = (workspace.manifest, workspace.data_root, workspace.store(), [Stats()])
    with pytest.raises(AkitError, match=f"The data folder {url} is missing"):
        build_features(*arguments)
    upload(Path(local.data_root), url)
    assert fingerprints(workspace.manifest, url) == fingerprints(local.manifest, local.data_root)
    first, last = workspace.manifest["path"][0], workspace.manifest["path"][-1]
    lost = open_files(url).read(last)
    open_files(url).delete(last)
    (report, _) = build_features(*arguments)
    assert list(report.failures.values()) == ["the file does not exist"]
    open_files(url).write(last, lost)
    (report, _) = build_features(*arguments)
    assert (report.built, report.failures) == (1, {})
    for id in local.store()[Stats().key].ids:
        assert (workspace.store()[Stats().key].read(id) == local.store()[Stats().key].read(id)).all()
    assert first != last


def test_many_answers_are_waited_for_at_a_time(
    bucket: str, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = Workspace.find(built)
    url = f"s3://{bucket}/ahead"
    upload(Path(local.data_root), f"{url}/clips")
    at_once, most, lock = 0, {"read": 0, "get_range": 0}, threading.Lock()

    def slow(name: str, function):
        def called(*arguments, **options):
            nonlocal at_once
            with lock:
                at_once += 1
                most[name] = max(most[name], at_once)
            time.sleep(0.01)
            try:
                return function(*arguments, **options)
            finally:
                with lock:
                    at_once -= 1

        return called

    store = FeatureStore.open(f"{url}/features.zarr", create=True)
    monkeypatch.setattr(ObjectFiles, "read", slow("read", ObjectFiles.read))
    monkeypatch.setattr(obstore, "get_range", slow("get_range", obstore.get_range))
    build_features(local.manifest.head(20), f"{url}/clips", store, [Stats()])
    assert min(most.values()) > 4
    for id in local.manifest["id"][:20]:
        assert (store[Stats().key].read(id) == local.store()[Stats().key].read(id)).all()


def test_recordings_on_s3_are_fetched_once(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_recordings
) -> None:
    url, wave = f"s3://{bucket}/recordings", Wave(4000)
    manifest = make_recordings(tmp_path / "data", {"a.ogg": 9, "b.flac": 1, "none.wav": 1})
    (tmp_path / "data" / "none.wav").unlink()
    upload(tmp_path / "data", url)
    local, store = (FeatureStore.open(tmp_path / name, create=True) for name in ("local.zarr", "remote.zarr"))
    fetched = []
    read = ObjectFiles.read
    monkeypatch.setattr(ObjectFiles, "read", lambda files, name: (fetched.append(name), read(files, name))[1])
    (report,) = build_features(manifest, url, store, [wave])
    assert {name: fetched.count(name) for name in fetched} == {"a.ogg": 1, "b.flac": 1, "none.wav": 2}
    (expected,) = build_features(manifest, tmp_path / "data", local, [wave])
    assert report.failures == expected.failures
    for id in local[wave.key].ids:
        assert (store[wave.key].read(id) == local[wave.key].read(id)).all()


def test_storage_that_does_not_answer_stops_the_build(
    bucket: str, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace.find(built)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    client.cache_clear()
    store = FeatureStore.open(tmp_path / "features.zarr", create=True)
    try:
        with pytest.raises(StoreError, match=r"s3://.*refused"):
            build_features(workspace.manifest, f"s3://{bucket}/silent", store, [Stats()])
    finally:
        client.cache_clear()


def test_places_that_are_none_are_told(built: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(built, tmp_path / "work"))
    toml = (root / "akit.toml").read_text()
    for key in ("data", "store"):
        rest = [line for line in toml.splitlines() if not line.startswith(f"{key} =")]
        (root / "akit.toml").write_text("\n".join([f'{key} = "gs://bucket/x"', *rest]))
        with pytest.raises(AkitError, match=f"{key}: 'gs://bucket/x' is neither a folder nor s3://bucket/path"):
            Workspace.find(root)
    with pytest.raises(UsageError, match="local copy"):
        init_workspace(tmp_path / "new", Path("s3://bucket/clips"))
