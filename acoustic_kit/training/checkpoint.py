"""Training state on disk: tensors as safetensors with the rest as JSON in its metadata, replaced atomically."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from acoustic_kit.errors import AkitError
from acoustic_kit.files import replacing


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any] | None = None) -> None:
    """Write tensors, and JSON as the metadata of the same file, atomically: a crash leaves the previous file.

    Raises AkitError if the file cannot be written.
    """
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        with replacing(path) as temporary:
            save_file(contiguous, temporary, metadata={"state": json.dumps(state)} if state is not None else None)
    except SafetensorError as error:
        raise AkitError(f"{path} cannot be written: {error}.") from error


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors that `save_tensors` wrote. Raises AkitError if the file is missing or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise AkitError(
            f"{path} cannot be read as weights ({error}).\nDelete {path.parent} and run the recipe again: only what "
            "was there is trained again."
        ) from error


def load_state(path: Path) -> dict[str, Any]:
    """Return the JSON that `save_tensors` wrote with the tensors. Raises AkitError if it is missing or damaged."""
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            state: dict[str, Any] = json.loads((file.metadata() or {})["state"])
            return state
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise AkitError(
            f"{path} holds no training state ({error}).\nDelete {path.parent} and run the recipe again: only what "
            "was there is trained again."
        ) from error


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return an optimizer's moments and counters by `<parameter>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{parameter}.{name}": torch.as_tensor(value)
        for parameter, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Restore what `optimizer_tensors` returned, in an optimizer of the same parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        own = parameters[int(number)]
        # In the parameter's memory format, which fused kernels assume of both.
        alike = torch.empty_like(own, dtype=tensor.dtype).copy_(tensor) if tensor.shape == own.shape else tensor
        state.setdefault(int(number), {})[name] = alike
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
