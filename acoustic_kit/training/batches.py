"""Batches of a feature, shuffled, mixed and augmented, on the device that trains.

There are no worker processes: copying arrays between them costs more than reading them. If a feature does not fit into
memory, one thread prepares the next batch during a training step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from acoustic_kit.data.clips import Clips
from acoustic_kit.data.targets import loss_targets
from acoustic_kit.task import Task
from acoustic_kit.training.augment import Augment
from acoustic_kit.training.batch import Batch, BatchAugment, BatchRng
from acoustic_kit.training.clip_reader import ClipReader
from acoustic_kit.training.clip_rng import ClipRng, digests
from acoustic_kit.training.crops import (
    LONG,
    MOST,
    Crops,
    FramePower,
    Window,
    halved_inputs,
    loudest_crop,
    mean_square,
    spread_crops,
)
from acoustic_kit.training.mixup import MixupLabels, beta, mixed
from acoustic_kit.training.sampling import draw_weights, expected_draws, systematic_draws


@dataclass(frozen=True)
class Batches:
    """Batches of one feature: length, augmentation, mixup.

    Parameters
    ----------
    feature : the recipe's name for it; its last axis is time
    batch_size : clips; the last batch of an epoch may be smaller
    frames : length to which clips are cut or padded. With a range, a length is drawn for each training batch, and all
        others have the last of the range. None pads each batch to its longest clip
    pad : values beyond a clip's ends: a number; `wrap`, which repeats the clip; or `symmetric`, which mirrors it
    short : place of a clip that is shorter than `frames`: random, as a longer one is cut, or at the `start`
    halves : give a short clip the shortest of `frames`, `frames` / 2, … `frames` / 16 that holds it, and make batches
        of clips of one such length: a batch costs what its clips last
    channel_axis : insert an axis of size one after the clips, for two-dimensional convolutions
    side : computes a second input of the network from the clips: float32 (clips, columns); mixed as x is
    augment : augmentations per clip, in this order, in training only
    batch_augment : augmentation of the whole batch, after all others, in training only
    mixup : α of Beta(α, α), in training only; 0 is no mixup (Zhang et al. 2018)
    mixup_by : `clip`: each clip is mixed with another of the epoch, cut and augmented separately, with a λ per clip;
        `batch`: one λ per batch, and partners from the same batch
    mixup_share : fraction of batches that are mixed
    mixup_labels : targets of mixed clips: `weighted` by λ, or the `union` of both clips' labels, each target the
        larger of the two. Where one of the two is unknown, so is the result, except in a union with 1, which is 1
    drop_last : in training, leave out an incomplete last batch, as torch's DataLoader does, unless it is the only one
    weights : computes weights of the clips, float (clips,), in proportion to which training draws clips with
        replacement; None uses each clip once per epoch
    window : part of a clip longer than `frames` that is trained on: `random`, another one in every epoch; the `first`;
        or the `loudest`. The clip is validated on the same part, but on its middle instead of a random one
    power : computes the power of a clip's frames, (…, frames) → (frames,), by which its loudest part is found
    crops : predictions of a clip over 1.5 times as long as `frames` are averaged over this many crops at most, which
        cover the clip evenly (see `spread_crops`); 1 predicts it as it is validated. None is 12, but 1 for
        the loudest window: a network that knows only loud parts errs on quiet ones

    """

    feature: str
    batch_size: int
    frames: int | range | None = None
    pad: float | Literal["wrap", "symmetric"] = 0.0
    short: Literal["random", "start"] = "random"
    halves: bool = False
    channel_axis: bool = False
    side: Callable[[Clips], np.ndarray] | None = None
    augment: Sequence[Augment] = ()
    batch_augment: BatchAugment | None = None
    mixup: float = 0.0
    mixup_by: Literal["clip", "batch"] = "clip"
    mixup_share: float = 1.0
    mixup_labels: MixupLabels = "weighted"
    drop_last: bool = False
    weights: Callable[[Clips], np.ndarray] | None = None
    window: Window = "random"
    power: FramePower = mean_square
    crops: int | None = 1

    def __post_init__(self) -> None:
        for name, needed in {"the loudest window": self.window == "loudest", "halves": self.halves}.items():
            if needed and not isinstance(self.frames, int):
                raise ValueError(f"{name} needs one length: give `frames` as a number")
        if self.mixup > 0 and self.frames is None:
            raise ValueError("mixup needs clips of one length: give `frames`")

    def open(self, clips: Clips, device: torch.device, rank: int = 0, world: int = 1, hard: bool = False) -> Loader:
        """Return the loader of some clips on a device, for the process `rank` of `world`.

        - `hard`: whether targets are the labels, without soft and unknown ones and without weights
        """
        return Loader(self, clips, device, rank, world, hard)


class Loader:
    """Iterator over the batches of some clips.

    With several processes, each gets its part of every batch in training; otherwise whole batches are distributed in
    turn. Augmentation of a clip and of a batch is the same as in one process.
    """

    def __init__(
        self, form: Batches, clips: Clips, device: torch.device, rank: int = 0, world: int = 1, hard: bool = False
    ) -> None:
        self.form, self.device, self.rank, self.world = form, device, rank, world
        self._clips, self._hard = clips, hard
        self.n_clips, self.n_classes = len(clips), len(clips.classes)
        self._digests = digests(clips.ids)
        self._reader = ClipReader(clips.features[form.feature], clips.ids, device)
        self._side = None if form.side is None else torch.as_tensor(form.side(clips), device=device).float()
        self._draws = expected_draws(clips)
        self._n_drawn = len(clips) if self._draws is None else math.ceil(self._draws.sum())  # in an epoch
        self._draw_weights = None if form.weights is None else draw_weights(clips, form.weights)

    def __len__(self) -> int:
        """Return the number of batches in an epoch of training."""
        return len(self._chunks(self._n_drawn, self.form.drop_last))

    def training(self, key: str, epoch: int = 1) -> Iterator[Batch]:
        """Yield the batches of one epoch, shuffled and augmented. `key`, of seed, fold, stage and epoch, seeds them."""
        chunks = self._chunks(self._n_drawn, self.form.drop_last)
        order, partners = (self._order(f"{key}/{name}")[: chunks[-1].stop] for name in ("order", "partner"))
        if len(set(self._input_lengths)) > 1:
            order, partners = (of[np.concatenate(self._of_one_length(of))] for of in (order, partners))
            numbers = ClipRng(f"{key}/batches", np.arange(len(chunks), dtype=np.uint64), self.device)
            chunks = [chunks[number] for number in np.argsort(numbers.uniform64("permutation")[:, 0])]
        mixes_clips = self.form.mixup > 0 and self.form.mixup_by == "clip"
        mixes_within = self.form.mixup > 0 and self.form.mixup_by == "batch"
        needs_all = mixes_within or self.form.batch_augment is not None

        def make(number: int) -> Batch:
            chunk, own = chunks[number], ClipRng(f"{key}/batch {number}", np.zeros(1, np.uint64), self.device)
            share = share_of(chunk, self.rank, self.world)
            chosen = chunk if needs_all else share
            frames = self._frames(own, np.concatenate([of[chunk] for of in (order, partners)[: 1 + mixes_clips]]))
            batch = self._augmented(order, chosen, frames, f"{key}/first")
            if mixes_clips:
                other = self._augmented(partners, chosen, frames, f"{key}/second")
                weight = self._rng(order, chosen, key).uniform64("mixup")[:, 0]
                batch = mixed(batch, other, beta(self.form.mixup, weight), self.form.mixup_labels)
            elif mixes_within:
                batch = self._mixed_within(batch, own)
            if self.form.batch_augment is not None:
                rng = self._rng(order, chosen, f"{key}/batch augment")
                batch = self.form.batch_augment(batch, BatchRng(epoch, rng, own))
            part = slice(share.start - chosen.start, share.stop - chosen.start)
            inputs = tuple(tensor[part] for tensor in batch.inputs)
            weights = None if batch.weights is None else batch.weights[part]
            return Batch(inputs, batch.targets[part], batch.loss, chunk.stop - chunk.start, weights)

        yield from map(make, range(len(chunks))) if self._reader.is_resident else _ahead(make, len(chunks))

    def in_order(self, crops: Crops | None = None) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield the network's inputs of each batch of `places`, without augmentation; by default as in validation."""
        crops = crops or self.crops()
        for place in self.places(crops):
            chosen = crops.clips[place]
            x, *side = self._inputs(chosen, int(self._input_lengths[chosen[0]]), crops.first[place])
            yield self._shaped(x), *side

    def places(self, crops: Crops) -> list[np.ndarray]:
        """Return the positions of the crops in each batch of `in_order`; in one process, of all crops."""
        groups = self._of_one_length(crops.clips)
        batches = [group[chunk] for group in groups for chunk in self._chunks(len(group), drop_last=False)]
        return batches[self.rank :: self.world]

    def crops(self, key: str | None = None, most: int | None = 1) -> Crops:
        """Return the crops in which the clips are predicted: one of each, or up to `most` of a long one.

        With a `key`, each clip has one, at a random place that the key seeds.
        """
        clips, frames, lengths = np.arange(self.n_clips), self._longest_input, self._reader.lengths
        if frames is None:
            return Crops(clips, np.zeros(self.n_clips, np.int64))
        if key is not None:
            places = self._rng(clips, slice(0, self.n_clips), key).uniform64("crop")[:, 0]
            return Crops(clips, self._starts(clips, self._input_lengths, places))
        first = self._fixed(clips, self._starts(clips, self._input_lengths, np.full(self.n_clips, 0.5)))
        most = most or (1 if self.form.window == "loudest" else MOST)
        if most == 1:
            return Crops(clips, first)
        several = [
            spread_crops(int(length), frames, most) if length > LONG * frames else first[clip : clip + 1]
            for clip, length in enumerate(lengths)
        ]
        return Crops(np.repeat(clips, [len(some) for some in several]), np.concatenate(several))

    @cached_property
    def targets(self) -> torch.Tensor:
        """The targets of all clips, in their order: float32 (clips, classes), NaN if unknown."""
        clips = self._clips
        rows = clips.rows.drop("soft", strict=False) if self._hard else clips.rows
        return torch.as_tensor(loss_targets(rows, clips.classes, clips.task), device=self.device)

    @cached_property
    def weights(self) -> torch.Tensor | None:
        """The weights of all clips in losses, float32 (clips,); None if all are equal and all targets are known.

        They are scaled so that their mean over the known targets is 1.
        """
        if self._hard:
            return None
        own = np.where(self._clips.is_pseudo, np.float32(1), self._clips.weights)  # pseudo-labeled are drawn by weight
        weights = _scaled_weights(own, ~self.targets.isnan().cpu().numpy(), self._clips.task)
        return None if weights is None else torch.as_tensor(weights, device=self.device)

    def _chunks(self, n: int, drop_last: bool) -> list[slice]:
        """Return a slice of n places for each batch.

        A single clip left over joins the last batch, as batch statistics need two, or is dropped with `drop_last`.
        """
        size = self.form.batch_size
        if drop_last and n >= size:
            return [slice(end - size, end) for end in range(size, n + 1, size)]
        starts = [start for start in range(0, n, size) if start == 0 or n - start > 1]
        return [slice(start, end) for start, end in zip(starts, [*starts[1:], n], strict=True)]

    def _order(self, key: str) -> np.ndarray:
        """Return the clips of an epoch: each once, pseudo-labeled ones by weight; or all drawn by weight."""
        if self._draw_weights is None:
            rng = ClipRng(key, self._digests, self.device)
            order = np.argsort(rng.uniform64("permutation")[:, 0], kind="stable")
            if self._draws is None:
                return order
            place = ClipRng(key, np.zeros(1, np.uint64), self.device).uniform64("first")[0, 0]
            return systematic_draws(order, self._draws, self._n_drawn, place)
        places = ClipRng(key, np.arange(self._n_drawn, dtype=np.uint64), self.device).uniform64("weighted")[:, 0]
        reached = np.cumsum(self._draw_weights)
        drawn: np.ndarray = np.searchsorted(reached, places * reached[-1], side="right")
        return drawn

    def _rng(self, order: np.ndarray, chunk: slice, key: str) -> ClipRng:
        """Return the random numbers of the clips of a batch; a clip that is drawn twice gets different ones."""
        digests = self._digests[order[chunk]]
        if self._draw_weights is not None or self._draws is not None:
            digests = digests ^ np.arange(chunk.start, chunk.stop, dtype=np.uint64)
        return ClipRng(key, digests, self.device)

    def _frames(self, own: ClipRng, chosen: np.ndarray) -> int:
        """Return the length of a training batch: fixed, drawn from the range, or that of its longest clip."""
        frames = self.form.frames
        if isinstance(frames, range):
            return frames[int(own.uniform64("frames")[0, 0] * len(frames))]
        return int((self._reader.lengths if frames is None else self._input_lengths)[chosen].max())

    def _augmented(self, order: np.ndarray, chunk: slice, frames: int, key: str) -> Batch:
        rng, chosen = self._rng(order, chunk, key), order[chunk]
        first = self._fixed(chosen, self._starts(chosen, frames, rng.uniform64("crop")[:, 0]))
        x, *side = self._inputs(chosen, frames, first)
        for augment in self.form.augment:
            x = augment(x, rng)
        index = self._index(chosen)
        weights = None if self.weights is None else self.weights[index]
        return Batch((self._shaped(x), *side), self.targets[index], weights=weights)

    @property
    def _longest_input(self) -> int | None:
        frames = self.form.frames
        return frames[-1] if isinstance(frames, range) else frames

    @cached_property
    def _input_lengths(self) -> np.ndarray:
        """Frames of each clip's input, int64 (clips,); 0 if it is as long as the longest clip of the batch."""
        lengths, frames = self._reader.lengths, self._longest_input or 0
        return halved_inputs(lengths, frames) if self.form.halves else np.full(len(lengths), frames)

    def _of_one_length(self, chosen: np.ndarray) -> list[np.ndarray]:
        """Return the positions in `chosen` by length of input, the shortest first, in order within a length."""
        lengths = self._input_lengths[chosen]
        order = np.argsort(lengths, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)

    def _starts(self, chosen: np.ndarray, frames: int | np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return the first frame of a window of each clip, at `places` in [0, 1) of its slack: int64 (clips,)."""
        slack = self._reader.lengths[chosen] - frames
        first = np.where(slack < 0, -np.floor(places * (1 - slack)), np.floor(places * (slack + 1)))
        if self.form.frames is None or self.form.short == "start" or self.form.pad == "wrap":
            first = np.maximum(first, 0)
        return np.asarray(first, dtype=np.int64)

    def _fixed(self, chosen: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Return the first frames of crops, those of longer clips where `window` fixes them."""
        if self.form.window == "random" or not isinstance(self.form.frames, int):
            return first
        is_longer = self._reader.lengths[chosen] > self.form.frames
        return np.asarray(np.where(is_longer, self._fixed_starts[chosen], first))

    @cached_property
    def _fixed_starts(self) -> np.ndarray:
        """The first frame of the first or the loudest window of each clip: int64 (clips,)."""
        starts = np.zeros(self.n_clips, np.int64)
        if self.form.window == "loudest" and isinstance(self.form.frames, int):
            for clip in np.flatnonzero(self._reader.lengths > self.form.frames).tolist():
                starts[clip] = loudest_crop(self.form.power(self._reader.read(clip)), self.form.frames)
        return starts

    def _inputs(self, chosen: np.ndarray, frames: int, first: np.ndarray) -> tuple[torch.Tensor, ...]:
        """Return crops of clips, at one length (0: that of the longest), and their side input."""
        frames = frames or int(self._reader.lengths[chosen].max())
        x = self._reader.cut(chosen, frames, first, self.form.pad)
        return (x,) if self._side is None else (x, self._side[self._index(chosen)])

    def _index(self, chosen: np.ndarray) -> torch.Tensor:
        """Copy positions of clips to the device."""
        return torch.from_numpy(chosen).to(self.device, non_blocking=True)  # a blocking copy would wait for the GPU

    def _shaped(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, None] if self.form.channel_axis else x

    def _mixed_within(self, batch: Batch, own: ClipRng) -> Batch:
        """Mix the batch with itself in another order, with one λ; or return it unchanged."""
        if own.uniform64("is mixed")[0, 0] >= self.form.mixup_share:
            return batch
        chosen = self._index(np.argsort(own.uniform64("order", len(batch))[0]))
        weights = None if batch.weights is None else batch.weights[chosen]
        other = Batch(tuple(t[chosen] for t in batch.inputs), batch.targets[chosen], weights=weights)
        lam = np.repeat(beta(self.form.mixup, own.uniform64("mixup")[:, 0]), len(batch))
        return mixed(batch, other, lam, self.form.mixup_labels)


def share_of(batch: slice, rank: int, world: int) -> slice:
    """Return one process's part of a batch; sizes of parts differ by one clip at most.

    If there are fewer clips than processes, each takes all of them: layers that synchronize over the whole batch need
    all processes, and the mean of equal gradients is the same gradient.
    """
    n = batch.stop - batch.start
    if n < world:
        return batch
    first, end = (batch.start + n * i // world for i in (rank, rank + 1))
    return slice(first, end)


def _scaled_weights(weights: np.ndarray, known: np.ndarray, task: Task) -> np.ndarray | None:
    """Return weights of clips, scaled to a mean of 1 over the known targets; None if all are equal and known.

    Parameters
    ----------
    weights : float (clips,)
    known : bool (clips, classes); a clip of a single-label task counts as known if any of its classes is

    """
    if known.all() and (weights == weights[0]).all():
        return None
    counted = known.mean(axis=1) if task == "multi" else known.any(axis=1)
    mean = (weights * counted).mean()
    return (weights / (mean or 1.0)).astype(np.float32)


def _ahead(make: Callable[[int], Batch], n: int) -> Iterator[Batch]:
    """Yield `make(0)`, `make(1)`, …; a thread computes the next one in advance."""
    with ThreadPoolExecutor(1) as thread:
        coming = [thread.submit(make, 0)]
        for number in range(n):
            batch = coming.pop().result()
            if number + 1 < n:
                coming.append(thread.submit(make, number + 1))
            yield batch
