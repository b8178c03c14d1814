"""Weights of an earlier run, to start another from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from acoustic_kit.errors import AkitError


def weights_of_run(path: Path) -> Path:
    """The file of a model's weights: the path itself, or where it is a run's folder, that of the run's only model.

    Raises AkitError where there is none, or where the run has a model for each of several folds.
    """
    if path.is_file():
        return path
    found = sorted(path.glob("folds/*/model.safetensors")) or sorted(path.glob("model.safetensors"))
    if not found:
        raise AkitError(f"{path} is neither a file of weights nor the folder of a finished run with a torch model.")
    if len(found) > 1:
        raise AkitError(f"{path} has {len(found)} models, one a fold. Name the file of one: {found[0]}.")
    return found[0]


def load_but(net: nn.Module, tensors: dict[str, torch.Tensor], new: Sequence[str], source: Path) -> None:
    """Put weights into a network, which keeps its own where a name begins as one of `new` does.

    Raises AkitError, naming `source`, where the networks differ in more than that.
    """
    own = net.state_dict()
    kept = {name: tensor for name, tensor in own.items() if name.startswith(tuple(new))}
    given = {name: tensor for name, tensor in tensors.items() if not name.startswith(tuple(new))}
    if odd := sorted(given.keys() ^ (own.keys() - kept.keys())):
        raise AkitError(f"{source} holds another network's weights: {odd[0]} is in one of the two only.")
    for name, tensor in given.items():
        if tensor.shape != own[name].shape:
            shapes = f"{list(tensor.shape)} there, {list(own[name].shape)} here"
            raise AkitError(f"{source} holds the weights of a network of another size: {name} is {shapes}.")
    net.load_state_dict({**given, **kept})
