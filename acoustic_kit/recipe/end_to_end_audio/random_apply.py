"""Randomly applied augmentations: one of several, or several in random order.

An `Op` changes all clips that it is called with. The functions here select the clips, in numpy, to avoid a
synchronization with the GPU, and pass them on with their random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from acoustic_kit.training.augment import Augment
from acoustic_kit.training.clip_rng import ClipRng

Op = Callable[[torch.Tensor, ClipRng], torch.Tensor]  # waves float32 (clips, n), their random numbers → waves likewise


def in_random_order(name: str, ops: Mapping[str, Op], p: Mapping[str, float]) -> Augment:
    """Apply each operation with its own probability, in an order drawn per clip.

    Parameters
    ----------
    name : purpose of the random numbers that decide
    ops : operations by name
    p : probability of each operation

    """
    names = list(ops)

    def apply(x: torch.Tensor, rng: ClipRng) -> torch.Tensor:
        place = rng.uniform64(f"{name}/order", len(names)).argsort(axis=1).argsort(axis=1)
        fires = rng.uniform64(f"{name}/fires", len(names)) < np.array([p[op] for op in names])
        out = x.flatten(1).clone()
        for turn in range(len(names)):
            for number, op in enumerate(names):
                _apply(out, np.flatnonzero((place[:, number] == turn) & fires[:, number]), ops[op], rng)
        return out.reshape(x.shape)

    return apply


def one_of(name: str, ops: Mapping[str, Op], p: float) -> Augment:
    """Apply one of the operations, all equally likely, with probability `p`. Without operations, change nothing."""

    def apply(x: torch.Tensor, rng: ClipRng) -> torch.Tensor:
        if not ops:
            return x
        fires, choice = rng.uniform64(name, 2).T
        chosen = np.where(fires < p, (choice * len(ops)).astype(int), -1)
        out = x.flatten(1).clone()
        for number, op in enumerate(ops.values()):
            _apply(out, np.flatnonzero(chosen == number), op, rng)
        return out.reshape(x.shape)

    return apply


def _apply(x: torch.Tensor, chosen: np.ndarray, op: Op, rng: ClipRng) -> None:
    """Apply an operation to some rows of x, in place."""
    if len(chosen):
        rows = torch.from_numpy(chosen).to(x.device, non_blocking=True)
        x.index_copy_(0, rows, op(x[rows], ClipRng(rng.key, rng.clips[chosen], rng.device)))
