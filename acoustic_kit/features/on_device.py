"""Compute features on a GPU with torch: batches of clips, their transfer, and the limit of its memory.

Waves are transferred as they are stored, int16 with a scale, half the bytes of float32. Clips of a batch are padded to
the longest, and the padding's frames are cut off.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from acoustic_kit.dsp.sound_file import check_wave

if TYPE_CHECKING:
    from acoustic_kit.features.feature import Feature, StoredClip

CELLS = 2**26  # of the frames of a batch; with their spectra, less than a GB

Item = TypeVar("Item")
Found = TypeVar("Found")


def from_waves(
    feature: Feature,
    device: torch.device,
    waves: Sequence[StoredClip],
    compute: Callable[[Tensor, Tensor], Tensor],
    cells: Callable[[int], int],
    frames: Callable[[int], int],
) -> list[np.ndarray]:
    """Return a feature of some waves, computed on a device in batches of clips of similar length.

    Parameters
    ----------
    feature : computes on the CPU the clips that do not fit the GPU's memory
    waves : values (n,) and scale of each, as they are stored
    compute : of waves, float32 (clips, n), zeros after the end of the shorter ones, and of their lengths, int64
        (clips,), both on the device: float32 (clips, …, frames)
    cells : number of samples → cells of memory that a clip takes
    frames : number of samples → frames of the result that belong to the clip

    Returns
    -------
    For each clip its float32 (…, frames)

    Raises
    ------
    AkitError
        A wave is empty or not finite.

    """
    for values, _ in waves:
        if values.dtype != np.int16 or not values.size:
            check_wave(values)

    def computed(batch: Sequence[int]) -> list[np.ndarray]:
        with torch.no_grad():
            rows = compute(*_on(device, [waves[i] for i in batch])).cpu().numpy()
        own = [frames(len(waves[i][0])) for i in batch]
        return [np.ascontiguousarray(row[..., :n]) for row, n in zip(rows, own, strict=True)]

    found: dict[int, np.ndarray] = {}
    for batch in _of_similar_length([cells(len(values)) for values, _ in waves]):
        rows = as_fits(computed, batch, lambda i: feature.compute(as_float(waves[i])))
        found.update(zip(batch, rows, strict=True))
    return [found[i] for i in range(len(waves))]


def as_fits(
    compute: Callable[[Sequence[Item]], list[Found]], items: Sequence[Item], on_cpu: Callable[[Item], Found]
) -> list[Found]:
    """Return `compute` of the items: of all at once, or by halves if they do not fit the GPU's memory."""
    try:
        return compute(items)
    except torch.OutOfMemoryError:
        pass  # the memory of the failed attempt is freed after this block
    torch.cuda.empty_cache()
    if len(items) == 1:
        warnings.warn("A clip that does not fit the GPU's memory is computed on the CPU.", stacklevel=2)
        return [on_cpu(items[0])]
    half = len(items) // 2
    return as_fits(compute, items[:half], on_cpu) + as_fits(compute, items[half:], on_cpu)


def as_float(clip: StoredClip) -> np.ndarray:
    """Return a stored clip as float32, as ``StoredFeature.read`` does."""
    values, scale = clip
    return values if scale is None else values.astype(np.float32) * scale


def _of_similar_length(cells: Sequence[int]) -> list[list[int]]:
    """Return positions in batches of at most CELLS, padding included, shortest clips first; a longer clip is alone."""
    batches: list[list[int]] = []
    for i in sorted(range(len(cells)), key=cells.__getitem__):
        if not batches or cells[i] * (len(batches[-1]) + 1) > CELLS:
            batches.append([])
        batches[-1].append(i)
    return batches


def _on(device: torch.device, waves: Sequence[StoredClip]) -> tuple[Tensor, Tensor]:
    """Return waves as float32 (clips, longest), and their lengths: int64 (clips,)."""
    lengths = [len(values) for values, _ in waves]
    dtype = torch.int16 if waves[0][0].dtype == np.int16 else torch.float32
    pinned = device.type == "cuda"
    host = torch.empty((len(waves), max(lengths)), dtype=dtype, pin_memory=pinned)
    for row, (values, _) in zip(host.numpy(), waves, strict=True):
        row[: len(values)], row[len(values) :] = values, 0
    scales = torch.tensor([1.0 if scale is None else float(scale) for _, scale in waves], pin_memory=pinned)
    sent = [x.to(device, non_blocking=True) for x in (host, scales, torch.tensor(lengths, pin_memory=pinned))]
    return sent[0].float() * sent[1][:, None], sent[2]
