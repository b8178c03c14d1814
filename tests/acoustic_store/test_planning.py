import numpy as np
import pytest

from acoustic_store import Failure, FeatureStore, StoreError


def plan(store: FeatureStore, clips, **options):
    with store.writer("x-1", "float32", {}) as writer:
        return [(block.number, [clip_id for clip_id, _ in block.clips]) for block in writer.plan(clips, **options)]


def test_nothing_is_built_twice_and_new_clips_join(any_store, build):
    build(any_store, {"a": np.ones(1), "b": Failure("bad"), "c": np.ones(1)})
    assert plan(any_store, [("a", "1"), ("b", "1"), ("c", "1")]) == []
    assert plan(any_store, [("a", "1"), ("b", "1"), ("new", "1"), ("c", "1")]) == [(1, ["new"])]


def test_a_changed_clip_supersedes_the_old_one(any_store, build):
    build(any_store, {name: np.full(3, 1) for name in "abc"})
    feature = build(any_store, {"b": np.full(4, 2)}, fingerprints={"b": "2"})
    assert feature.ids == ["a", "b", "c"]
    assert feature.fingerprint("b") == "2"
    np.testing.assert_array_equal(feature.read("b"), np.full(4, 2))
    np.testing.assert_array_equal(any_store["x-1"].read("b"), np.full(4, 2))
    assert plan(any_store, [("a", "1"), ("b", "2"), ("c", "1")]) == []


def test_a_failure_supersedes_a_clip_and_a_clip_a_failure(any_store, build):
    build(any_store, {"a": np.ones(3), "b": Failure("bad")})
    feature = build(any_store, {"a": Failure("gone"), "b": np.ones(2)}, fingerprints={"a": "2", "b": "2"})
    assert feature.ids == ["b"]
    assert feature.failures == {"a": Failure("gone")}
    assert plan(any_store, [("a", "2"), ("b", "2")]) == []


def test_rebuild_asks_for_clips_again(any_store, build):
    build(any_store, {"a": np.ones(3), "b": Failure("bad"), "c": np.ones(3)})
    assert plan(any_store, [("a", "1"), ("b", "1"), ("c", "1")], rebuild=["b", "c", "unknown"]) == [(1, ["b", "c"])]


def test_a_state_is_stored_and_planned_beside_the_fingerprint(any_store, build):
    rows = {"a": np.ones(3), "b": Failure("bad"), "c": np.ones(3)}
    feature = build(any_store, rows, states={"a": "silence", "b": "retry"})
    assert [(feature.fingerprint(name), feature.state(name)) for name in "abc"] == [
        ("1", "silence"), ("1", "retry"), ("1", ""),
    ]  # fmt: skip
    clips = [(name, "1") for name in "abc"]
    assert plan(any_store, clips, states={"a": "silence", "b": "retry"}) == []
    assert plan(any_store, clips, states={"a": "silence"}) == [(1, ["b"])]
    assert plan(any_store, clips, states={"a": "silence", "b": "retry", "c": "silence"}) == [(1, ["c"])]


def test_states_of_earlier_stores_are_read_from_the_fingerprints(any_store, build):
    fingerprints = {"a": "1+silence", "b": "1+left out", "c": "1+silence+left out"}
    feature = build(any_store, dict.fromkeys("abcd", np.ones(3)), fingerprints=fingerprints)
    assert [(feature.fingerprint(name), feature.state(name)) for name in "abcd"] == [
        ("1", "silence"), ("1", "retry"), ("1", "retry"), ("1", ""),
    ]  # fmt: skip
    assert plan(any_store, [(name, "1") for name in "ad"], states={"a": "silence"}) == []


def test_gaps_are_filled_after_the_blocks_they_supersede(any_store, lose_block, build):
    build(any_store, {name: np.full(1, 1) for name in "abcdefgh"}, block_size=2)
    lose_block(any_store, "x-1", 1)
    clips = [(name, "1") for name in "abcdefgh"]
    assert plan(any_store, clips, block_size=2) == [(1, ["c", "d"])]
    changed = [(name, "2" if name in "ah" else "1") for name in "hcdbaefg"]
    assert plan(any_store, changed, block_size=2) == [(4, ["h", "c"]), (1, ["d", "a"])]
    feature = build(
        any_store, {name: np.full(1, 2) for name in "hcdbaefg"}, fingerprints={"a": "2", "h": "2"}, block_size=2
    )
    assert [int(feature.read(name)[0]) for name in "abcdefgh"] == [2, 1, 2, 2, 1, 1, 1, 2]


def test_groups_stay_whole_in_a_resumed_build_too(any_store, lose_block, build):
    groups = {name: name[0] for name in ("a1", "a2", "b1", "b2", "b3", "c1", "d1", "d2", "d3", "d4", "d5", "e1", "e2")}
    clips = [(name, "1") for name in groups] + [("f", "1")]
    options = {"block_size": 4, "groups": groups}
    blocks = plan(any_store, clips, **options)
    assert [" ".join(names) for _, names in blocks] == ["a1 a2", "b1 b2 b3 c1", "d1 d2 d3 d4", "d5 e1 e2 f"]
    build(any_store, {clip_id: np.ones(1) for clip_id, _ in clips}, **options)
    assert plan(any_store, clips, **options) == []
    for lost in ((1,), (1, 2), (0, 3)):
        for number in lost:
            lose_block(any_store, "x-1", number)
        assert plan(any_store, clips, **options) == [blocks[number] for number in lost]
        build(any_store, {clip_id: np.ones(1) for clip_id, _ in clips}, **options)


def test_blocks_can_be_written_in_any_order(any_store, tree, build, tmp_path):
    rows = {f"c{n}": np.full(n, n) for n in range(11)}
    build(any_store, rows, block_size=2)

    def files(store):
        return {name: content for name, content in tree(store.url).items() if content is not None}  # without folders

    other = FeatureStore.open(tmp_path / "other.zarr", create=True)
    with other.writer("x-1", "float32", {}) as writer:
        for block in reversed(writer.plan([(clip_id, "1") for clip_id in rows], block_size=2)):
            block.write([rows[clip_id] for clip_id, _ in block.clips])
    assert files(any_store) == files(other)
    assert other["x-1"].ids == list(rows)


def test_a_block_can_be_written_twice_but_not_with_other_content(any_store, tree):
    with any_store.writer("x-1", "float32", {}) as writer:
        (block,) = writer.plan([("a", "1")])
        block.write([np.ones(3)])
        before = tree(any_store.url)
        block.write([np.ones(3)])
        with pytest.raises(StoreError, match="by another process"):
            block.write([np.zeros(3)])
        assert tree(any_store.url) == before


def test_wrong_use_is_refused(any_store):
    writer = any_store.writer("x-1", "float32", {})
    with pytest.raises(StoreError, match="with"):
        writer.plan([])
    with writer:
        with pytest.raises(ValueError, match="same id"):
            writer.plan([("a", "1"), ("a", "2")])
        with pytest.raises(ValueError, match="block_size"):
            writer.plan([], block_size=0)
        (block,) = writer.plan([("a", "1")])
    with pytest.raises(StoreError, match="could not be written"):
        block.write([np.ones(3)])
