import random
import signal

import numpy as np
import pytest

from acoustic_store import DamagedError, Failure, FeatureStore, LockedError
from acoustic_store.local_files import LocalFiles
from acoustic_store.object_files import ObjectFiles

N, KEPT = 22, 18
OLD = {f"clip-{n}": np.full(n % 3, n) for n in range(N)} | {"clip-4": Failure("bad"), "clip-7": Failure("bad")}
NEW = {"clip-7": np.ones(3), "clip-8": np.full(2, -8), "clip-9": Failure("gone"), "clip-20": np.full(5, -20)}
ROWS = OLD | NEW
KEEP = [f"clip-{n}" for n in range(KEPT)]


@pytest.fixture(scope="module")
def prepare(build, script):
    """Build ``OLD`` in blocks of four, and ``NEW`` over it."""

    def prepared(store):
        build(store, OLD, "int16", key=script.KEY, block_size=4)
        return build(store, NEW, "int16", key=script.KEY, block_size=4, fingerprints=dict.fromkeys(NEW, "2"))

    return prepared


def check(feature, ids) -> None:
    """All these clips, and those failures, are what was last built."""
    failures = feature.failures
    for clip_id in ids:
        row = ROWS[clip_id]
        if isinstance(row, Failure):
            assert failures[clip_id] == row
        else:
            np.testing.assert_allclose(feature.read(clip_id), row, rtol=1e-4)
        assert feature.fingerprint(clip_id) == ("2" if clip_id in NEW else "1")


def test_states_survive_the_compaction(any_store, build):
    build(any_store, {"a": np.ones(1), "b": Failure("bad"), "c": np.ones(1)}, states={"a": "silence", "b": "retry"})
    build(any_store, {"c": np.ones(1)}, fingerprints={"c": "2"})
    assert any_store.compact("x-1") > 0
    feature = any_store["x-1"]
    assert {name: feature.state(name) for name in "abc"} == {"a": "silence", "b": "retry", "c": ""}
    assert feature.verify() == []


def test_only_superseded_clips_are_removed(any_store, prepare, script):
    old = prepare(any_store)
    stored = {clip_id: old.stored(clip_id) for clip_id in old.ids}
    n_bytes = old.n_bytes
    freed = any_store.compact(script.KEY)
    feature = any_store[script.KEY]
    assert freed == n_bytes - feature.n_bytes > 0
    check(feature, ROWS)
    assert sorted(feature.ids) == sorted(old.ids)
    assert feature.verify() == []
    for clip_id, (values, scale) in stored.items():
        np.testing.assert_array_equal(feature.stored(clip_id)[0], values)
        assert feature.stored(clip_id)[1] == scale
    rows = [clip_id for block, ids in feature.blocks() for clip_id in (*block.index.rows, *block.index.failures)]
    assert sorted(rows) == sorted(ROWS)
    assert any_store.compact(script.KEY) == 0
    with any_store.writer(script.KEY, "int16", {}) as writer:
        assert writer.plan([(clip_id, "2" if clip_id in NEW else "1") for clip_id in ROWS]) == []


def test_clips_that_are_not_wanted_are_dropped(any_store, prepare, script):
    prepare(any_store)
    any_store.compact(script.KEY, keep=[*KEEP, "unknown"])
    feature = any_store[script.KEY]
    check(feature, KEEP)
    assert {*feature.ids, *feature.failures} == set(KEEP)
    any_store.compact(script.KEY, keep=[])
    assert len(any_store[script.KEY]) == any_store[script.KEY].n_blocks == any_store[script.KEY].n_bytes == 0


def test_every_clip_can_be_read_at_every_instant(any_store, prepare, script, monkeypatch):
    before = prepare(any_store)
    before.read("clip-8")
    Files = ObjectFiles if "://" in any_store.url else LocalFiles
    remove_block, instants = Files.remove_block, []

    def watched(files, number):
        check(any_store[script.KEY], KEEP)
        remove_block(files, number)
        check(any_store[script.KEY], KEEP)
        instants.append(number)

    monkeypatch.setattr(Files, "remove_block", watched)
    any_store.compact(script.KEY, keep=KEEP)
    assert instants == sorted(instants)
    assert len(instants) > 3
    check(before, KEEP)  # opened again if its blocks are gone
    np.testing.assert_allclose(before.stack(["clip-8", "clip-8"]), np.full((2, 2), -8), rtol=1e-4)
    with pytest.raises(KeyError, match="clip-21"):
        before.read("clip-21")


def test_a_feature_compacted_while_it_is_opened_is_complete(any_store, prepare, script, monkeypatch):
    prepare(any_store)
    Files, name = (ObjectFiles, "_index_or_none") if "://" in any_store.url else (LocalFiles, "index")
    index, calls = getattr(Files, name), []

    def meanwhile(files, number):
        calls.append(number)
        if len(calls) == 1:
            any_store.compact(script.KEY)
        return index(files, number)

    monkeypatch.setattr(Files, name, meanwhile)
    check(any_store[script.KEY], ROWS)
    assert calls


def test_a_block_number_that_is_reused_is_no_damage(any_store, prepare, build, script):
    old = prepare(any_store)
    any_store.compact(script.KEY, keep=KEEP)
    build(any_store, {"other": np.full(50, 5)}, "int16", key=script.KEY)  # takes the lowest number that is free
    check(old, KEEP)
    assert old.verify() == []


def test_damaged_and_locked_features_are_not_compacted(any_store, prepare, script, tree):
    prepare(any_store)
    before = tree(any_store.url)
    with any_store.writer(script.KEY, "int16", {}), pytest.raises(LockedError, match=script.KEY):
        any_store.compact(script.KEY)
    with pytest.raises(KeyError, match="no feature 'x-9'"):
        any_store.compact("x-9")
    assert tree(any_store.url) == before


def test_damage_stops_a_compaction_and_nothing_is_lost(store, prepare, script, tree):
    prepare(store)
    for name in ("c.0", "zarr.json"):
        path = store.path / script.KEY / "000002" / name
        pristine = path.read_bytes()
        path.write_bytes(pristine[:-4] + bytes(4))
        before = tree(store.path)
        with pytest.raises(DamagedError, match="000002"):
            store.compact(script.KEY)
        assert before.items() <= tree(store.path).items()
        path.write_bytes(pristine)
    store.compact(script.KEY)
    check(store[script.KEY], ROWS)


@pytest.fixture(scope="module")
def n_lines(start, script, prepare, tmp_path_factory):
    """How many lines of code an uninterrupted compaction executes; in object storage they are about as many."""
    store = FeatureStore.open(tmp_path_factory.mktemp("counted") / "features.zarr", create=True)
    prepare(store)
    process = start(store.url, "--compact", KEPT, "--count-lines")
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return int(output)


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 40))])
def test_a_compaction_killed_at_any_line_can_be_repeated(
    seed, any_store, prepare, script, start, tree, n_lines, expire_lease
):
    prepare(any_store)
    # The first half reads what there is. Four in five kills fall into the part that writes and removes.
    first = 0 if seed % 5 == 0 else n_lines // 2
    process = start(any_store.url, "--compact", KEPT, "--kill-at", random.Random(seed).randrange(first, n_lines) + 1)
    _, errors = process.communicate()
    assert process.returncode in {-signal.SIGKILL, 0}, errors
    check(any_store[script.KEY], KEEP)
    expire_lease(any_store, script.KEY)
    script.compact(any_store.url, KEPT)
    feature = any_store[script.KEY]
    check(feature, KEEP)
    assert {*feature.ids, *feature.failures} == set(KEEP)
    assert feature.verify() == []
    assert not [name for name in tree(any_store.url) if ".partial" in name or ".lock" in name]
