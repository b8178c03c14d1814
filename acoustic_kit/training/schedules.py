"""Learning-rate schedules: pure functions of the progress of training, so that resuming needs no state of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Progress:
    """Progress of a phase."""

    step: int  # batches completed
    steps_per_epoch: int
    epochs: int
    valid_losses: tuple[float, ...] = ()  # of the completed epochs of the phase

    @property
    def fraction(self) -> float:
        """Fraction of the phase's steps completed, from 0 to 1."""
        return self.step / max(1, self.steps_per_epoch * self.epochs)

    @property
    def epoch(self) -> int:
        """Number of completed epochs."""
        return self.step // self.steps_per_epoch


Schedule = Callable[[Progress], float]


def constant(lr: float) -> Schedule:
    """Return a constant rate."""
    return lambda _: lr


def cosine(lr: float, final: float = 0.0) -> Schedule:
    """Decay from `lr` to `final` along half a cosine (SGDR without restarts, Loshchilov and Hutter 2017), per batch."""
    return lambda progress: final + (lr - final) * (1 + math.cos(math.pi * progress.fraction)) / 2


def one_cycle(max_lr: float, *, warmup: float = 0.3, start: float = 1 / 25, final: float = 1e-5) -> Schedule:
    """Rise to `max_lr` and decay along cosines (1cycle, Smith and Topin 2019; defaults as in `torch`'s OneCycleLR).

    Parameters
    ----------
    warmup : fraction of the phase until the highest rate
    start, final : first and last rate, as fractions of `max_lr`

    """

    def rate(progress: Progress) -> float:
        if progress.fraction < warmup:
            low, place = start, 1 - progress.fraction / warmup
        else:
            low, place = final, (progress.fraction - warmup) / (1 - warmup)
        return max_lr * (low + (1 - low) * (1 + math.cos(math.pi * place)) / 2)

    return rate


def by_epoch(schedule: Schedule) -> Schedule:
    """Update a schedule once per epoch: its rate after the completed epochs holds for the whole epoch."""
    return lambda progress: schedule(replace(progress, step=progress.epoch * progress.steps_per_epoch))


def warmup(schedule: Schedule, epochs: int, start: float = 0.0) -> Schedule:
    """Rise linearly from `start`, a fraction of the first rate, over some epochs; then the schedule over the rest."""

    def rate(progress: Progress) -> float:
        steps = epochs * progress.steps_per_epoch
        after = replace(progress, step=max(0, progress.step - steps), epochs=max(1, progress.epochs - epochs))
        factor = 1.0 if progress.step >= steps else start + (1 - start) * progress.step / steps
        return factor * schedule(after)

    return rate


def cosine_restarts(lr: float, first: int, factor: int = 2, final: float = 0.0) -> Schedule:
    """Decay repeatedly from `lr` to `final` along half cosines (SGDR, Loshchilov and Hutter 2017), per batch.

    The first lasts `first` epochs, each further one `factor` times as long as the previous one.
    """

    def rate(progress: Progress) -> float:
        place, length = progress.step / progress.steps_per_epoch, first
        while place >= length:
            place, length = place - length, length * factor
        return final + (lr - final) * (1 + math.cos(math.pi * place / length)) / 2

    return rate


def step_decay(lr: float, epochs: int, factor: float = 0.1) -> Schedule:
    """Multiply `lr` by `factor` after every `epochs` epochs."""
    return lambda progress: lr * factor ** (progress.epoch // epochs)


@dataclass(frozen=True)
class Plateau:
    """`lr`, multiplied by `factor` after `patience` epochs without a validation loss lower by `threshold`.

    As Keras' ReduceLROnPlateau. The run is `optimistic`: the fold that it is scored on decides the rate.
    """

    lr: float
    factor: float = 0.1
    patience: int = 10  # epochs
    threshold: float = 1e-4

    def __call__(self, progress: Progress) -> float:
        """Return the rate after the epochs whose validation losses are known."""
        best, waited, cuts = math.inf, 0, 0
        for loss in progress.valid_losses:
            best, waited = (loss, 0) if loss < best - self.threshold else (best, waited + 1)
            if waited >= self.patience:
                cuts, waited = cuts + 1, 0
        return self.lr * self.factor**cuts
