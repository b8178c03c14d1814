import resource
import tracemalloc

import numpy as np
import pytest


def test_memory_does_not_grow_with_the_number_of_clips(store):
    def peak(key: str, n: int) -> int:
        clips = [(f"clip-{number}", "1") for number in range(n)]
        tracemalloc.start()
        with store.writer(key, "int16", {}) as writer:
            for block in writer.plan(clips, block_size=16):
                block.write(np.full(100_000, 0.5, np.float32) for _ in block.clips)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak("warm-1", 4)
    few, many = peak("few-1", 16), peak("many-1", 160)
    assert many < 1.25 * few
    assert many < 4 * 100_000 * 4  # of one clip, not of one block


def test_reading_many_blocks_needs_few_file_descriptors(store, build):
    rows = {f"c{n}": np.full(10, n) for n in range(120)}
    build(store, rows, block_size=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (96, hard))
    try:
        feature = store["x-1"]
        for _ in range(2):
            assert [feature.read(clip_id)[9] for clip_id in rows] == list(range(120))
        np.testing.assert_array_equal(feature.stack(rows)[:, 0], range(120))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_full_disk_is_told_and_loses_nothing(start, script, tree, tmp_path):
    path, other = tmp_path / "features.zarr", tmp_path / "other.zarr"
    process = start(path, "--clips", 40, "--file-limit", 1500)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "StoreError" in errors.splitlines()[-1]
    assert "could not be written: File too large" in errors
    assert "run the same build again" in errors
    kept = tree(path)
    assert not [name for name in kept if ".partial" in name]
    script.build(str(path), 40, 0)
    script.build(str(other), 40, 0)
    assert tree(path) == tree(other)
    assert 0 < len(kept) < len(tree(path))
    assert kept.items() <= tree(path).items()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    from acoustic_store import FeatureStore, StoreError

    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Not a directory"):
        FeatureStore.open(tmp_path / "file" / "features.zarr", create=True)
