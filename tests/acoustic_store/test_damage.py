import json
import os
import random
import shutil

import numpy as np
import pytest

from acoustic_store import DamagedError, Failure, FeatureStore, StoreError
from acoustic_store.layout import checksum

ROWS = {f"clip-{n}": np.random.default_rng(n).standard_normal((2, 5 + n)) for n in range(9)} | {"bad": Failure("why")}
CLIPS = [(clip_id, "1") for clip_id in ROWS]


@pytest.fixture
def feature(store, build):
    return build(store, ROWS, "int16", block_size=4)


@pytest.fixture
def expected(feature):
    return {clip_id: feature.read(clip_id) for clip_id in feature.ids}


def rebuild(store: FeatureStore, ids=()) -> None:
    with store.writer("x-1", "int16", {}) as writer:
        for block in writer.plan(CLIPS, rebuild=ids, block_size=4):
            block.write(ROWS[clip_id] for clip_id, _ in block.clips)


def assert_equal_but(feature, expected, damaged) -> None:
    """Clips read as they were written, or are reported; never wrong values."""
    for clip_id, values in expected.items():
        if clip_id in damaged:
            with pytest.raises(DamagedError) as caught:
                feature.read(clip_id)
            assert caught.value.ids == (clip_id,)
            assert clip_id in str(caught.value)
            assert "000" in str(caught.value)
        else:
            np.testing.assert_array_equal(feature.read(clip_id), values)


def reported_by_verify(store: FeatureStore, file: str) -> list[str]:
    """The damaged clips; "?" where the error can only name the file."""
    try:
        return store["x-1"].verify()
    except DamagedError as error:
        return list(error.ids) or ["?"] * (file in str(error))


def flip(path, position: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize("block", ["000000", "000001", "000002"])
def test_flipped_bytes_of_a_chunk_are_reported_by_id(block, store, feature, expected):
    path = store.path / "x-1" / block / "c.0"
    pristine = path.read_bytes()
    index = json.loads((path.parent / "zarr.json").read_text())["attributes"]["clips"]
    starts = 2 * np.array(index["offset"])
    for position in random.Random(block).sample(range(len(pristine)), 20):
        flip(path, position, position % 8)
        hit = index["id"][np.searchsorted(starts, position, side="right") - 1]
        damaged = store["x-1"]
        assert damaged.verify() == [hit]
        assert_equal_but(damaged, expected, [hit])
        path.write_bytes(pristine)
    flip(path, 0, 3)
    rebuild(store, store["x-1"].verify())
    assert store["x-1"].verify() == []
    assert_equal_but(store["x-1"], expected, [])


def test_flipped_bytes_of_an_index_are_reported_or_harmless(store, feature, expected, tree):
    path = store.path / "x-1" / "000001" / "zarr.json"
    pristine, whole = path.read_bytes(), tree(store.path)
    in_block = {clip_id for clip_id, _ in CLIPS[4:8]}
    reported = restored = 0
    positions = random.Random(5).sample(range(len(pristine)), 150)
    for position in positions:
        flip(path, position, position % 8)
        damaged = reported_by_verify(store, "000001")
        reported += bool(damaged)
        hit = [clip_id for clip_id in in_block if damaged]
        if damaged:
            # Ids whose own letters or quotes were hit are missing from the report, not from what cannot be read.
            assert len(in_block & set(damaged)) >= 2 or damaged == ["?"]
            assert not set(damaged) & (expected.keys() - in_block)
        assert_equal_but(store["x-1"], expected, hit)
        rebuild(store, damaged)
        assert_equal_but(store["x-1"], expected, [])
        restored += tree(store.path) == whole  # the block was replaced: as if nothing had happened
        shutil.rmtree(store.path / "x-1" / "000003", ignore_errors=True)
        path.write_bytes(pristine)
    assert reported > 0.8 * len(positions)
    assert restored > 0.8 * len(positions)


def test_flipped_bytes_of_the_attributes_are_reported(store, feature, expected, tree):
    path = store.path / "x-1" / "zarr.json"
    pristine, whole = path.read_bytes(), tree(store.path)
    for position in random.Random(6).sample(range(len(pristine)), 60):
        flip(path, position, position % 8)
        if reported_by_verify(store, "x-1/zarr.json"):
            rebuild(store)
            assert tree(store.path) == whole
        else:
            assert_equal_but(store["x-1"], expected, [])
        path.write_bytes(pristine)


@pytest.mark.parametrize("harm", ["truncated", "longer", "deleted", "no index", "empty index", "folder", "file"])
def test_a_block_with_missing_parts_is_reported_and_replaced(harm, store, feature, expected, tree):
    whole = tree(store.path)
    block = store.path / "x-1" / "000001"
    chunk, index = block / "c.0", block / "zarr.json"
    if harm == "truncated":
        chunk.write_bytes(chunk.read_bytes()[:-2])
    elif harm == "longer":
        chunk.write_bytes(chunk.read_bytes() + b"\0\0")
    elif harm == "deleted":
        chunk.unlink()
    elif harm == "no index":
        index.unlink()
    elif harm == "empty index":
        index.write_text("")
    elif harm == "folder":
        chunk.unlink()
        chunk.mkdir()
    else:
        shutil.rmtree(block)
        block.write_text("no folder")
    hit = [clip_id for clip_id, _ in CLIPS[4:8]]
    if harm in {"no index", "empty index", "file"}:
        with pytest.raises(DamagedError, match="000001"):
            store["x-1"].verify()
    else:
        assert store["x-1"].verify() == hit
    assert_equal_but(store["x-1"], expected, hit)
    opened = store["x-1"]
    assert opened.read("clip-0").shape == (2, 5)  # also by an object that has found other clips before
    assert_equal_but(opened, expected, hit)
    rebuild(store)
    assert tree(store.path) == whole


def test_a_lost_block_is_a_gap_that_is_built_again(store, feature, expected, tree):
    whole = tree(store.path)
    shutil.rmtree(store.path / "x-1" / "000001")
    assert store["x-1"].ids == [clip_id for clip_id in expected if clip_id not in dict(CLIPS[4:8])]
    rebuild(store)
    assert tree(store.path) == whole


def test_a_clip_of_a_damaged_block_is_not_read_from_an_older_one(store, build):
    build(store, {"a": np.full(2, 1), "b": np.full(2, 1)})
    build(store, {"a": np.full(2, 2)}, fingerprints={"a": "2"})
    path = store.path / "x-1" / "000001" / "zarr.json"
    path.write_bytes(path.read_bytes().replace(b'"fingerprint":["2"]', b'"fingerprint":["3"]'))
    for clip_ids in (["a"], ["b", "a"]):
        feature = store["x-1"]
        with pytest.raises(DamagedError) as caught:
            [feature.read(clip_id) for clip_id in clip_ids]
        assert caught.value.ids == ("a",)
    assert store["x-1"].verify() == ["a"]
    with store.writer("x-1", "float32", {}) as writer:
        (block,) = writer.plan([("a", "1"), ("b", "1")])
    assert (block.number, block.clips) == (1, (("a", "1"),))


def set_index(path, table: str, column: str, row: int, value: object) -> None:
    """Change one entry, with a checksum that fits: what an attacker would do, not the disk."""
    document = json.loads(path.read_text())
    attributes = document["attributes"]
    attributes[table][column][row] = value
    attributes["crc32c"] = checksum([attributes["clips"], attributes["failures"]])
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("offset", -1),
        ("offset", 10**9),
        ("offset", 10**30),
        ("offset", 1.0),
        ("offset", None),
        ("offset", True),
        ("shape", [-2, -7]),
        ("shape", [10**9, 10**9]),
        ("shape", [0, 10**30]),
        ("shape", [1] * 100),
        ("shape", ["2"]),
        ("shape", 14),
        ("shape", [[2]]),
        ("crc32c", -1),
        ("crc32c", "x"),
        ("scale", 0.0),
        ("scale", float("nan")),
        ("scale", float("inf")),
        ("scale", 1e300),
        ("scale", "1"),
        ("id", 7),
        ("id", ["clip-4"]),
        ("fingerprint", {}),
    ],
)
def test_a_hostile_index_is_damage_not_a_crash(column, value, store, feature, expected):
    set_index(store.path / "x-1" / "000001" / "zarr.json", "clips", column, 1, value)
    with pytest.raises(DamagedError):
        store["x-1"].read("clip-5")
    damaged = reported_by_verify(store, "000001")
    assert "clip-5" in damaged or column == "id"
    np.testing.assert_array_equal(store["x-1"].read("clip-1"), expected["clip-1"])
    rebuild(store, damaged)
    assert store["x-1"].verify() == []
    assert_equal_but(store["x-1"], expected, [])


@pytest.mark.parametrize("states", [["", 3], [""], "silence"])
def test_hostile_states_are_damage(states, store, build):
    build(store, {"a": np.ones(1), "b": np.ones(1)}, key="y-1", states={"b": "silence"})
    path = store.path / "y-1" / "000000" / "zarr.json"
    document = json.loads(path.read_text())
    assert document["attributes"]["clips"]["state"] == ["", "silence"]
    assert "state" not in document["attributes"]["failures"]
    document["attributes"]["clips"]["state"] = states
    document["attributes"]["crc32c"] = checksum([document["attributes"][name] for name in ("clips", "failures")])
    path.write_text(json.dumps(document))
    with pytest.raises(DamagedError):
        store["y-1"].read("b")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "null",
        "[]",
        '{"attributes": 3}',
        '{"attributes": {"clips": null, "failures": [], "crc32c": 0}, "shape": [3]}',
        '{"attributes": {"clips": {}, "failures": {}, "crc32c": 0}, "shape": []}',
        "1" * 10_000,
        "\x00\xff",
    ],
)
def test_documents_that_are_nothing_like_an_index_are_damage(text, store, feature, expected):
    for path in ((store.path / "x-1" / "000001" / "zarr.json"), (store.path / "x-1" / "zarr.json")):
        pristine = path.read_bytes()
        path.write_text(text)
        with pytest.raises(DamagedError, match="x-1"):
            store["x-1"].verify()
        rebuild(store)
        assert path.read_bytes() == pristine
    (store.path / "zarr.json").write_text(text)
    with pytest.raises(StoreError, match="no feature store"):
        FeatureStore.open(store.path)


def test_a_store_of_a_later_version_is_left_alone(store, feature):
    path = store.path / "x-1" / "zarr.json"
    document = json.loads(path.read_text())
    content = {**document["attributes"], "acoustic_store": 2}
    del content["crc32c"]
    path.write_text(json.dumps({**document, "attributes": {**content, "crc32c": checksum(content)}}))
    for use in (lambda: store["x-1"], lambda: rebuild(store)):
        with pytest.raises(StoreError, match="another version of acoustic_store"):
            use()


def test_damaged_errors_survive_a_process_pool():
    import pickle

    error = pickle.loads(pickle.dumps(DamagedError("text", ["a", "b"])))
    assert (str(error), error.ids) == ("text", ("a", "b"))


def test_progress_of_verify(feature):
    calls = []
    assert feature.verify(lambda *call: calls.append(call)) == []
    assert calls == [(n, 9) for n in range(1, 10)]


@pytest.mark.parametrize("name", ["000001", "000001/zarr.json", "000001/c.0"])
@pytest.mark.parametrize("kind", ["dangling", "fifo", "device"])
def test_what_is_no_file_in_place_of_one_is_damage(name, kind, store, feature, expected):
    path = store.path / "x-1" / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere" if kind == "dangling" else "/dev/zero")
    assert_equal_but(FeatureStore.open(store.path)["x-1"], {"clip-0": expected["clip-0"]}, [])
    rebuild(store)
    assert_equal_but(store["x-1"], expected, [])
    assert store["x-1"].verify() == []
