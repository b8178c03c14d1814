"""Weights of an earlier run as the start of another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from acoustic_kit.errors import AkitError


def weights_of_run(path: Path) -> Path:
    """Return the file of a model's weights: the path itself, or the only model of a run's folder.

    Raises AkitError if there is none, or if the run has a model for each of several folds.
    """
    if path.is_file():
        return path
    found = sorted(path.glob("folds/*/model.safetensors")) or sorted(path.glob("model.safetensors"))
    if not found:
        raise AkitError(f"{path} is neither a file of weights nor the folder of a finished run with a torch model.")
    if len(found) > 1:
        raise AkitError(f"{path} has {len(found)} models, one per fold. Name the file of one: {found[0]}.")
    return found[0]


def load_but(net: nn.Module, tensors: dict[str, torch.Tensor], new: Sequence[str], source: Path) -> None:
    """Load weights into a network, except those whose name begins with one of `new`.

    Lazy layers take the shapes of the weights.

    Raises AkitError, naming `source`, if the networks differ in other names or in shapes.
    """
    own = net.state_dict()
    kept = {name: tensor for name, tensor in own.items() if name.startswith(tuple(new))}
    given = {name: tensor for name, tensor in tensors.items() if not name.startswith(tuple(new))}
    if odd := sorted(given.keys() ^ (own.keys() - kept.keys())):
        raise AkitError(f"{source} holds another network's weights: {odd[0]} is in one of the two only.")
    for name, tensor in given.items():
        if not is_lazy(own[name]) and tensor.shape != own[name].shape:
            shapes = f"{list(tensor.shape)} there, {list(own[name].shape)} here"
            raise AkitError(f"{source} holds the weights of a network of another size: {name} is {shapes}.")
    net.load_state_dict({**given, **kept})
