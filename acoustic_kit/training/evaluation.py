"""Logits, probabilities and accuracy of networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from acoustic_kit.data.clips import Clips
from acoustic_kit.task import Task
from acoustic_kit.training.batches import Batches, Loader
from acoustic_kit.training.crops import Crops
from acoustic_kit.training.fabric import make_fabric, sum_over_processes

View = Callable[[torch.Tensor], torch.Tensor]  # x → x


@dataclass(frozen=True)
class ForwardCall:
    """Arguments of a call of `forward`, and the probabilities that it returned."""

    net: nn.Module
    batches: Batches
    views: Sequence[View]
    key: str | None
    probabilities: np.ndarray  # float64 (clips, classes)


_recorded: ContextVar[list[ForwardCall] | None] = ContextVar("recorded", default=None)


@contextmanager
def recorded_calls() -> Iterator[list[ForwardCall]]:
    """Yield a list to which each call of `forward` inside the `with` block is appended."""
    calls: list[ForwardCall] = []
    token = _recorded.set(calls)
    try:
        yield calls
    finally:
        _recorded.reset(token)


def to_probabilities(logits: torch.Tensor, task: Task) -> torch.Tensor:
    """Apply softmax over classes, or the sigmoid for multi-label tasks: (clips, classes)."""
    return logits.softmax(dim=1) if task == "single" else logits.sigmoid()


def accuracy(logits: torch.Tensor, targets: torch.Tensor, task: Task, threshold: float = 0.0) -> torch.Tensor:
    """Return the fraction of clips whose highest class is the target's; in multi-label tasks, of correct labels.

    Parameters
    ----------
    logits : float (clips, classes), or probabilities
    targets : float32 (clips, classes); for mixed clips, the class with the largest target is correct. Targets that are
        NaN are unknown, and left out
    threshold : of a label, in multi-label tasks

    Returns a float32 scalar.

    """
    if task == "multi":
        known = ~targets.isnan()
        return (((logits >= threshold) == (targets > 0.5)) & known).sum() / known.sum().clamp(min=1)
    targets = targets.nan_to_num(nan=0.0)
    chosen = targets.gather(1, logits.argmax(dim=1, keepdim=True))
    return (chosen >= targets.amax(dim=1, keepdim=True)).float().mean()


def forward(
    net: nn.Module,
    clips: Clips,
    batches: Batches,
    views: Sequence[View] = (lambda x: x,),
    key: str | None = None,
) -> np.ndarray:
    """Return class probabilities of a trained network: float64 (clips, classes), computed on the network's device.

    >>> def predict(model, clips, s):
    ...     return akit.forward(model, clips, batches(s))

    With several processes, each must make this call; it computes some of the batches and returns all probabilities.

    Parameters
    ----------
    batches : their `crops` says over how many crops of a long clip the probabilities are averaged
    views : map x to another x, for test-time augmentation; the probabilities are averaged over them
    key : seeds a random place at which each clip is cut, which is then its only crop

    """
    fabric = make_fabric(clips.compute)
    loader = batches.open(clips, next(net.parameters()).device, fabric.global_rank, fabric.world_size)
    crops = loader.crops(key, batches.crops)
    found = [to_probabilities(logits_of(net, loader, fabric, crops, view), clips.task) for view in views]
    probabilities: np.ndarray = torch.stack(found).double().mean(dim=0).cpu().numpy()
    by_clip = crops.mean_by_clip(probabilities)
    if (calls := _recorded.get()) is not None:
        calls.append(ForwardCall(net, batches, views, key, by_clip))
    return by_clip


@torch.no_grad()
def logits_of(net: nn.Module, loader: Loader, fabric: Fabric, crops: Crops, view: View = lambda x: x) -> torch.Tensor:
    """Return the logits of crops of the loader's clips, in order, in all processes: float32 (crops, classes)."""
    net.eval()
    with fabric.autocast():
        found = [net(view(x), *side).float() for x, *side in loader.in_order(crops)]
    logits = torch.zeros(len(crops.clips), loader.n_classes, device=loader.device)
    for place, of_batch in zip(loader.places(crops), found, strict=True):
        logits[torch.from_numpy(place)] = of_batch
    return sum_over_processes(fabric, logits)  # rows of other processes are zero
