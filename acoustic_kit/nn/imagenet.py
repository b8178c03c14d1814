"""ImageNet weights of torchvision for networks that read spectrograms."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from acoustic_kit.errors import AkitError


def imagenet_weights(weights: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of weights of ``torchvision.models``, which torchvision downloads once into torch's cache.

    Raises AkitError if they are not in the cache and cannot be downloaded.
    """
    cached = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    try:
        if not cached.exists() and os.environ.get("HF_HUB_OFFLINE"):  # set by --offline
            raise OSError("the network is switched off")
        trained: dict[str, torch.Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:  # not the file of that name
        reason = str(error).partition("\n")[0]
        raise AkitError(
            f"Cannot load the ImageNet weights from {weights.url}: {reason}.\n"
            f"Put that file into {cached.parent}, or use --set pretrained=false."
        ) from error
    return trained


def load_imagenet(net: nn.Module, weights: Any) -> None:
    """Load the ImageNet weights of the layers that a network shares with torchvision's model, by their names.

    The first convolution gets the sum over its colors divided by the number of channels, so that its output for a gray
    image is unchanged. The classifier keeps its weights.

    Parameters
    ----------
    net : changed in place
    weights : of ``torchvision.models``, such as ``ResNet34_Weights.IMAGENET1K_V1``

    Raises
    ------
    AkitError
        The weights are not in the cache and cannot be downloaded, or have another shape.

    """
    trained = imagenet_weights(weights)
    own = net.state_dict()
    shared = {name: tensor for name, tensor in trained.items() if name in own and not name.startswith("fc.")}
    if "conv1.weight" in shared:
        n_channels = own["conv1.weight"].shape[1]
        colors = shared["conv1.weight"].sum(dim=1, keepdim=True) / n_channels
        shared["conv1.weight"] = colors.expand(-1, n_channels, -1, -1)
    if other := [name for name, tensor in shared.items() if tensor.shape != own[name].shape]:
        raise AkitError(
            f"The ImageNet weights do not fit this network ({other[0]} differs). Use --set pretrained=false."
        )
    net.load_state_dict(shared, strict=False)
