import contextlib
import os
import random
import signal
import time

import numpy as np
import pytest

from acoustic_store import FeatureStore, LockedError, StoreError

N_CLIPS = 22


@pytest.fixture(scope="module")
def finished(script, tree, tmp_path_factory):
    """The tree of a build that nothing interrupted."""
    path = tmp_path_factory.mktemp("finished") / "features.zarr"
    script.build(str(path), N_CLIPS, 0)
    return tree(path)


@pytest.fixture(scope="module")
def n_lines(start, tmp_path_factory):
    """How many lines of code an uninterrupted build executes."""
    process = start(tmp_path_factory.mktemp("counted") / "features.zarr", "--count-lines")
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return int(output)


@pytest.mark.parametrize("seed", range(14))
def test_a_build_killed_at_any_line_resumes_to_the_same_bytes(seed, start, script, tree, finished, n_lines, tmp_path):
    path = tmp_path / "features.zarr"
    # Every seed has its own part of the build. A second kill hits the resumed build.
    kills = [random.Random(seed).randrange(seed * n_lines // 14, (seed + 1) * n_lines // 14) + 1]
    kills += [random.Random(seed).randrange(n_lines // 4) + 1] * (seed % 3 == 0)
    for kill_at in kills:
        process = start(path, "--kill-at", kill_at)
        _, errors = process.communicate()
        assert process.returncode in {-signal.SIGKILL, 0}, errors
        check_what_is_readable(path, script)
    assert kills[1:] or process.returncode == -signal.SIGKILL
    script.build(str(path), N_CLIPS, 0)
    assert tree(path) == finished


def check_what_is_readable(path, script):
    """A killed build shows whole blocks or nothing."""
    if not (path / "zarr.json").exists() or not (path / "zarr.json").stat().st_size:
        return
    store = FeatureStore.open(path)
    for key in store.keys():  # noqa: SIM118 (not a dict)
        feature = store[key]
        assert feature.verify() == []
        assert (len(feature) + len(feature.failures)) % script.BLOCK_SIZE in {0, N_CLIPS % script.BLOCK_SIZE}
        for clip_id in feature.ids:
            np.testing.assert_allclose(feature.read(clip_id), script.row(clip_id), atol=1e-3)


def test_worker_processes_write_disjoint_blocks(start, tree, finished, tmp_path):
    process = start(tmp_path / "features.zarr", "--workers", 2)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert tree(tmp_path / "features.zarr") == finished


def test_a_parallel_build_killed_with_its_workers_resumes(start, script, tree, finished, tmp_path):
    path = tmp_path / "features.zarr"
    process = start(path, "--workers", 2)
    wait_for((path / script.KEY / "000000").exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    script.build(str(path), N_CLIPS, 0)
    assert tree(path) == finished


def test_workers_that_outlive_their_killed_build_spoil_nothing(start, script, tree, finished, tmp_path):
    path = tmp_path / "features.zarr"
    process = start(path, "--workers", 2)
    wait_for((path / script.KEY / "000000").exists)
    process.kill()  # only the parent
    process.wait()
    try:
        script.build(str(path), N_CLIPS, 0)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    assert tree(path) == finished


@pytest.mark.parametrize("is_locked_again", [False, True])
def test_workers_that_outlive_their_writer_write_nothing_more(is_locked_again, any_store, tree):
    with any_store.writer("x-1", "float32", {}) as writer:
        one, other = writer.plan([("a", "1"), ("b", "1")], block_size=1)
        rows = other.open()
        rows.__enter__()
    refusal = "no writer holds the lock" if any_store.url.startswith("s3://") else "could not be written"
    with any_store.writer("x-1", "float32", {}) if is_locked_again else contextlib.nullcontext():
        before = tree(any_store.url)
        rows.add(np.ones(3))
        for late in (lambda: one.write([np.ones(3)]), lambda: rows.__exit__(None, None, None)):
            with pytest.raises(StoreError, match=refusal):
                late()
        assert tree(any_store.url) == before


@pytest.mark.parametrize(("call", "ids"), [("rename", ["a"]), ("unlink", []), ("rmdir", [])])
def test_a_block_committed_during_a_clean_up_is_whole_or_refused(call, ids, store, monkeypatch):
    """By a worker that outlived its writer, just before the next one's first such call."""
    real, refused = getattr(os, call), []

    def after_a_late_commit(*arguments, **options):
        monkeypatch.setattr(os, call, real)
        try:
            rows.__exit__(None, None, None)
        except StoreError as error:
            refused.append(error)
        return real(*arguments, **options)

    with store.writer("x-1", "float32", {}) as writer:
        (block,) = writer.plan([("a", "1")])
        rows = block.open()
        rows.__enter__()
        rows.add(np.ones(3))
        monkeypatch.setattr(os, call, after_a_late_commit)
    assert (store["x-1"].ids, len(refused)) == (ids, 1 - len(ids))
    assert store["x-1"].verify() == []
    assert sorted(path.name for path in (store.path / "x-1").iterdir()) == ["000000"] * len(ids) + ["zarr.json"]


HOLD = """
import os, sys, time
from acoustic_store import FeatureStore
with FeatureStore.open(sys.argv[1], create=True).writer("x-1", "float32", {}) as writer:
    if sys.argv[2] == "fork":
        read, write = os.pipe()
        if os.fork() == 0:
            os.write(write, b"1")
            time.sleep(60)
        os.read(read, 1)  # the child is there: before, it may still have the lock that it inherited
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("with_child", ["alone", "fork"])
def test_a_killed_writer_leaves_no_lock(with_child, start, store):
    process = start("-c", HOLD, store.path, with_child)
    try:
        assert process.stdout.readline() == "locked\n", process.stderr.read()
        with pytest.raises(LockedError, match=r"x-1 is being written.*Wait"), store.writer("x-1", "float32", {}):
            pass
        with pytest.raises(LockedError, match="x-1"):
            store.delete("x-1")
        with store.writer("y-1", "float32", {}):  # other keys are free
            pass
        process.kill()
        process.wait()
        with store.writer("x-1", "float32", {}) as writer:  # a forked child that lives on does not hold the lock
            writer.plan([("a", "1")])[0].write([np.ones(3)])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert sorted(path.name for path in (store.path / "x-1").iterdir()) == ["000000", "zarr.json"]


def test_two_writers_in_one_process_are_kept_apart_too(any_store):
    with any_store.writer("x-1", "float32", {}), pytest.raises(LockedError), any_store.writer("x-1", "float32", {}):
        pass
    with any_store.writer("x-1", "float32", {}):
        pass


def test_reading_goes_on_while_a_block_is_written(any_store, build):
    build(any_store, {"a": np.ones(3)})
    seen = []

    def rows():
        yield np.ones(3)
        seen.append(any_store["x-1"].ids)
        yield np.ones(3)

    with any_store.writer("x-1", "float32", {}) as writer:
        writer.plan([("b", "1"), ("c", "1")])[0].write(rows())
        seen.append(any_store["x-1"].ids)
    assert seen == [["a"], ["a", "b", "c"]]


def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
