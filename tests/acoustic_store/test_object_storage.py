"""What is particular to object storage. That it does what a folder does, the tests with `any_store` show."""

import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import obstore
import pytest
import zarr
from zarr.storage import ObjectStore

from acoustic_store import DamagedError, FeatureStore, LockedError, StoreError, lease
from acoustic_store.files import open_files
from acoustic_store.object_files import client

N_CLIPS = 22


@pytest.fixture(scope="module")
def finished(script, tree, tmp_path_factory):
    """The files of a local build that nothing interrupted."""
    path = tmp_path_factory.mktemp("finished") / "features.zarr"
    script.build(str(path), N_CLIPS, 0)
    return {name: content for name, content in tree(path).items() if content is not None}


@pytest.fixture
def requests(monkeypatch):
    """The names of obstore's functions, as they are called."""
    called = []

    def noted(name, function):
        def call(*arguments, **options):
            called.append(name)
            return function(*arguments, **options)

        return call

    for name in ("get", "get_range", "head", "list", "put", "delete"):
        monkeypatch.setattr(obstore, name, noted(name, getattr(obstore, name)))
    return called


def test_a_build_is_the_same_as_in_a_folder(object_url, script, tree, finished):
    script.build(object_url, N_CLIPS, 0)
    assert tree(object_url) == finished


def test_spawned_workers_write_to_it(object_url, start, tree, finished):
    process = start(object_url, "--workers", 2)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert tree(object_url) == finished


@pytest.fixture(scope="module")
def n_lines(bucket, start):
    """How many lines of code an uninterrupted build executes."""
    process = start(f"s3://{bucket}/counted/features.zarr", "--count-lines")
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return int(output)


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 30))])
def test_a_build_killed_at_any_line_resumes_to_the_same_objects(
    seed, object_url, script, start, tree, finished, n_lines, expire_lease
):
    quarter = n_lines // 4
    process = start(object_url, "--kill-at", quarter * (seed % 4) + random.Random(seed).randrange(quarter) + 1)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    store = FeatureStore.open(object_url, create=True)
    expire_lease(store, script.KEY)
    for key in store.keys():  # noqa: SIM118 (not a dict)
        assert store[key].verify() == []
        for clip_id in store[key].ids:
            np.testing.assert_allclose(store[key].read(clip_id), script.row(clip_id), atol=1e-3)
    script.build(object_url, N_CLIPS, 0)
    assert tree(object_url) == finished


def test_a_block_is_there_when_its_index_is(object_store, build, tree, monkeypatch):
    build(object_store, {"a": np.ones(2)})
    before, put = tree(object_store.url), obstore.put

    def killed(store, key, *arguments, **options):
        if key.endswith("000001/zarr.json"):
            raise KeyboardInterrupt
        return put(store, key, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(obstore, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            build(object_store, {"a": np.ones(2), "b": np.full(3, 2)})
    left = tree(object_store.url)
    assert left.keys() - before.keys() == {"x-1/000001/c.0"}
    assert object_store["x-1"].ids == ["a"]
    feature = build(object_store, {"a": np.ones(2), "b": np.full(4, 3)})
    assert (feature.ids, feature.verify()) == (["a", "b"], [])
    np.testing.assert_array_equal(feature.read("b"), np.full(4, 3))


HOLD = """
import sys, time
from acoustic_store import FeatureStore
with FeatureStore.open(sys.argv[1]).writer("x-1", "float32", {}) as writer:
    print("locked", flush=True)
    time.sleep(60)
"""


def test_the_lease_of_a_killed_writer_expires(object_store, start, expire_lease):
    process = start("-c", HOLD, object_store.url)
    try:
        assert process.stdout.readline() == "locked\n", process.stderr.read()
        told = rf"x-1 is being written by process {process.pid} on .*Wait.*expires at \d\d:\d\d:\d\d UTC"
        for write in (
            lambda: object_store.writer("x-1", "float32", {}).__enter__(),
            lambda: object_store.delete("x-1"),
        ):
            with pytest.raises(LockedError, match=told):
                write()
        process.kill()
        process.wait()
        with pytest.raises(LockedError, match=told):
            object_store.delete("x-1")
        expire_lease(object_store, "x-1")
        with object_store.writer("x-1", "float32", {}) as writer:
            writer.plan([("a", "1")])[0].write([np.ones(3)])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert object_store["x-1"].ids == ["a"]
    object_store.delete("x-1")


def test_a_lease_is_renewed_while_its_writer_lives(object_store, monkeypatch):
    monkeypatch.setattr(lease, "SECONDS", 2.0)
    with object_store.writer("x-1", "float32", {}):
        time.sleep(4.0)
        with pytest.raises(LockedError), object_store.writer("x-1", "float32", {}):
            pass


def test_a_writer_that_lost_its_lease_gets_an_error(object_store, build, expire_lease):
    slow = object_store.writer("x-1", "float32", {})
    slow.__enter__()
    first, second = slow.plan([("a", "1"), ("b", "1")], block_size=1)
    first.write([np.zeros(3)])
    expire_lease(object_store, "x-1")
    with object_store.writer("x-1", "float32", {}):
        with pytest.raises(StoreError, match="no writer holds the lock"):
            second.write([np.ones(3)])
        with pytest.raises(LockedError, match="taken over by another writer"):
            slow.__exit__(None, None, None)
    assert object_store["x-1"].ids == ["a"]
    assert build(object_store, {"a": np.zeros(3), "b": np.ones(3)}).ids == ["a", "b"]


def test_one_clip_is_one_request_and_most_of_a_block_another(object_store, build, requests):
    rows = {f"c{n}": np.full(7, n) for n in range(40)}
    build(object_store, rows, block_size=8)
    requests.clear()
    feature = object_store["x-1"]
    assert sorted(requests) == ["get"] * 6 + [
        "head",
        "list",
    ]  # is it there; its zarr.json; its blocks and their indexes
    for method, argument, n in ((feature.read, "c5", 1), (feature.stack, ["c9", "c10"], 2), (feature.stack, None, 5)):
        requests.clear()
        method(argument)
        assert requests == ["get_range"] * n
    np.testing.assert_array_equal(feature.stack()[:, 3], range(40))


def flip(store, name, position):
    files = open_files(store.url)
    content = bytearray(files.read(name))
    content[position] ^= 4
    files.write(name, bytes(content))


def test_damage_is_reported_by_id_and_mended(object_store, build, tree):
    rows = {f"c{n}": np.full(5, n) for n in range(6)}
    build(object_store, rows, block_size=3)
    whole = tree(object_store.url)
    flip(object_store, "x-1/000001/c.0", 4 * 7)
    for use in (lambda: object_store["x-1"].read("c4"), object_store["x-1"].stack):
        with pytest.raises(DamagedError, match=r"s3://.*000001/c\.0.*'c4'") as caught:
            use()
        assert caught.value.ids == ("c4",)
    assert object_store["x-1"].verify() == ["c4"]
    assert build(object_store, rows, block_size=3, rebuild=["c4"]).verify() == []
    object_store.delete("x-1")
    build(object_store, rows, block_size=3)
    files = open_files(object_store.url) / "x-1"
    for harm in (
        lambda: files.write("000001/c.0", b"short"),
        lambda: files.delete("000001/c.0"),
        lambda: files.delete("000001/zarr.json"),
        lambda: flip(object_store, "x-1/000001/zarr.json", whole["x-1/000001/zarr.json"].index(b"crc32c") + 9),
        lambda: files.write("zarr.json", b"{}"),
    ):
        harm()
        build(object_store, rows, block_size=3)
        assert tree(object_store.url) == whole


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_chunk_that_is_cut_short_is_damage(object_store, build, content):
    build(object_store, {"a": np.ones(50), "b": np.ones(3)})
    open_files(object_store.url).write("x-1/000000/c.0", content)
    for clip_id in ("a", "b"):
        with pytest.raises(DamagedError, match=r"x-1/000000/c\.0"):
            object_store["x-1"].read(clip_id)
    assert object_store["x-1"].verify() == ["a", "b"]


def test_zarr_reads_it_and_what_zarr_has_rewritten_is_read(object_store, build):
    rows = {f"c{n}": np.random.default_rng(n).standard_normal((2, 9 + n)) for n in range(4)}
    feature = build(object_store, rows, "int16")
    expected = {clip_id: feature.read(clip_id) for clip_id in rows}
    files = open_files(object_store.url)
    there = {"store": ObjectStore(client(files.bucket)), "path": files.key("x-1/000000")}
    old = zarr.open_array(**there, mode="r")
    values, attributes = old[:], dict(old.attrs)
    assert attributes["clips"]["id"] == list(rows)
    np.testing.assert_array_equal(values, np.concatenate([feature.stored(clip_id)[0].ravel() for clip_id in rows]))
    zarr.create_array(
        there["store"], name=there["path"], data=values, attributes=attributes, overwrite=True, chunks=(10,)
    )
    feature = object_store["x-1"]
    assert feature.verify() == []
    for clip_id, array in expected.items():
        np.testing.assert_array_equal(feature.read(clip_id), array)
    with object_store.writer("x-1", "int16", {}) as writer:
        assert writer.plan([(clip_id, "1") for clip_id in rows]) == []
    object_store.compact("x-1", keep=["c1"])
    np.testing.assert_array_equal(object_store["x-1"].read("c1"), expected["c1"])
    object_store.delete("x-1")
    assert object_store.keys() == []


def test_places_are_told_apart(object_store, bucket, tmp_path, monkeypatch):
    assert FeatureStore.open(object_store.url).url == object_store.url
    assert FeatureStore.open(Path(object_store.url)).url == object_store.url  # as a command line may have made it
    assert FeatureStore.open(object_store.url + "/").url == object_store.url
    with pytest.raises(StoreError, match="no local folder"):
        object_store.path  # noqa: B018
    with pytest.raises(StoreError, match=r"no feature store: its zarr.json is missing"):
        FeatureStore.open(f"s3://{bucket}/nothing")
    for place in ("gs://clips/features.zarr", "s3:///features.zarr"):
        with pytest.raises(StoreError, match="s3://bucket/path"):
            FeatureStore.open(place)
    monkeypatch.chdir(tmp_path)
    assert FeatureStore.open("features.zarr", create=True).url == "features.zarr"


def test_a_store_can_be_the_whole_bucket(build, bucket, monkeypatch, tree):
    url = os.environ["AWS_ENDPOINT_URL"] + "/whole"
    import urllib.request

    with urllib.request.urlopen(urllib.request.Request(url, method="PUT")):
        pass
    store = FeatureStore.open("s3://whole", create=True)
    build(store, {"a": np.ones(3)})
    assert store.keys() == ["x-1"]
    assert store["x-1"].ids == ["a"]
    store.delete("x-1")
    assert list(tree("s3://whole")) == ["zarr.json"]


def test_a_missing_bucket_and_a_silent_server_are_told(object_store, build, monkeypatch):
    with pytest.raises(StoreError, match=r"s3://missing/x.*no such bucket"):
        FeatureStore.open("s3://missing/x", create=True)
    feature = build(object_store, {"a": np.ones(3)})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    client.cache_clear()
    try:
        with pytest.raises(StoreError, match=r"s3://.*refused by.*AWS_"):
            feature.read("a")
    finally:
        client.cache_clear()


def test_what_the_lock_says_is_readable(object_store):
    with object_store.writer("x-1", "float32", {}):
        owner = json.loads(open_files(object_store.url).read("x-1/.lock"))
    assert owner["pid"] == os.getpid()
    assert 0 < owner["expires"] - time.time() <= lease.SECONDS
