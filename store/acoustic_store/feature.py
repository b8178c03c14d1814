"""Read one feature."""

import json
import math
import resource
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from .block import Failure
from .errors import DamagedError, StoreError
from .files import Files
from .layout import ABSENT, METADATA, parse_key_document
from .stored_block import StoredBlock, stored_blocks

T = TypeVar("T")


@dataclass
class _Contents:
    """The block of every clip, once later rows have superseded earlier ones."""

    held: dict[str, StoredBlock] = field(default_factory=dict)
    failed: dict[str, StoredBlock] = field(default_factory=dict)
    lost: dict[str, StoredBlock] = field(default_factory=dict)  # clips of blocks whose index is damaged
    damaged: list[StoredBlock] = field(default_factory=list)  # those blocks

    def add(self, block: StoredBlock) -> None:
        try:
            self._move(self.held, block.index.rows, block)
            self._move(self.failed, block.index.failures, block)
        except DamagedError:
            self.damaged.append(block)
            self._move(self.lost, block.ids(), block)

    def _move(self, table: dict[str, StoredBlock], ids: Collection[str], block: StoredBlock) -> None:
        for other in (self.held, self.failed, self.lost):
            if other is not table and other and ids:
                for clip_id in other.keys() & set(ids):
                    del other[clip_id]
        table.update(dict.fromkeys(ids, block))


class StoredFeature:
    """The clips of one feature: a snapshot of the blocks that were committed when it was opened.

    Clips are read lazily, block by block, and their checksum is compared the first time this object reads them. If a
    block has been removed or replaced in the meantime (compacted, built again), the feature is opened again.
    Can be pickled; a worker process then opens the same feature itself.

    Raises (all methods that take a clip id)
    ----------------------------------------
    KeyError
        If the clip is missing; the text says so if it could not be built.
    DamagedError
        If the clip differs from what was written.
    StoreError
        If the file cannot be read.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self.key = files.name
        try:
            text = files.read(METADATA)
        except ABSENT as error:
            raise StoreError(f"{files / METADATA} cannot be read: {error.strerror or error}.") from error
        self.dtype, self.attributes = parse_key_document(text, files / METADATA)
        # A map holds a file descriptor. An eighth of the limit leaves some for other features and files.
        self._max_mapped = max(8, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8)
        self._take_snapshot()

    def _take_snapshot(self) -> None:
        self._blocks = stored_blocks(self._files, self.dtype)
        self._mapped: deque[StoredBlock] = deque()
        self._is_first_look = True
        self.__dict__.pop("_contents", None)

    def __reduce__(self) -> tuple:
        return StoredFeature, (self._files,)

    def __repr__(self) -> str:
        return f"<StoredFeature {self.key}: {len(self)} clips as {self.dtype}>"

    @cached_property
    def _contents(self) -> _Contents:
        contents = _Contents()
        for block in self._blocks:
            contents.add(block)
        return contents

    @property
    def ids(self) -> list[str]:
        """The clips that can be read, in the order in which they were first stored."""
        return list(self._contents.held)

    @property
    def failures(self) -> dict[str, Failure]:
        """The clips that could not be built, with the reason."""
        return {clip_id: Failure(block.index.failures[clip_id]) for clip_id, block in self._contents.failed.items()}

    @property
    def n_blocks(self) -> int:
        """Number of blocks on disk."""
        return len(self._blocks)

    @property
    def n_bytes(self) -> int:
        """Bytes on disk of samples and indexes, superseded clips included."""
        return self._files.n_bytes(block.number for block in self._blocks)

    def blocks(self) -> list[tuple[StoredBlock, list[str]]]:
        """Return the blocks, oldest first, each with those of its clips and failures that no later block supersedes.

        Raises DamagedError if an index differs from what was written.
        """
        current = self._contents.held | self._contents.failed
        return [
            (
                block,
                [clip_id for clip_id in (*block.index.rows, *block.index.failures) if current.get(clip_id) is block],
            )
            for block in self._blocks
        ]

    def __len__(self) -> int:
        return len(self._contents.held)

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._contents.held

    def fingerprint(self, clip_id: str) -> str:
        """Return the fingerprint of the source that the clip (or its failure) was built from."""
        return self._version(clip_id)[0]

    def state(self, clip_id: str) -> str:
        """Return the state of the clip (or its failure) that its build was planned with; empty if none was given."""
        return self._version(clip_id)[1]

    def _version(self, clip_id: str) -> tuple[str, str]:
        failed = self._contents.failed.get(clip_id)
        return (failed or self._locate(clip_id)).index.versions[clip_id]

    def shape(self, clip_id: str) -> tuple[int, ...]:
        """Return the shape of the clip's array."""
        index = self._locate(clip_id).index
        return tuple(index.shapes[index.rows[clip_id]])

    def read(self, clip_id: str) -> np.ndarray:
        """Return the clip's array, float32.

        Of a feature stored as float32 this is a read-only view of the file, which it keeps open. One stored as int16 is
        converted into a new array.
        """
        values, scale = self.stored(clip_id)
        if scale is None:
            return values
        wave = values.astype(np.float32)
        return np.multiply(wave, scale, out=wave)

    def read_many(self, ids: Iterable[str]) -> list[np.ndarray]:
        """Return the arrays of clips of any shapes, as ``read`` does; from object storage, several at a time."""
        return self._files.each(self.read, ids)

    def stored(self, clip_id: str) -> tuple[np.ndarray, np.float32 | None]:
        """Return the clip as it is stored, for a caller that converts a part of it into an array of its own.

        Returns
        -------
        values
            float32, or int16; a read-only view of the file, which it keeps open.
        scale
            Factor of int16 values; None for float32.

        """
        return self._stored(self._locate(clip_id), clip_id)

    def stack(self, ids: Iterable[str] | None = None) -> np.ndarray:
        """Return clips as one new array, float32 [n, *shape]; by default all, in the order of ``StoredFeature.ids``.

        A block of which most is needed is read at once; from object storage, several blocks at a time.

        Raises ValueError if there are no clips or their shapes differ.
        """
        ids = self.ids if ids is None else list(ids)
        if not ids:
            raise ValueError("no clips to stack")
        shape = self.shape(ids[0])
        for clip_id in ids:
            if self.shape(clip_id) != shape:
                odd = f"{ids[0]!r} has {shape}, {clip_id!r} has {self.shape(clip_id)}"
                raise ValueError(f"clips of {self.key} differ in shape: {odd}")
        rows = _grouped((self._locate(clip_id), row) for row, clip_id in enumerate(ids))
        stacked = np.empty((len(ids), *shape), np.float32)

        def fill(block: StoredBlock) -> None:
            is_most = 2 * len(rows[block]) * math.prod(shape) >= block.index.length
            samples = self._whole(block, ids[rows[block][0]]) if is_most else None
            for row in rows[block]:
                values, scale = self._stored(block, ids[row], samples)
                stacked[row] = values
                if scale is not None:
                    stacked[row] *= scale  # in the cache; takes half as long as one product of mixed types

        self._files.each(fill, rows)
        return stacked

    def verify(self, progress: Callable[[int, int], None] | None = None) -> list[str]:
        """Read everything and compare every checksum.

        Parameters
        ----------
        progress
            Called with the number of clips done and of all clips.

        Returns
        -------
        list of str
            The damaged clips; pass them to ``Writer.plan`` as ``rebuild``.

        Raises
        ------
        DamagedError
            If an index is so damaged that the clips of its block cannot be named. Its ``ids`` are those that can. The
            next build finds the others missing.

        """
        contents, count = self._contents, 0
        damaged, n_clips = list(contents.lost), len(contents.held)
        for block, ids in _grouped((block, clip_id) for clip_id, block in contents.held.items()).items():
            block.checked.difference_update(ids)
            samples = self._whole(block, ids[0])
            for clip_id in ids:
                try:
                    self._stored(block, clip_id, samples)
                except DamagedError:
                    damaged.append(clip_id)
                count += 1
                if progress:
                    progress(count, n_clips)
        for block in contents.damaged:
            if not block.ids():
                raise block.damage(f"{block.place}/{METADATA}", "its index cannot be read at all", damaged)
        return damaged

    def _locate(self, clip_id: str) -> StoredBlock:
        if self._is_first_look and (block := self._search(clip_id)):
            return block
        contents = self._contents
        if block := contents.held.get(clip_id):
            return block
        if block := contents.lost.get(clip_id):
            raise block.damage(f"{block.place}/{METADATA}", "its index cannot be trusted", [clip_id])
        if block := contents.failed.get(clip_id):
            raise KeyError(f"clip {clip_id!r} of {self.key} could not be built: {block.index.failures[clip_id]}")
        if contents.damaged:
            block = contents.damaged[0]
            raise block.damage(f"{block.place}/{METADATA}", "its index cannot be read", [clip_id])
        raise KeyError(f"{self.key} has no clip {clip_id!r} among its {len(self)}; build it first")

    def _search(self, clip_id: str) -> StoredBlock | None:
        """Find the first clip without parsing every index: 1 ms instead of 0.1 s for 600 blocks."""
        self._is_first_look = False
        token = json.dumps(clip_id).encode()
        for block in reversed(self._blocks):
            if token in block.text:
                with suppress(DamagedError):
                    return block if clip_id in block.index.rows else None
                return None
        return None

    def _stored(
        self, block: StoredBlock, clip_id: str, samples: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.float32 | None]:
        """Return a clip of a block; from ``samples`` if the whole block has been read."""
        try:
            return block.stored(clip_id, self._samples(block, clip_id) if samples is None else samples)
        except DamagedError:
            if not block.is_outdated():
                raise
        self._take_snapshot()
        block = self._locate(clip_id)
        return block.stored(clip_id, self._samples(block, clip_id))

    def _whole(self, block: StoredBlock, clip_id: str) -> np.ndarray | None:
        """Return the samples of a block: a view, or read at once. None if that fails; reading a clip says why."""
        with suppress(Exception):
            return np.asarray(self._samples(block, clip_id)[:])
        return None

    def _samples(self, block: StoredBlock, clip_id: str) -> Any:
        samples = block.samples
        if samples is None:
            if len(self._mapped) >= self._max_mapped:
                self._mapped.popleft().samples = None  # closed once no view of it is left
            try:
                samples = block.samples = block.open_samples()
            except Exception as error:  # zarr and numpy raise many kinds for hostile files
                raise block.read_error(error, clip_id) from error
            self._mapped.append(block)
        return samples


def _grouped(pairs: Iterable[tuple[StoredBlock, T]]) -> dict[StoredBlock, list[T]]:
    groups: dict[StoredBlock, list[T]] = {}
    for block, item in pairs:
        groups.setdefault(block, []).append(item)
    return groups
