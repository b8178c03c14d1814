"""Write one block of clips. A block is all that a worker process needs."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import google_crc32c
import numpy as np

from .errors import StoreError
from .files import Draft, Files
from .layout import STORAGE, block_document

_ENCODED = 1 << 18  # values rounded at once


@dataclass(frozen=True)
class Failure:
    """The reason why a clip has no array; it is recorded, and the clip is not tried again."""

    reason: str


@dataclass(frozen=True)
class Block:
    """Clips to be stored together; made by ``Writer.plan``, picklable, so that a worker process can write it.

    ``clips`` are pairs of id and fingerprint of the source, ``states`` pairs of id and state, for the clips that have
    one (see ``Writer.plan``).
    """

    files: Files  # of the feature
    number: int
    dtype: str
    clips: tuple[tuple[str, str], ...]
    token: str  # of the writer's lock: once another writer has taken over, the block cannot be written
    replaces: bool = False  # a damaged block of this number
    states: tuple[tuple[str, str], ...] = ()

    def open(self) -> "BlockWriter":
        """Return a writer that takes rows one by one, for a caller that fills blocks of several features at once.

        >>> with block.open() as writer:
        ...     for clip_id, _ in block.clips:
        ...         writer.add(compute(clip_id))
        """
        return BlockWriter(self)

    def write(self, rows: Iterable[np.ndarray | Failure]) -> None:
        """Store one row per clip, as ``BlockWriter`` does. Of a generator, one array is in memory at a time."""
        with self.open() as writer:
            for row in rows:
                writer.add(row)


class BlockWriter:
    """Takes the rows of a block, in the order of its clips; made by ``Block.open``, used as a context manager.

    The block is committed whole at the end of a ``with`` statement in which each clip was given its row. If the
    statement ends with an exception, nothing of it is kept.
    """

    def __init__(self, block: Block) -> None:
        self.block = block
        self._index = _IndexRows(block.dtype, dict(block.states))
        self._taken = 0
        self._draft: Draft | None = None

    def __enter__(self) -> Self:
        self._draft = self.block.files.draft(self.block.number, self.block.token)
        return self

    def add(self, row: np.ndarray | Failure) -> None:
        """Store the row of the next clip.

        Parameters
        ----------
        row
            An array of any shape (real numbers, finite; kept as float32, or as int16 with one scale per clip), or a
            ``Failure``.

        Raises
        ------
        ValueError
            If all clips have their row, or values are not finite real numbers. The clip then still lacks its row.
        StoreError
            If the disk is full or the block cannot be written for another reason; nothing stored before is touched.

        """
        clip_id, _ = self._next_clip()
        if isinstance(row, Failure):
            self.add_stored(row, None)
            return
        try:
            values, scale = encode(row, self.block.dtype)
        except ValueError as error:
            raise ValueError(f"clip {clip_id!r}: {error}") from error
        self.add_stored(values, scale)

    def add_stored(self, row: np.ndarray | Failure, scale: np.float32 | None) -> None:
        """Store the row of the next clip as ``StoredFeature.stored`` returns it, bit by bit.

        Raises ValueError if all clips have their row, StoreError outside of a ``with`` statement.
        """
        if self._draft is None:
            raise StoreError("A block can only take rows in a `with` statement: with block.open() as writer.")
        clip = self._next_clip()
        if isinstance(row, Failure):
            self._index.add_failure(clip, row)
        else:
            self._draft.write(row)
            self._index.add_clip(clip, row, scale)
        self._taken += 1

    def _next_clip(self) -> tuple[str, str]:
        clips = self.block.clips
        if self._taken == len(clips):
            raise ValueError(f"there are more rows than the {len(clips)} clips of the block")
        return clips[self._taken]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit the block. Raises ValueError if clips lack their row, StoreError if it cannot be written."""
        assert self._draft is not None
        try:
            if kind is None:
                self._commit(self._draft)
        finally:
            self._draft.discard()

    def _commit(self, draft: Draft) -> None:
        n_clips, index = len(self.block.clips), self._index
        if self._taken < n_clips:
            raise ValueError(f"{n_clips} clips need as many rows; there are only {self._taken}")
        clips, failures = (_without_empty_states(table) for table in (index.clips, index.failures))
        draft.commit(block_document(index.length, index.dtype, clips, failures), self.block.replaces)


@dataclass
class _IndexRows:
    """The index of the block being written."""

    dtype: str
    states: dict[str, str]
    length: int = 0
    clips: dict[str, list] = field(init=False)
    failures: dict[str, list] = field(init=False)

    def __post_init__(self) -> None:
        columns = ["id", "fingerprint", "shape", "offset", "crc32c"] + ["scale"] * (self.dtype == "int16")
        self.clips = {name: [] for name in [*columns, "state"]}
        self.failures = {name: [] for name in ("id", "fingerprint", "reason", "state")}

    def add_failure(self, clip: tuple[str, str], failure: Failure) -> None:
        self._append(self.failures, [*clip, str(failure.reason)])

    def add_clip(self, clip: tuple[str, str], values: np.ndarray, scale: np.float32 | None) -> None:
        row = [*clip, list(values.shape), self.length, int(google_crc32c.value(values.reshape(-1)))]
        if scale is not None:
            row.append(float(str(scale)))  # the shortest decimal that is this float32
        self._append(self.clips, row)
        self.length += values.size

    def _append(self, table: dict[str, list], row: list) -> None:
        for name, value in zip(table, [*row, self.states.get(row[0], "")], strict=True):
            table[name].append(value)


def _without_empty_states(table: dict[str, list]) -> dict[str, list]:
    """Return the columns; most blocks have no states, and are written as before there were any."""
    return table if any(table["state"]) else {name: column for name, column in table.items() if name != "state"}


def encode(row: np.ndarray, dtype: str) -> tuple[np.ndarray, np.float32 | None]:
    """Return the stored form of a clip: little-endian ``dtype`` in C order, and for int16 the float32 scale of a step.

    int16: ``scale = max|x| / 32767``, so that the error is at most ``scale / 2``, 96 dB below the clip's peak. The
    scale is at least the smallest normal float32: a silent clip has that scale, and peaks below 4e-34 lose resolution.

    Raises ValueError if values are not finite real numbers as float32, or an int16 peak is near the largest float32.
    """
    array = np.asarray(row)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"values must be real numbers, not {array.dtype}")
    with np.errstate(over="ignore"):
        values = np.asarray(array, dtype=STORAGE["float32"], order="C")
    peak = float(max(values.max(), -values.min())) if values.size else 0.0  # NaN if any value is NaN
    if not np.isfinite(peak):
        raise ValueError("values must be finite as float32; there is a NaN, an infinity or a number beyond 3.4e38")
    if dtype == "float32":
        return values, None
    scale = np.float32(max(peak / 32767, float(np.finfo(np.float32).tiny)))
    if peak and 32767.0 * float(scale) > float(np.finfo(np.float32).max):
        raise ValueError(f"a peak of {peak} is too large to be stored as int16")
    stored = np.empty(values.shape, STORAGE["int16"])
    flat, flat_stored = values.reshape(-1), stored.reshape(-1)
    for start in range(0, values.size, _ENCODED):  # to avoid a copy of a long clip
        part = slice(start, start + _ENCODED)
        flat_stored[part] = np.rint(flat[part] / scale)
    return stored, scale
