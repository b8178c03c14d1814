"""The feature store against one flat memory-mapped file, and against zarr's own reader on the store's files.

    python benchmarks/store.py [--rounds 7] [--clips 400] [--folder DIR]

Ragged clips of about 5 s at 22.05 kHz. One thread, warm page cache; rounds are interleaved and the medians of wall time
are compared: above 1.00 the store is faster. What the two sides do is the same, but for the store's checks:

- write: float32 in memory to the disk itself (fsync; msync), int16 through one scale a clip. The peer is given the
  scales; the store finds them, and checks for finite values, and writes checksums and indexes.
- write, not synced: the same, but the peer leaves the file in the page cache.
- values: new float32 arrays, converted from int16 with the scale. "summed": each is used once, too.
- views: read-only arrays on the mapped float32 file, of which nothing is read.
- first pass: the store is opened, its index parsed and every checksum compared; later passes do without.
- zarr's reader: a slice of the block's array, through zarr, without a scale or a checksum.
- training batch: 32 clips of 5 s, drawn anew each time, stored as int16, into one float32 buffer that is used again.
  The peers: `X[idx]` of a float32 array in memory (goal 1.46, limit 2.2); torch's DataLoader without workers over a
  zarr array of one uncompressed chunk a clip (goal 8). "Loader" is an epoch of `acoustic_kit.training`, with its
  random crops, from clips beyond memory. These are compared by processor time.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
import zarr

from acoustic_kit.data.clips import Clips
from acoustic_kit.training import batches
from acoustic_kit.training.clip_reader import place
from acoustic_store import FeatureStore, StoredFeature

RATE, SECONDS = 22050, 5.0
BATCH = 32
WALL, CPU = time.perf_counter, time.process_time


def make_clips(n: int) -> dict[str, np.ndarray]:
    """Noise of 2 to 5 s, most of it 5 s, as trimmed clips of ESC-10 are."""
    rng = np.random.default_rng(0)
    lengths = np.where(rng.random(n) < 0.7, RATE * SECONDS, rng.integers(2 * RATE, int(RATE * SECONDS), n)).astype(int)
    return {f"clip-{i:04d}": rng.standard_normal(size, np.float32) for i, size in enumerate(lengths)}


class Flat:
    """The peer: all clips in one file, offsets and scales in memory."""

    def __init__(self, path: Path, clips: dict[str, np.ndarray], dtype: type) -> None:
        self.path, self.clips, self.dtype = path, clips, np.dtype(dtype)
        ends = np.cumsum([clip.size for clip in clips.values()]).tolist()
        self.extents = dict(zip(clips, zip([0, *ends[:-1]], ends, strict=True), strict=True))
        self.scales = {clip_id: np.float32(np.abs(clip).max() / 32767) for clip_id, clip in clips.items()}

    def write(self, sync: bool = True) -> None:
        """All clips, through a map."""
        self.path.unlink(missing_ok=True)
        flat = np.memmap(self.path, self.dtype, "w+", shape=(max(end for _, end in self.extents.values()),))
        for clip_id, clip in self.clips.items():
            start, end = self.extents[clip_id]
            flat[start:end] = clip if self.dtype == np.float32 else np.rint(clip / self.scales[clip_id])
        if sync:
            flat.flush()

    def open(self) -> None:
        """Map the file."""
        self.flat = np.memmap(self.path, self.dtype, "r")

    def view(self, clip_id: str) -> np.ndarray:
        """Return the clip as it is stored in the file."""
        start, end = self.extents[clip_id]
        return self.flat[start:end]

    def value(self, clip_id: str) -> np.ndarray:
        """Return the clip as float32."""
        return self.view(clip_id) * self.scales[clip_id]


def write_store(folder: Path, key: str, clips: dict[str, np.ndarray]) -> StoredFeature:
    store = FeatureStore.open(folder, create=True)
    if key in store:
        store.delete(key)
    with store.writer(key, key, {}) as writer:
        for block in writer.plan([(clip_id, "1") for clip_id in clips]):
            block.write(clips[clip_id] for clip_id, _ in block.clips)
    return store[key]


def first_pass(folder: Path, key: str, ids: list[str]) -> None:
    """Do what a new process does: open, parse the index, map, compare every checksum, read."""
    each(FeatureStore.open(folder)[key].read, ids)()


def zarr_reader(folder: Path) -> Callable[[str], np.ndarray]:
    """Zarr's own way to one clip of the same files: slice the block's array."""
    extents = {}
    for _, block in zarr.open_group(folder, mode="r").arrays():
        clips = dict(block.attrs)["clips"]
        for clip_id, shape, offset in zip(clips["id"], clips["shape"], clips["offset"], strict=True):
            extents[clip_id] = block, offset, offset + shape[0]

    def read(clip_id: str) -> np.ndarray:
        block, start, end = extents[clip_id]
        return block[start:end]

    return read


def seconds(work: Callable[[], object], clock: Callable[[], float] = WALL) -> float:
    start = clock()
    work()
    return clock() - start


def compare(
    title: str, rounds: int, store: Callable, peer: Callable, unit: float, peer_name: str, clock: Callable = WALL
) -> None:
    """Print both medians, as ``unit`` a second, and their ratio."""
    store(), peer()
    times = [(seconds(store, clock), seconds(peer, clock)) for _ in range(rounds)]
    own, other = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{title:44} {unit / own:12,.0f} {unit / other:12,.0f} {other / own:8.2f}  {peer_name}", flush=True)


def each(read: Callable, ids: list[str]) -> Callable[[], None]:
    def loop() -> None:
        for clip_id in ids:
            read(clip_id)

    return loop


class ZarrClips(torch.utils.data.Dataset):
    """What one would write first: a zarr array of one chunk a clip, and its clips one by one."""

    def __init__(self, path: Path, feature: StoredFeature) -> None:
        stored = [feature.stored(clip_id) for clip_id in feature.ids]
        n_samples = stored[0][0].size
        shape = (len(stored), n_samples)
        self.clips = zarr.create_array(path, shape=shape, chunks=(1, n_samples), dtype="int16", compressors=None)
        self.clips[:] = np.stack([values for values, _ in stored])
        self.scales = [scale for _, scale in stored]

    def __len__(self) -> int:
        return len(self.scales)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.clips[row].astype(np.float32) * self.scales[row]


def compare_batches(folder: Path, n: int, rounds: int) -> None:
    """Training batches of clips of one length."""
    noise = np.random.default_rng(3).standard_normal((n, int(RATE * SECONDS)), np.float32)
    feature = write_store(folder / "batches.zarr", "int16", {f"clip-{i:04d}": wave for i, wave in enumerate(noise)})
    ids, X, buffer = feature.ids, feature.stack(), np.empty((BATCH, noise.shape[1]), np.float32)
    draws = np.random.default_rng(4)

    def draw() -> np.ndarray:
        return draws.permutation(n)[:BATCH]

    def from_store() -> None:
        for row, clip in zip(buffer, draw(), strict=True):
            values, scale = feature.stored(ids[clip])
            place(values, values.size, 0, scale, row, values.size, 0)

    def zarr_epoch() -> None:
        for _ in torch.utils.data.DataLoader(dataset, BATCH, shuffle=True):
            pass

    dataset = ZarrClips(folder / "clips.zarr", feature)
    compare("training batch", 5 * rounds, from_store, lambda: X[draw()], BATCH, "X[idx] in memory", CPU)
    loader = open_loader(feature)
    compare(
        "training epoch: Loader", rounds, partial(run_epoch, loader), zarr_epoch, n, "DataLoader on zarr clips", CPU
    )


def open_loader(feature: StoredFeature) -> batches.Loader:
    """Read by the toolkit's own reader, for a feature that it takes to be too large for the memory."""
    batches.RESIDENT_BYTES = 0
    rows = pl.DataFrame({"id": feature.ids, "label": [["a"]] * len(feature)})
    clips = Clips(rows, ("a",), "single", {"wave": feature})
    return batches.Batches("wave", BATCH, frames=int(RATE * SECONDS)).open(clips, torch.device("cpu"))


def run_epoch(loader: batches.Loader) -> None:
    for _ in loader.training("epoch"):
        pass


def time_opening(folder: Path, n: int, rounds: int) -> None:
    """Print how long it takes to open a feature of ``n`` short clips and to read one of them."""
    feature = write_store(
        folder, "float32", {f"clip-{number:06d}": np.full(80, number, np.float32) for number in range(n)}
    )
    ids = iter(np.random.default_rng(2).integers(0, n, rounds).tolist())
    times = [seconds(lambda: FeatureStore.open(folder)["float32"].read(f"clip-{next(ids):06d}")) for _ in range(rounds)]
    print(f"open {n:,} clips in {feature.n_blocks} blocks and read one: {1e3 * statistics.median(times):.1f} ms")


def compare_files(folder: Path, dtype: str, clips: dict[str, np.ndarray], rounds: int) -> None:
    """Write and read whole clips, against one flat file."""
    ids, n = list(clips), len(clips)
    shuffled = np.random.default_rng(1).permutation(ids).tolist()
    flat, path = Flat(folder / f"flat.{dtype}", clips, np.dtype(dtype).type), folder / "features.zarr"
    write, unsynced = partial(write_store, path, dtype, clips), partial(flat.write, sync=False)
    compare(f"{dtype}: write", rounds, write, flat.write, n, "memmap, synced")
    compare(f"{dtype}: write, not synced", rounds, write, unsynced, n, "memmap, page cache only")
    flat.open()
    feature = FeatureStore.open(path)[dtype]
    what, peer = ("values", flat.value) if dtype == "int16" else ("views", flat.view)
    first = partial(first_pass, path, dtype, ids)
    compare(f"{dtype}: first pass, with checksums", rounds, first, each(peer, ids), n, f"memmap, {what}")
    for order, sequence in (("sequential", ids), ("random", shuffled)):
        own, other = each(feature.read, sequence), each(peer, sequence)
        compare(f"{dtype}: {order} {what}", rounds, own, other, n, f"memmap, {what}")
    own, other = (each(lambda i, read=read: read(i).sum(), shuffled) for read in (feature.read, peer))
    compare(f"{dtype}: random values, summed", rounds, own, other, n, "memmap, values summed")
    own, other = each(feature.read, shuffled[:40]), each(zarr_reader(path / dtype), shuffled[:40])
    compare(f"{dtype}: random {what}", rounds, own, other, 40, "zarr's reader, stored values")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--folder", type=Path, help="where to write (a temporary folder)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    clips = make_clips(arguments.clips)
    n, rounds = len(clips), arguments.rounds
    print(f"{n} clips, {sum(c.size for c in clips.values()) * 2 / 1e6:.1f} MB as int16; medians of {rounds} rounds")
    print(f"{'':44} {'store, /s':>12} {'peer, /s':>12} {'ratio':>8}  peer")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        for dtype in ("int16", "float32"):
            compare_files(folder, dtype, clips, rounds)
        compare_batches(folder, n, rounds)
        time_opening(folder / "many.zarr", 40_000, rounds)


if __name__ == "__main__":
    main()
