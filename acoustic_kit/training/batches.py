"""Batches of a feature, shuffled and augmented, on the device that trains.

A feature that fits into memory is read once and stays on the device; of a larger one, what a batch needs is converted
straight from the mapped store into the batch. There are no worker processes: copying arrays between them costs more
than reading does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.special import betaincinv

from acoustic_kit.fold import Clips
from acoustic_kit.training.augment import Augment
from acoustic_kit.training.draws import Draws, digests

RESIDENT_BYTES = 2**31  # a feature up to this size is kept on the device


@dataclass(frozen=True)
class Batch:
    """Some clips, as the loss sees them."""

    x: torch.Tensor  # float32 (clips, …, frames)
    targets: torch.Tensor  # float32 (clips, classes): one-hot, mixed, or several labels


@dataclass(frozen=True)
class Batches:
    """How clips of one feature become batches.

    Parameters
    ----------
    feature : the recipe's name for it; its last axis is time
    batch_size : clips; the last batch of an epoch may be smaller
    frames : what clips are cut or padded to: in training at a random place, else in the middle. None pads each batch to
        its longest clip
    pad : what lies beyond a clip's ends: a value, or `wrap`, which repeats the clip
    channel_axis : give x an axis of size one after the clips, as two-dimensional convolutions want it
    augment : in training only, in this order
    mixup : in training only, α of Beta(α, α): each clip is mixed with another one of the epoch, drawn and augmented on
        its own (mixup, Zhang et al. 2018); 0 mixes nothing

    """

    feature: str
    batch_size: int
    frames: int | None = None
    pad: float | Literal["wrap"] = 0.0
    channel_axis: bool = False
    augment: Sequence[Augment] = ()
    mixup: float = 0.0

    def __post_init__(self) -> None:
        if self.mixup > 0 and self.frames is None:
            raise ValueError("mixup needs clips of one length: give `frames`")

    def open(self, clips: Clips, device: torch.device) -> Loader:
        """These batches of some clips, on a device."""
        return Loader(self, clips, device)


class Loader:
    """The batches of some clips, epoch by epoch."""

    def __init__(self, form: Batches, clips: Clips, device: torch.device) -> None:
        self.form, self.device = form, device
        self._ids, self._stored = clips.ids, clips.features[form.feature]
        self._digests = digests(self._ids)
        shapes = [self._stored.shape(id) for id in self._ids]
        self._lengths = np.array([shape[-1] for shape in shapes])
        self._shape = shapes[0][:-1]
        self._resident: list[torch.Tensor] | None = None
        if sum(4 * int(np.prod(shape)) for shape in shapes) <= RESIDENT_BYTES:
            groups = (self._ids[start : start + form.batch_size] for start in range(0, len(self._ids), form.batch_size))
            self._resident = [torch.tensor(x, device=device) for ids in groups for x in self._stored.read_many(ids)]
        self._targets: torch.Tensor | None = None
        if all(clips.rows["label"].list.len() > 0):
            labels = torch.as_tensor(clips.labels, device=device)
            one_hot = torch.nn.functional.one_hot(labels, len(clips.classes)) if labels.ndim == 1 else labels
            self._targets = one_hot.float()

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._chunks())

    def training(self, key: str) -> Iterator[Batch]:
        """One epoch, shuffled and augmented. `key` names seed, fold, stage and epoch, and decides all randomness."""
        order, partners = (self._permutation(f"{key}/{what}") for what in ("order", "partner"))
        for chosen in self._chunks():
            batch = self._augmented(order[chosen], f"{key}/first")
            if self.form.mixup > 0:
                other = self._augmented(partners[chosen], f"{key}/second")
                batch = _mixed(batch, other, self._draws(order[chosen], key), self.form.mixup)
            yield Batch(self._shaped(batch.x), batch.targets)

    def in_order(self) -> Iterator[torch.Tensor]:
        """All clips as they are, in the order in which they were given: x of each batch."""
        everything = np.arange(len(self._ids))
        for chosen in self._chunks():
            yield self._shaped(self._gather(everything[chosen], None))

    @property
    def targets(self) -> torch.Tensor:
        """The targets of all clips, in the order in which they were given: float32 (clips, classes)."""
        assert self._targets is not None
        return self._targets

    def _chunks(self) -> list[slice]:
        """The places of each batch; one clip left over joins the last batch, as it has no statistics of its own."""
        size, n = self.form.batch_size, len(self._ids)
        starts = [start for start in range(0, n, size) if start == 0 or n - start > 1]
        return [slice(start, end) for start, end in zip(starts, [*starts[1:], n], strict=True)]

    def _shaped(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, None] if self.form.channel_axis else x

    def _permutation(self, key: str) -> np.ndarray:
        return np.argsort(self._draws(slice(None), key).uniform64("permutation")[:, 0], kind="stable")

    def _draws(self, chosen: np.ndarray | slice, key: str) -> Draws:
        return Draws(key, self._digests[chosen], self.device)

    def _augmented(self, chosen: np.ndarray, key: str) -> Batch:
        draws = self._draws(chosen, key)
        x = self._gather(chosen, draws)
        for augment in self.form.augment:
            x = augment(x, draws)
        return Batch(x, self.targets[torch.from_numpy(chosen).to(self.device)])

    def _gather(self, chosen: np.ndarray, draws: Draws | None) -> torch.Tensor:
        """The clips cut or padded to one length: at a random place with draws, else in the middle."""
        frames = self.form.frames or int(self._lengths[chosen].max())
        places = np.full(len(chosen), 0.5) if draws is None else draws.uniform64("crop")[:, 0]
        out = torch.empty((len(chosen), *self._shape, frames), device="cpu" if self._resident is None else self.device)
        for row, clip, place in zip(out, chosen, places, strict=True):
            length = int(self._lengths[clip])
            slack = length - frames
            if slack >= 0:
                self._put(row, clip, int(place * (slack + 1)), 0)
            elif self.form.pad == "wrap":
                for at in range(0, frames, length):
                    self._put(row, clip, 0, at)
            else:  # a batch's own length pads on the right, a fixed one where the draw says
                row.fill_(self.form.pad)
                self._put(row, clip, 0, 0 if self.form.frames is None else int(place * (-slack + 1)))
        return out.to(self.device)

    def _put(self, row: torch.Tensor, clip: int, first: int, at: int) -> None:
        """Frames ``first``, … of a clip into frames ``at``, … of a row of the batch, until one of the two ends."""
        length, frames = int(self._lengths[clip]), row.shape[-1]
        if self._resident is not None:
            n = min(length - first, frames - at)
            row[..., at : at + n] = self._resident[clip][..., first : first + n]
            return
        from acoustic_kit.training.batch_kernels import place

        values, scale = self._stored.stored(self._ids[clip])
        scale = np.float32(1) if scale is None else scale
        place(values.reshape(-1), length, first, scale, row.numpy().reshape(-1), frames, at)


def _mixed(first: Batch, second: Batch, draws: Draws, alpha: float) -> Batch:
    """λ·first + (1-λ)·second, with λ ~ Beta(α, α) drawn for each clip."""
    share = betaincinv(alpha, alpha, draws.uniform64("mixup")[:, 0]).astype(np.float32)
    weight = torch.from_numpy(share).to(first.x.device)
    x_weight = weight.reshape(-1, *[1] * (first.x.ndim - 1))
    return Batch(
        torch.lerp(second.x, first.x, x_weight.expand_as(first.x)),
        torch.lerp(second.targets, first.targets, weight[:, None].expand_as(first.targets)),
    )
