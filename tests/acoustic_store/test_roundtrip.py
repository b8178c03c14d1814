import json
import pickle
import tempfile
import warnings

import numpy as np
import pytest
import zarr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from acoustic_store import Block, Failure, FeatureStore, StoreError

SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9)
VALUES = st.floats(-(2.0**100), 2.0**100, width=32)
ROWS = st.dictionaries(
    st.text(min_size=1, max_size=8),
    hnp.arrays(np.float32, SHAPES, elements=VALUES) | st.text(max_size=9).map(Failure),
    max_size=9,
)


@settings(deadline=None, max_examples=40)
@example(rows={"a": np.array([1.8106785e16, 2.7256464e16], np.float32)}, dtype="int16", block_size=1)
@given(rows=ROWS, dtype=st.sampled_from(["int16", "float32"]), block_size=st.integers(1, 5))
def test_clips_of_any_shape_and_id_come_back(build, rows, dtype, block_size):
    with tempfile.TemporaryDirectory() as folder:
        feature = build(FeatureStore.open(folder, create=True), rows, dtype, block_size=block_size)
        assert feature.failures == {i: row for i, row in rows.items() if isinstance(row, Failure)}
        arrays = {i: row for i, row in rows.items() if not isinstance(row, Failure)}
        assert feature.ids == list(arrays)
        assert len(feature) == len(arrays)
        assert feature.n_blocks == -(-len(rows) // block_size)
        for clip_id, expected in arrays.items():
            values = feature.read(clip_id)
            assert values.dtype == np.float32
            assert values.shape == expected.shape == feature.shape(clip_id)
            if dtype == "float32":
                np.testing.assert_array_equal(values, expected)
            elif expected.size:
                peak = np.abs(expected.astype(float)).max()
                step = peak / 65534 + peak * 2**-23  # 96 dB below the peak, and float32's own rounding
                bound = max(step, np.finfo(np.float32).tiny)
                assert np.abs(values.astype(float) - expected).max() <= bound
        assert feature.verify() == []


@pytest.mark.parametrize("peak", [1e-30, 0.01, 1.0, 1.31, 3e30])
def test_int16_keeps_noise_within_80_db(store, build, peak):
    wave = np.random.default_rng(0).uniform(-peak, peak, 22050).astype(np.float32).astype(np.float64)
    error = build(store, {"a": wave}, "int16").read("a") - wave
    assert 10 * np.log10(np.mean(wave**2) / np.mean(error**2)) > 80


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.uint8, np.bool_, ">f4"])
def test_other_real_dtypes_are_stored_as_float32(any_store, build, dtype):
    values = np.arange(6).reshape(2, 3).astype(dtype)
    read = build(any_store, {"a": values, "b": values.T}).read("b")
    np.testing.assert_array_equal(read, values.T.astype(np.float32))


def test_float32_is_a_read_only_view_and_int16_a_new_array(any_store, build):
    rows = {"a": np.ones(5), "b": np.ones(5)}
    view = build(any_store, rows, "float32").read("a")
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 2
    copy = build(any_store, rows, "int16", key="y-1").read("a")
    copy[0] = 2
    assert any_store["y-1"].read("a")[0] == pytest.approx(1)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_stack_equals_reading_one_by_one(any_store, build, dtype):
    rng = np.random.default_rng(1)
    rows = {f"c{n}": rng.standard_normal((3, 7)) for n in range(7)} | {"odd": np.ones((3, 8)), "scalar": np.float32(4)}
    feature = build(any_store, rows, dtype, block_size=3)
    ids = ["c5", "c0", "c3", "c5"]
    np.testing.assert_array_equal(feature.stack(ids), np.stack([feature.read(i) for i in ids]))
    np.testing.assert_array_equal(any_store["x-1"].stack(iter(ids[:1])), feature.read("c5")[None])
    even = build(any_store, {f"c{n}": rows[f"c{n}"] for n in range(7)}, dtype, key="y-1", block_size=3)
    np.testing.assert_array_equal(even.stack(), np.stack([even.read(f"c{n}") for n in range(7)]))
    assert feature.stack(["scalar"]).shape == (1,)
    for clip_id, read in zip(rows, feature.read_many(rows), strict=True):
        np.testing.assert_array_equal(read, feature.read(clip_id))
    with pytest.raises(ValueError, match="'odd' has"):
        feature.stack(["c1", "odd"])
    with pytest.raises(ValueError, match="no clips"):
        feature.stack([])


def test_any_zarr_reader_can_read_a_block(store, build):
    rows = {f"c{n}": np.random.default_rng(n).standard_normal((2, n)) for n in range(5)} | {"bad": Failure("why")}
    for dtype in ("int16", "float32"):
        feature = build(store, rows, dtype, key=f"x-{dtype}", block_size=4)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # zarr warns about files that it does not know
            group = zarr.open_group(store.path, mode="r")[feature.key]
            blocks = [block for _, block in sorted(group.arrays())]
        assert [block.dtype for block in blocks] == [dtype, dtype]
        read = {}
        for block in blocks:
            clips = dict(block.attrs)["clips"]
            for row, (clip_id, shape, offset) in enumerate(
                zip(clips["id"], clips["shape"], clips["offset"], strict=True)
            ):
                values = block[offset : offset + int(np.prod(shape))].reshape(shape)
                read[clip_id] = values * np.float32(clips["scale"][row]) if dtype == "int16" else values
        assert list(read) == feature.ids
        for clip_id, values in read.items():
            np.testing.assert_array_equal(values, feature.read(clip_id))


@pytest.mark.parametrize(
    "options",
    [
        {"compressors": zarr.codecs.ZstdCodec()},
        {"chunks": (7,), "compressors": None},
        {"chunks": (10,), "shards": (100,)},
        {"serializer": zarr.codecs.BytesCodec(endian="big"), "compressors": None},
    ],
)
def test_blocks_rewritten_by_other_tools_are_read_through_zarr(store, build, options):
    rows = {f"c{n}": np.random.default_rng(n).standard_normal((2, 9 + n)) for n in range(4)}
    feature = build(store, rows, "int16")
    expected = {clip_id: feature.read(clip_id) for clip_id in rows}
    path = store.path / feature.key / "000000"
    old = zarr.open_array(path, mode="r")
    values, attributes = old[:], dict(old.attrs)
    zarr.create_array(path, data=values, attributes=attributes, overwrite=True, **options)
    feature = store[feature.key]
    assert feature.verify() == []
    for clip_id, array in expected.items():
        np.testing.assert_array_equal(feature.read(clip_id), array)
        assert feature.read(clip_id).dtype == np.float32
    with store.writer(feature.key, "int16", {}) as writer:
        assert writer.plan([(clip_id, "1") for clip_id in rows]) == []


def test_attributes_and_dtype_are_readable_and_fixed(any_store, tree):
    parameters = {"name": "logmel", "fmax": None, "sizes": (2048, 1024)}
    with any_store.writer("logmel-1", "float32", parameters):
        pass
    assert any_store["logmel-1"].attributes == {"name": "logmel", "fmax": None, "sizes": [2048, 1024]}
    assert any_store["logmel-1"].dtype == "float32"
    document = json.loads(tree(any_store.url)["logmel-1/zarr.json"])
    assert document["attributes"]["feature"]["sizes"] == [2048, 1024]
    with any_store.writer("logmel-1", "float32", parameters):
        pass
    for dtype, other in (("int16", parameters), ("float32", {"name": "logmel"})):
        with pytest.raises(StoreError, match="other attributes"), any_store.writer("logmel-1", dtype, other):
            pass


def test_features_are_listed_and_deleted(any_store, build, tree):
    build(any_store, {"a": np.ones(2)}, key="a-1")
    one = tree(any_store.url)
    build(any_store, {"a": np.ones(2), "b": Failure("bad")}, key="b-1", block_size=1)
    assert any_store.keys() == ["a-1", "b-1"]
    any_store.delete("b-1")
    assert any_store.keys() == ["a-1"]
    assert tree(any_store.url) == one
    with pytest.raises(KeyError, match=r"no feature 'b-1'.*there are: a-1"):
        any_store["b-1"]
    with pytest.raises(KeyError):
        any_store.delete("b-1")


@pytest.mark.parametrize("key", ["", "..", ".partial", "a/b", "../x", "a\n", "/etc"])
def test_keys_cannot_leave_the_store(store, key):
    (store.path.parent / "x").mkdir()
    assert key not in store
    with pytest.raises(ValueError, match="key"):
        store.writer(key, "int16", {})
    with pytest.raises(KeyError):
        store.delete(key)
    assert (store.path.parent / "x").exists()


def test_opening_what_is_no_store_says_so(tmp_path):
    with pytest.raises(StoreError, match="no feature store"):
        FeatureStore.open(tmp_path / "missing")
    zarr.create_array(tmp_path / "array", shape=(3,), dtype="int16")
    with pytest.raises(StoreError, match="not that of a group"):
        FeatureStore.open(tmp_path / "array", create=True)


def test_blocks_and_features_can_be_pickled(any_store, build):
    with any_store.writer("x-1", "float32", {}) as writer:
        (block,) = pickle.loads(pickle.dumps(writer.plan([("a", "1")])))
        assert isinstance(block, Block)
        block.write([np.ones(3)])
    feature = pickle.loads(pickle.dumps(any_store["x-1"]))
    np.testing.assert_array_equal(feature.read("a"), np.ones(3))


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([np.ones(3)], "only 1"),
        ([np.ones(3)] * 3, "more rows"),
        ([np.ones(3), np.array([object()])], "'b'.*real numbers"),
        ([np.ones(3), np.array(["1"])], "'b'.*real numbers"),
        ([np.ones(3), np.array([1j])], "'b'.*real numbers"),
        ([np.ones(3), np.array([1, np.nan])], "'b'.*finite"),
        ([np.ones(3), np.array([-np.inf])], "'b'.*finite"),
        ([np.ones(3), np.array([1e39])], "'b'.*finite"),
        ([np.ones(3), np.array([np.finfo(np.float32).max])], "'b'.*too large"),
    ],
)
def test_invalid_rows_are_refused_and_leave_nothing(any_store, tree, rows, problem):
    with any_store.writer("x-1", "int16", {}) as writer:
        before = tree(any_store.url)
        (block,) = writer.plan([("a", "1"), ("b", "1")])
        with pytest.raises(ValueError, match=problem):
            block.write(rows)
        assert tree(any_store.url) == before
        block.write([np.ones(3), np.zeros(0)])
    assert any_store["x-1"].ids == ["a", "b"]


def test_an_error_of_the_feature_itself_passes_through(any_store, tree):
    def rows():
        yield np.ones(3)
        raise FileNotFoundError("a.wav")

    with any_store.writer("x-1", "int16", {}) as writer:
        before = tree(any_store.url)
        with pytest.raises(FileNotFoundError, match=r"^a\.wav$"):
            writer.plan([("a", "1"), ("b", "1")])[0].write(rows())
        assert tree(any_store.url) == before


def test_an_unknown_dtype_is_refused(store):
    with pytest.raises(ValueError, match="int16, float32"):
        store.writer("x-1", "float16", {})


def test_unknown_clips_and_failures_are_told_apart(any_store, build):
    feature = build(any_store, {"a": np.ones(3), "b": Failure("no audio stream")})
    for method in (feature.read, feature.shape):
        with pytest.raises(KeyError, match="'b' of x-1 could not be built: no audio stream"):
            method("b")
        with pytest.raises(KeyError, match="no clip 'c'"):
            method("c")
    assert feature.fingerprint("b") == "1"
    assert "a" in feature
    assert "b" not in feature


def test_snapshot_is_immutable_and_n_bytes_is_size_on_disk(any_store, build, tree):
    old = build(any_store, {"a": np.ones(3)})
    new = build(any_store, {"a": np.ones(3), "b": np.ones(3)})
    assert (old.ids, new.ids) == (["a"], ["a", "b"])
    blocks = tree(f"{any_store.url}/x-1")
    assert new.n_bytes == sum(len(text) for name, text in blocks.items() if text and "/" in name)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_stored_values_are_what_lies_on_disk(any_store, build, dtype):
    row = np.random.default_rng(0).standard_normal((3, 7)).astype(np.float32)
    feature = build(any_store, {"a": row, "b": Failure("bad")}, dtype)
    values, scale = feature.stored("a")
    assert (values.dtype, values.shape, values.flags.writeable) == (dtype, (3, 7), False)
    assert (scale is None) == (dtype == "float32")
    np.testing.assert_array_equal(values if scale is None else values * scale, feature.read("a"))
    with pytest.raises(KeyError, match="'b' of x-1 could not be built"):
        feature.stored("b")


def test_rows_are_added_one_by_one_to_several_blocks(any_store):
    rows = {"a": np.ones(3), "b": Failure("bad"), "c": np.zeros((2, 0))}
    clips = [(clip_id, "1") for clip_id in rows]
    with any_store.writer("x-1", "float32", {}) as one, any_store.writer("y-1", "int16", {}) as other:
        (first,), (second,) = one.plan(clips), other.plan(clips)
        with first.open() as x, second.open() as y:
            for row in rows.values():
                x.add(row)
                y.add(row)
            assert (any_store["x-1"].ids, any_store["y-1"].ids) == ([], [])
    for key in ("x-1", "y-1"):
        assert (any_store[key].ids, any_store[key].failures) == (["a", "c"], {"b": Failure("bad")})
        np.testing.assert_allclose(any_store[key].read("a"), 1)


def test_a_row_that_was_refused_can_be_replaced(any_store):
    with any_store.writer("x-1", "float32", {}) as writer, writer.plan([("a", "1"), ("b", "1")])[0].open() as block:
        with pytest.raises(ValueError, match=r"'a'.*finite"):
            block.add(np.array([np.nan]))
        block.add(Failure("not finite"))
        block.add(np.ones(2))
        with pytest.raises(ValueError, match="more rows than the 2"):
            block.add(np.ones(2))
    assert any_store["x-1"].ids == ["b"]


def interrupted(block):
    with block.open() as rows:
        rows.add(np.ones(3))
        raise KeyboardInterrupt


def test_a_block_that_was_left_by_an_exception_leaves_nothing(any_store, tree):
    with any_store.writer("x-1", "float32", {}) as writer:
        before = tree(any_store.url)
        (block,) = writer.plan([("a", "1")])
        with pytest.raises(KeyboardInterrupt):
            interrupted(block)
        with pytest.raises(ValueError, match="only 0"), block.open():
            pass
        with pytest.raises(StoreError, match="in a `with` statement"):
            block.open().add(np.ones(3))
        assert tree(any_store.url) == before
