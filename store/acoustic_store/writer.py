"""Write one feature: find the clips that are missing, and divide them into blocks."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from types import MappingProxyType, TracebackType
from typing import Any, Self

from .block import Block
from .errors import DamagedError, StoreError
from .files import Files, Lock
from .layout import METADATA, STORAGE, key_document, parse_key_document
from .stored_block import StoredBlock, stored_blocks

Clip = tuple[str, str]  # id and fingerprint


@dataclass
class _Built:
    """The content of a feature when a build is planned."""

    numbers: set[int] = field(default_factory=set)  # of whole blocks
    damaged: set[int] = field(default_factory=set)  # numbers of the others
    versions: dict[str, tuple[str, str]] = field(default_factory=dict)  # of the clips, and failures, that are held
    newest: dict[str, int] = field(default_factory=dict)  # id → the highest whole block with the clip


class Writer:
    """The one writer of a feature; made by ``FeatureStore.writer`` and used as a context manager.

    >>> with store.writer("stats-1a2b3c4d", "float32", parameters) as writer:
    ...     for block in writer.plan([("clip-1", "9f3c"), ("clip-2", "77aa")]):
    ...         block.write(compute(clip_id) for clip_id, _ in block.clips)

    Entering raises LockedError if another process is writing the feature, and StoreError if the feature on disk has
    another dtype or other attributes.
    """

    def __init__(self, files: Files, dtype: str, attributes: dict[str, Any]) -> None:
        if dtype not in STORAGE:
            raise ValueError(f"dtype must be one of {', '.join(STORAGE)}, not {dtype!r}")
        self._files, self._dtype = files, dtype
        self._attributes = json.loads(json.dumps(attributes, allow_nan=False))
        self._lock: Lock | None = None

    def __enter__(self) -> Self:
        self._lock = self._files.lock()
        try:
            self._write_or_check_metadata()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    @property
    def token(self) -> str:
        """The token of this writer's lock. Raises StoreError outside of the ``with`` statement."""
        if self._lock is None:
            raise StoreError(f"{self._files.name}: a plan needs the lock; use the writer in a `with` statement.")
        return self._lock.token

    def plan(
        self,
        clips: Sequence[tuple[str, str]],
        rebuild: Collection[str] = (),
        block_size: int = 64,
        states: Mapping[str, str] = MappingProxyType({}),
        groups: Mapping[str, str] = MappingProxyType({}),
    ) -> list[Block]:
        """Return the missing clips, in blocks of ``block_size``.

        Blocks can be written in any order and by any processes; each must be written by one. If a killed build is
        planned again with the same arguments, its missing blocks get the same numbers. A damaged block counts as
        missing; the block that takes its number replaces it.

        Parameters
        ----------
        clips
            Pairs of id and fingerprint, in the order in which they are to be stored. Clips that are stored, or have
            failed, with the same fingerprint and state are skipped.
        rebuild
            Ids of clips to build even if they are stored.
        block_size
            Clips per block; the last one has the rest.
        states
            Id → state of a clip, a note of the caller beside its fingerprint; clips without one can be left out. See
            ``StoredFeature.state``.
        groups
            Id → name of a group of adjacent clips that are read together, such as the parts of one file. A group of up
            to ``block_size`` clips is not divided, so blocks may have fewer, and a block has adjacent clips only.

        Raises
        ------
        StoreError
            Outside of the ``with`` statement, and if a block cannot be read.
        ValueError
            If two clips have the same id, or ``block_size`` is below 1.

        """
        token = self.token
        if block_size < 1:
            raise ValueError(f"block_size must be at least 1, not {block_size}")
        if len({clip_id for clip_id, _ in clips}) < len(clips):
            raise ValueError("two clips have the same id")
        built = self._survey()
        again = set(rebuild)

        def is_missing(clip: Clip) -> bool:
            return clip[0] in again or built.versions.get(clip[0]) != (clip[1], states.get(clip[0], ""))

        blocks = []
        for group in _divided(clips, is_missing, block_size, groups):
            # The first free number fills the gaps of a resumed build; it must be above every superseded block.
            number = 1 + max(built.newest.get(clip_id, -1) for clip_id, _ in group)
            while number in built.numbers:
                number += 1
            built.numbers.add(number)
            noted = tuple((clip_id, states[clip_id]) for clip_id, _ in group if states.get(clip_id))
            blocks.append(Block(self._files, number, self._dtype, group, token, number in built.damaged, noted))
        return blocks

    def _survey(self) -> _Built:
        built = _Built()
        blocks = stored_blocks(self._files, self._dtype)
        for block, is_whole in zip(blocks, self._files.each(StoredBlock.is_whole, blocks), strict=True):
            if is_whole:
                versions = block.index.versions
                built.numbers.add(block.number)
                built.versions |= versions
                built.newest |= dict.fromkeys(versions, block.number)
            else:
                built.damaged.add(block.number)
                for clip_id in block.ids():  # earlier versions of these clips are out of date
                    built.versions.pop(clip_id, None)
        return built

    def _write_or_check_metadata(self) -> None:
        """Write the feature's zarr.json if it is new, half-written or damaged; otherwise compare it.

        Raises StoreError if it has another dtype or other attributes.
        """
        document = key_document(self._dtype, self._attributes)
        try:
            text = self._files.read(METADATA)
        except FileNotFoundError:
            text = b""
        if text == document:
            return
        try:
            dtype, attributes = parse_key_document(text, self._files / METADATA)
        except DamagedError:
            self._files.write(METADATA, document)
            return
        if (dtype, attributes) != (self._dtype, self._attributes):
            raise StoreError(
                f"{self._files / METADATA} was written with other attributes: {dtype} {attributes} instead of "
                f"{self._dtype} {self._attributes}. Use another key, or delete this one."
            )


def _divided(
    clips: Sequence[Clip], is_missing: Callable[[Clip], bool], size: int, groups: Mapping[str, str]
) -> list[tuple[Clip, ...]]:
    """Return the missing clips of each block.

    With groups, where a block ends depends only on the clips from its beginning on, so that a resumed build has the
    blocks of an uninterrupted one.
    """
    if not groups:
        missing = [clip for clip in clips if is_missing(clip)]
        return [tuple(missing[start : start + size]) for start in range(0, len(missing), size)]
    blocks: list[list[Clip]] = [[]]
    for (to_build, _), found in groupby(clips, lambda clip: (is_missing(clip), groups.get(clip[0], clip[0]))):
        group = list(found)
        if not to_build or len(blocks[-1]) + len(group) > size:
            blocks.append([])
        if to_build:
            parts = [group[start : start + size] for start in range(0, len(group), size)]
            blocks[-1] += parts[0]
            blocks += parts[1:]
    return [tuple(block) for block in blocks if block]
