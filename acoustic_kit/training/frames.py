"""Prediction of windows of recordings from frame-wise outputs, averaged over inputs that overlap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from acoustic_kit.data.clips import Clips, slices_by_file
from acoustic_kit.nn.frame_attention import FrameNet, FrameOutput
from acoustic_kit.training.batches import Batches, Loader
from acoustic_kit.training.crops import Crops
from acoustic_kit.training.evaluation import View, forward, to_probabilities
from acoustic_kit.training.fabric import make_fabric

AT_ONCE = 1024  # windows whose frames are in memory at once
TOLERANCE = 0.01  # relative difference in length between a window and the input of the network


def forward_frames(
    net: FrameNet, clips: Clips, batches: Batches, n_inputs: int, views: Sequence[View] = (lambda x: x,)
) -> np.ndarray:
    """Return class probabilities, those of windows of recordings from overlapping inputs: float64 (clips, classes).

    The first input of a window is the window itself. Each other one begins later by a further 1 / `n_inputs` of its
    length, and ends in the window that follows. In each frame, the outputs of all inputs that contain it are averaged;
    the frames of a window are then pooled as those of one input are. All other clips, such as whole files and windows
    of another length than the input, are predicted by `forward`.

    With several processes, each computes the probabilities of all windows.

    Parameters
    ----------
    batches : their `frames` is a number, the length of the input
    n_inputs : inputs that begin in a window, at least 1
    views : see `forward`

    """
    found = np.empty((len(clips), len(clips.classes)))
    are_windows = _are_windows(clips, batches)
    if not are_windows.all():
        others = replace(clips, rows=clips.rows.filter(~are_windows))
        found[~are_windows] = forward(net, others, batches, views)
    positions = np.flatnonzero(are_windows)
    for part in slices_by_file(clips.rows["path"].gather(positions).to_list(), AT_ONCE):
        some = replace(clips, rows=clips.rows[positions[part]])
        logits = _averaged_frames(net.eval(), some, batches, n_inputs).pooled(net.clip_output)
        found[positions[part]] = to_probabilities(logits, clips.task).double().numpy()
    return found


def _are_windows(clips: Clips, batches: Batches) -> np.ndarray:
    """Return which clips are parts of files as long as the input: bool (clips,)."""
    assert isinstance(batches.frames, int)
    stored = clips.features[batches.feature]
    length = np.array([stored.shape(id)[-1] for id in clips.ids])
    is_part = (clips.rows["start"].is_not_null() & clips.rows["end"].is_not_null()).to_numpy()
    found: np.ndarray = is_part & (abs(length / batches.frames - 1) <= TOLERANCE)
    return found


@torch.no_grad()
def _averaged_frames(net: FrameNet, clips: Clips, batches: Batches, n_inputs: int) -> FrameOutput:
    """Return the outputs of the frames of windows, averaged over inputs, on the CPU."""
    loader, fabric = batches.open(clips, next(net.parameters()).device), make_fabric(clips.compute)

    def outputs(inputs: Iterator[Tensor]) -> Tensor:
        """Return logits and attention: float32 (2, windows, frames, classes)."""
        with fabric.autocast():
            return torch.cat([torch.stack(net.frame_output(x)).float().cpu() for x in inputs], dim=1)

    total = outputs(_inputs(loader, np.arange(len(clips))))
    n_frames = total.shape[2]
    count = torch.ones(1, len(clips), n_frames, 1)
    first, second = _neighbors(clips)
    shifts = {round(number / n_inputs * n_frames) for number in range(1, n_inputs)} - {0, n_frames}
    for shift in sorted(shifts) if len(first) else ():
        found, own = outputs(_inputs(loader, first, second, shift / n_frames)), n_frames - shift
        total[:, first, shift:] += found[:, :, :own]
        total[:, second, :shift] += found[:, :, own:]
        count[:, first, shift:] += 1
        count[:, second, :shift] += 1
    return FrameOutput(*(total / count))


def _inputs(
    loader: Loader, first: np.ndarray, second: np.ndarray | None = None, place: float = 0.0
) -> Iterator[Tensor]:
    """Yield batches of windows, or of inputs from `place`, 0 to 1, of the first window to as far in the second."""
    starts = loader.in_order(Crops(first, np.zeros_like(first)))
    if second is None:
        yield from (x for x, *_ in starts)
        return
    for (x, *_), (following, *_) in zip(starts, loader.in_order(Crops(second, np.zeros_like(second))), strict=True):
        begin = round(place * x.shape[-1])
        yield torch.cat([x[..., begin:], following[..., :begin]], dim=-1)


def _neighbors(windows: Clips) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of windows that follow each other in a recording: int64 (pairs,) each.

    The second one of a pair begins where the first one ends.
    """
    rows = windows.rows
    spans = list(zip(rows["path"], (rows["start"] * 1000).round(), (rows["end"] * 1000).round(), strict=True))  # ms
    window_at = {(path, start): i for i, (path, start, _) in enumerate(spans)}
    pairs = [(i, window_at[path, end]) for i, (path, _, end) in enumerate(spans) if (path, end) in window_at]
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    return first, second
