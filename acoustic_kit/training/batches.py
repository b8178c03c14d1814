"""Batches of a feature, shuffled, mixed and augmented, on the device that trains.

There are no worker processes: copying arrays between them costs more than reading does. Where a feature does not fit
into memory, one thread makes the next batch while this one is trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.special import betaincinv

from acoustic_kit.training.augment import Augment
from acoustic_kit.training.clip_reader import ClipReader
from acoustic_kit.training.clip_rng import ClipRng, digests
from acoustic_kit.training.fold import Clips

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # logits (clips, classes), targets likewise → a scalar


@dataclass(frozen=True)
class Batch:
    """Some clips, as the loss sees them."""

    inputs: tuple[
        torch.Tensor, ...
    ]  # of the network: x, float32 (clips, …, frames), and the side input where there is one
    targets: torch.Tensor  # float32 (clips, classes): one-hot, mixed, or several labels
    loss: Loss | None = None  # where this batch's is not the stage's
    whole: int | None = None  # clips of the whole batch, of which this is one process's share

    @property
    def x(self) -> torch.Tensor:
        """The feature: float32 (clips, …, frames)."""
        return self.inputs[0]

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class BatchRng:
    """The random numbers of a batch, and where it stands in the training."""

    epoch: int  # of the stage, from 1
    clips: ClipRng  # of each clip
    batch: ClipRng  # of the batch: one row


BatchAugment = Callable[[Batch, BatchRng], Batch]


@dataclass(frozen=True)
class Batches:
    """How clips of one feature become batches.

    Parameters
    ----------
    feature : the recipe's name for it; its last axis is time
    batch_size : clips; the last batch of an epoch may be smaller
    frames : what clips are cut or padded to: in training at a random place, else in the middle. A range gives each
        batch of training a length of its own, and all others its last. None pads each batch to its longest clip
    pad : what lies beyond a clip's ends: a value; `wrap`, which repeats the clip; or `symmetric`, which mirrors it
    short : where a clip lies that is shorter than `frames`: as a longer one is cut, or at the `start`
    channel_axis : give x an axis of size one after the clips, as two-dimensional convolutions want it
    side : a second input of the network, from the clips: float32 (clips, columns); mixed as x is
    augment : in training only, in this order, clip by clip
    batch_augment : in training only, after all else: what is done to a batch as a whole
    mixup : in training only, α of Beta(α, α); 0 mixes nothing (mixup, Zhang et al. 2018)
    mixup_by : `clip`: each is mixed with another of the epoch, drawn and augmented on its own, with its own λ; `batch`:
        one λ a batch, and partners from within it
    mixup_share : of the batches that are mixed
    drop_last : in training, leave out the clips that fill no batch, as torch's DataLoader; clips that are fewer than
        `batch_size` are one batch all the same
    weights : of the clips, float (clips,): in training they are drawn with replacement in proportion; None takes each
        once an epoch

    """

    feature: str
    batch_size: int
    frames: int | range | None = None
    pad: float | Literal["wrap", "symmetric"] = 0.0
    short: Literal["random", "start"] = "random"
    channel_axis: bool = False
    side: Callable[[Clips], np.ndarray] | None = None
    augment: Sequence[Augment] = ()
    batch_augment: BatchAugment | None = None
    mixup: float = 0.0
    mixup_by: Literal["clip", "batch"] = "clip"
    mixup_share: float = 1.0
    drop_last: bool = False
    weights: Callable[[Clips], np.ndarray] | None = None

    def __post_init__(self) -> None:
        if self.mixup > 0 and self.frames is None:
            raise ValueError("mixup needs clips of one length: give `frames`")

    def open(self, clips: Clips, device: torch.device, rank: int = 0, world: int = 1) -> Loader:
        """These batches of some clips, on a device: for one process, or for that of a rank among so many."""
        return Loader(self, clips, device, rank, world)


class Loader:
    """The batches of some clips, epoch by epoch.

    Of several processes, each has its share of every batch in training, and every so many batches whole otherwise.
    What is done to a clip, and to a batch, is what would be done to it in one process.
    """

    def __init__(self, form: Batches, clips: Clips, device: torch.device, rank: int = 0, world: int = 1) -> None:
        self.form, self.device, self.rank, self.world = form, device, rank, world
        self.n_clips, self.n_classes = len(clips), len(clips.classes)
        self._digests = digests(clips.ids)
        self._reader = ClipReader(clips.features[form.feature], clips.ids, device)
        self._side = None if form.side is None else torch.as_tensor(form.side(clips), device=device).float()
        self._targets: torch.Tensor | None = None
        self._weights: np.ndarray | None = None
        if all(clips.rows["label"].list.len() > 0):
            self._weights = None if form.weights is None else np.asarray(form.weights(clips), dtype=np.float64)
            labels = torch.as_tensor(clips.labels, device=device)
            one_hot = torch.nn.functional.one_hot(labels, len(clips.classes)) if labels.ndim == 1 else labels
            self._targets = one_hot.float()

    def __len__(self) -> int:
        """Batches in an epoch of training."""
        return len(self._chunks(self.form.drop_last))

    def training(self, key: str, epoch: int = 1) -> Iterator[Batch]:
        """One epoch, shuffled and augmented. `key` names seed, fold, stage and epoch, and decides all randomness."""
        order, partners = self._order(f"{key}/order"), self._order(f"{key}/partner")
        chunks = self._chunks(self.form.drop_last)
        mixes_within = self.form.mixup > 0 and self.form.mixup_by == "batch"
        needs_all = mixes_within or self.form.batch_augment is not None

        def make(number: int) -> Batch:
            chunk, own = chunks[number], ClipRng(f"{key}/batch {number}", np.zeros(1, np.uint64), self.device)
            share = share_of(chunk, self.rank, self.world)
            chosen = chunk if needs_all else share
            frames = self._frames(own, order[chunk])
            batch = self._augmented(order, chosen, frames, f"{key}/first")
            if self.form.mixup > 0 and self.form.mixup_by == "clip":
                other = self._augmented(partners, chosen, frames, f"{key}/second")
                weight = self._rng(order, chosen, key).uniform64("mixup")[:, 0]
                batch = _mixed(batch, other, _beta(self.form.mixup, weight))
            elif mixes_within:
                batch = self._mixed_within(batch, own)
            if self.form.batch_augment is not None:
                rng = self._rng(order, chosen, f"{key}/batch augment")
                batch = self.form.batch_augment(batch, BatchRng(epoch, rng, own))
            part = slice(share.start - chosen.start, share.stop - chosen.start)
            inputs = tuple(tensor[part] for tensor in batch.inputs)
            return Batch(inputs, batch.targets[part], batch.loss, chunk.stop - chunk.start)

        yield from map(make, range(len(chunks))) if self._reader.is_resident else _ahead(make, len(chunks))

    def in_order(self, key: str | None = None) -> Iterator[tuple[torch.Tensor, ...]]:
        """The clips of `places` as they are: the network's inputs of each batch.

        They are cut in the middle; with a `key`, which decides where, at random places.
        """
        everything = np.arange(self.n_clips)
        frames = self.form.frames[-1] if isinstance(self.form.frames, range) else self.form.frames
        for chunk in self.places:
            rng = None if key is None else self._rng(everything, chunk, key)
            x, *side = self._inputs(everything[chunk], frames, rng)
            yield self._shaped(x), *side

    @property
    def places(self) -> list[slice]:
        """The batches of `in_order`, by where they lie among the clips: in one process, all clips."""
        return self._chunks(drop_last=False)[self.rank :: self.world]

    @property
    def targets(self) -> torch.Tensor:
        """The targets of all clips, in the order in which they were given: float32 (clips, classes)."""
        assert self._targets is not None
        return self._targets

    def _chunks(self, drop_last: bool) -> list[slice]:
        """Return the places of each batch.

        A single clip left over has no batch statistics of its own: it joins the last batch, or is dropped with
        `drop_last`.
        """
        size = self.form.batch_size
        if drop_last and self.n_clips >= size:
            return [slice(end - size, end) for end in range(size, self.n_clips + 1, size)]
        starts = [start for start in range(0, self.n_clips, size) if start == 0 or self.n_clips - start > 1]
        return [slice(start, end) for start, end in zip(starts, [*starts[1:], self.n_clips], strict=True)]

    def _order(self, key: str) -> np.ndarray:
        """The clips of an epoch: each once, or drawn by weight."""
        if self._weights is None:
            rng = ClipRng(key, self._digests, self.device)
            return np.argsort(rng.uniform64("permutation")[:, 0], kind="stable")
        places = ClipRng(key, np.arange(self.n_clips, dtype=np.uint64), self.device).uniform64("weighted")[:, 0]
        reached = np.cumsum(self._weights)
        drawn: np.ndarray = np.searchsorted(reached, places * reached[-1], side="right")
        return drawn

    def _rng(self, order: np.ndarray, chunk: slice, key: str) -> ClipRng:
        """The random numbers of the clips of a batch; a clip that was drawn twice has others the second time."""
        digests = self._digests[order[chunk]]
        if self._weights is not None:
            digests = digests ^ np.arange(chunk.start, chunk.stop, dtype=np.uint64)
        return ClipRng(key, digests, self.device)

    def _frames(self, own: ClipRng, chosen: np.ndarray) -> int:
        """The length of a batch of training, from the batch's own random numbers, or of its longest clip."""
        frames = self.form.frames
        if isinstance(frames, range):
            return frames[int(own.uniform64("frames")[0, 0] * len(frames))]
        return frames or int(self._reader.lengths[chosen].max())

    def _augmented(self, order: np.ndarray, chunk: slice, frames: int | None, key: str) -> Batch:
        rng = self._rng(order, chunk, key)
        x, *side = self._inputs(order[chunk], frames, rng)
        for augment in self.form.augment:
            x = augment(x, rng)
        return Batch((self._shaped(x), *side), self.targets[self._index(order[chunk])])

    def _inputs(self, chosen: np.ndarray, frames: int | None, rng: ClipRng | None) -> tuple[torch.Tensor, ...]:
        """Clips cut or padded to one length, at a random place with rng, else in the middle; and their side input."""
        lengths = self._reader.lengths[chosen]
        frames = frames or int(lengths.max())
        slack = lengths - frames
        places = np.full(len(chosen), 0.5) if rng is None else rng.uniform64("crop")[:, 0]
        first = np.where(slack < 0, -np.floor(places * (1 - slack)), np.floor(places * (slack + 1))).astype(np.int64)
        if self.form.frames is None or self.form.short == "start" or self.form.pad == "wrap":
            first = np.maximum(first, 0)
        x = self._reader.cut(chosen, frames, first, self.form.pad)
        return (x,) if self._side is None else (x, self._side[self._index(chosen)])

    def _index(self, chosen: np.ndarray) -> torch.Tensor:
        """Positions of clips, on the device."""
        return torch.from_numpy(chosen).to(self.device, non_blocking=True)  # a blocking copy waits for the GPU's work

    def _shaped(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, None] if self.form.channel_axis else x

    def _mixed_within(self, batch: Batch, own: ClipRng) -> Batch:
        """The batch mixed with its own clips in another order, all with one λ; or as it is."""
        if own.uniform64("is mixed")[0, 0] >= self.form.mixup_share:
            return batch
        chosen = self._index(np.argsort(own.uniform64("order", len(batch))[0]))
        other = Batch(tuple(t[chosen] for t in batch.inputs), batch.targets[chosen])
        return _mixed(batch, other, np.repeat(_beta(self.form.mixup, own.uniform64("mixup")[:, 0]), len(batch)))


def share_of(batch: slice, rank: int, world: int) -> slice:
    """One process's share of a batch; in size, shares differ by one clip at most.

    Where there are fewer clips than processes, each takes them all: then none stands aside while others wait for it in
    a layer that looks at the whole batch, and the mean of equal gradients is what each has.
    """
    n = batch.stop - batch.start
    if n < world:
        return batch
    first, end = (batch.start + n * i // world for i in (rank, rank + 1))
    return slice(first, end)


def _beta(alpha: float, uniform: np.ndarray) -> np.ndarray:
    """Numbers of Beta(α, α) from numbers in [0, 1), by its inverse distribution function."""
    found: np.ndarray = betaincinv(alpha, alpha, uniform)
    return found.astype(np.float32)


def _mixed(first: Batch, second: Batch, share: np.ndarray) -> Batch:
    """λ·first + (1-λ)·second, with the λ of each clip, float32 (clips,)."""
    weight = torch.from_numpy(share).to(first.targets.device, non_blocking=True)

    def mix(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.lerp(other, one, weight.reshape(-1, *[1] * (one.ndim - 1)).expand_as(one))

    inputs = tuple(mix(one, other) for one, other in zip(first.inputs, second.inputs, strict=True))
    return Batch(inputs, mix(first.targets, second.targets))


def _ahead(make: Callable[[int], Batch], n: int) -> Iterator[Batch]:
    """`make(0)`, `make(1)`, …, each begun by a thread while the one before is used."""
    with ThreadPoolExecutor(1) as thread:
        coming = [thread.submit(make, 0)]
        for number in range(n):
            batch = coming.pop().result()
            if number + 1 < n:
                coming.append(thread.submit(make, number + 1))
            yield batch
