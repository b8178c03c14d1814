"""Reader of clips into batches: from memory if the feature fits, else directly from the mapped store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numba
import numpy as np
import torch

if TYPE_CHECKING:
    from acoustic_store import StoredFeature

RESIDENT_BYTES = 2**31  # a feature up to this size is kept in memory on a CPU
RESIDENT_SHARE = 0.5  # fraction of a GPU's free memory that a feature may take
READ_AT_ONCE = 64  # clips


class ClipReader:
    """Arrays of some clips, each (…, frames), which differ only in the number of frames.

    A feature that fits is read once and stays on the device. Of a larger one, the frames that a batch needs are
    converted directly from the mapped store. The values are the same.
    """

    def __init__(self, stored: StoredFeature, ids: Sequence[str], device: torch.device) -> None:
        self.device, self._stored, self._ids = device, stored, ids
        shapes = [stored.shape(id) for id in ids]
        self.lengths = np.array([shape[-1] for shape in shapes])
        self.shape = shapes[0][:-1]  # of a frame
        n_bytes = sum(4 * int(np.prod(shape)) for shape in shapes)
        self.is_resident = n_bytes <= _memory_for_features(device)

    def cut(
        self, chosen: np.ndarray, frames: int, first: np.ndarray, pad: float | Literal["wrap", "symmetric"]
    ) -> torch.Tensor:
        """Return some clips at one length: float32 (clips, …, frames), on the device.

        Parameters
        ----------
        chosen : int (clips,), positions in `ids`
        frames : the length of the result
        first : int (clips,), first frame of the clip in the result; negative if the clip begins later
        pad : values beyond a clip's ends: a number; `wrap` repeats the clip from its start, `symmetric` mirrors it at
            both ends, repeatedly if needed

        """
        if self.is_resident and self._stacked is not None and frames == self._stacked.shape[-1] and not first.any():
            return self._stacked[torch.from_numpy(chosen).to(self.device, non_blocking=True)]
        shape = (len(chosen), *self.shape, frames)
        pinned = not self.is_resident and self.device.type == "cuda"  # to copy while the GPU computes
        out = torch.empty(shape, device=self.device) if self.is_resident else torch.empty(shape, pin_memory=pinned)
        for row, clip, start in zip(out, chosen, first, strict=True):
            length = int(self.lengths[clip])
            if pad == "wrap":
                for at in range(0, frames, length) if length < frames else [0]:
                    self._put(row, clip, max(0, int(start)), at)
                continue
            before = max(0, -int(start))
            if length < frames and pad != "symmetric":
                row.fill_(float(pad))
            self._put(row, clip, max(0, int(start)), before)
            if length < frames and pad == "symmetric":
                row[:] = row[..., _mirrored(frames, length, before, row.device)]
        return out.to(self.device, non_blocking=True)

    def read(self, clip: int) -> np.ndarray:
        """Return a whole clip, from the store: float32 (…, frames)."""
        return self._stored.read(self._ids[clip])

    def _put(self, row: torch.Tensor, clip: int, first: int, at: int) -> None:
        """Copy frames `first`, … of a clip to frames `at`, … of a row of the batch, until one of the two ends."""
        length, frames = int(self.lengths[clip]), row.shape[-1]
        if self.is_resident:
            n = min(length - first, frames - at)
            row[..., at : at + n] = self._resident[clip][..., first : first + n]
            return
        values, scale = self._stored.stored(self._ids[clip])
        scale = np.float32(1) if scale is None else scale
        place(values.reshape(-1), length, first, scale, row.numpy().reshape(-1), frames, at)

    @cached_property
    def _stacked(self) -> torch.Tensor | None:
        """All clips as one array if they have one length, else None."""
        if len(set(self.lengths)) > 1:
            return None
        out = torch.empty((len(self._ids), *self.shape, int(self.lengths[0])), device=self.device)
        for start, x in self._read():
            out[start : start + len(x)] = torch.from_numpy(np.stack(x)).to(self.device)
        return out

    @cached_property
    def _resident(self) -> list[torch.Tensor]:
        if self._stacked is not None:
            return list(self._stacked)
        return [torch.tensor(x, device=self.device) for _, clips in self._read() for x in clips]

    def _read(self) -> Iterator[tuple[int, list[np.ndarray]]]:
        for start in range(0, len(self._ids), READ_AT_ONCE):
            yield start, self._stored.read_many(self._ids[start : start + READ_AT_ONCE])


def _mirrored(frames: int, length: int, before: int, device: torch.device) -> torch.Tensor:
    """Return for each frame of a row, in which the clip begins at `before`, the frame of the row that it mirrors."""
    place = (torch.arange(frames, device=device) - before) % (2 * length)
    return before + torch.where(place < length, place, 2 * length - 1 - place)


def _memory_for_features(device: torch.device) -> float:
    if device.type == "cuda":
        return RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
    return RESIDENT_BYTES


@numba.njit(cache=True, nogil=True)
def place(
    values: np.ndarray, length: int, first: int, scale: np.float32, out: np.ndarray, frames: int, at: int
) -> None:
    """Copy frames ``first``, ``first + 1``, … of a clip, times ``scale``, into frames ``at``, … of ``out``, to its end.

    Both are flat: equally many rows, of ``length`` and of ``frames`` frames. ``values`` are int16 or
    float32, ``out`` is float32. If the clip ends before ``out`` does, the rest of ``out`` is unchanged.
    """
    n = min(length - first, frames - at)
    for row in range(out.size // frames):
        start, to = row * length + first, row * frames + at
        source, target = values[start : start + n], out[to : to + n]  # plain indices into slices vectorise
        for i in range(n):
            target[i] = np.float32(source[i]) * scale
