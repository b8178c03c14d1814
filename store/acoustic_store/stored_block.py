"""Read one block."""

import math
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from typing import Any

import google_crc32c
import numpy as np

from .errors import DamagedError, StoreError
from .files import Files
from .layout import ABSENT, CHUNK, METADATA, STORAGE, BlockIndex, block_name, ids_mentioned, parse_block_document


class StoredBlock:
    """A committed block: its index, parsed when first needed, and its samples, opened when first needed."""

    def __init__(self, files: Files, number: int, text: bytes, dtype: str) -> None:
        self.files, self.number, self.text, self.dtype = files, number, text, dtype
        self.samples: Any = None  # [length]: mapped, or read slice by slice; see StoredFeature._samples
        self.checked: set[str] = set()  # clips whose checksum was right in this process

    @property
    def place(self) -> str:
        """Its folder, for messages."""
        return f"{self.files}/{block_name(self.number)}"

    @cached_property
    def index(self) -> BlockIndex:
        """The parsed index. Raises DamagedError if it differs from what was written."""
        try:
            if not self.text:
                raise ValueError("it is missing or empty")
            return parse_block_document(self.text, self.dtype)
        except ValueError as error:
            raise self.damage(f"{self.place}/{METADATA}", str(error), ids_mentioned(self.text)) from error

    def damage(self, place: str, problem: str, ids: Iterable[str]) -> DamagedError:
        """Return the error that names the clips, the file, and what to do."""
        ids = list(ids)
        named = ", ".join(map(repr, ids[:3])) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
        return DamagedError(
            f"{place} is damaged: {problem}. Damaged clips: {named or 'those of this block'}. "
            f"Build the feature {self.files.name} again with these clips in `rebuild`.",
            ids,
        )

    def read_error(self, error: Exception, clip_id: str) -> StoreError:
        """Return what to raise if a clip could not be read: damage, or an error of the machine."""
        if isinstance(error, StoreError):
            return error
        if isinstance(error, OSError) and not isinstance(error, ABSENT):
            return StoreError(f"{self.samples_place} cannot be read: {error.strerror or error}.")
        return self.damage(self.samples_place, f"it cannot be read ({type(error).__name__}: {error})", [clip_id])

    @property
    def samples_place(self) -> str:
        """The file of the samples; the block's folder if another tool has rewritten it."""
        return f"{self.place}/{CHUNK}" if self.index.is_mappable else self.place

    def ids(self) -> list[str]:
        """Return all clips and failures of the block; those that can be recovered if the index is damaged."""
        with suppress(DamagedError):
            return [*self.index.rows, *self.index.failures]
        return ids_mentioned(self.text)

    def is_whole(self) -> bool:
        """Return whether the index is sound and the samples can be opened. Their content is checked when it is read."""
        try:
            self.open_samples()
            return not self.index.is_mappable or self._chunk_size() == self.index.length * self._storage.itemsize
        except (DamagedError, *ABSENT):
            return False
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(f"{self.place} cannot be read: {error.strerror or error}.") from error
        except Exception:  # zarr raises many kinds for documents that it cannot parse
            return False

    def _chunk_size(self) -> int:
        return (self.files / block_name(self.number)).size(CHUNK)

    @property
    def _storage(self) -> np.dtype:
        return np.dtype(STORAGE[self.dtype])

    def open_samples(self) -> Any:
        """Return the chunk, to be sliced; through zarr if another tool has rewritten the block in its own layout."""
        if not self.index.is_mappable:
            return self.files.zarr_array(self.number)
        return self.files.samples(self.number, self.index.length, self._storage)

    def stored(self, clip_id: str, samples: Any) -> tuple[np.ndarray, np.float32 | None]:
        """Return the stored values [shape] of a clip from the block's samples, and their scale; checked the first time.

        Raises DamagedError if they differ from what was written, StoreError if they cannot be read.
        """
        index = self.index
        row = index.rows[clip_id]
        shape, start = index.shapes[row], index.offsets[row]
        try:
            values = samples[start : start + math.prod(shape)].reshape(shape)
        except Exception as error:  # zarr and numpy raise many kinds for hostile files
            raise self.read_error(error, clip_id) from error
        if clip_id not in self.checked:
            if google_crc32c.value(np.ascontiguousarray(values).reshape(-1)) != index.checksums[row]:
                raise self.damage(self.samples_place, "the checksum of the clip is wrong", [clip_id])
            self.checked.add(clip_id)
        return values, None if index.scales is None else np.float32(index.scales[row])

    def is_outdated(self) -> bool:
        """Return whether it has been removed or replaced since it was opened."""
        return self.files.index(self.number) != self.text


def stored_blocks(files: Files, dtype: str) -> list[StoredBlock]:
    """Return the blocks of one feature as they are now, oldest first."""
    return [StoredBlock(files, number, text, dtype) for number, text in files.indexes().items()]
