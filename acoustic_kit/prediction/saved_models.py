"""A fold's model from its file: tensors with safetensors, scikit-learn's with skops, whose audit decides on types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from acoustic_kit.device import Compute
from acoustic_kit.errors import AkitError
from acoustic_kit.prediction.array_indices import check_indices
from acoustic_kit.prediction.trusted_types import unknown_types

TENSORS, ESTIMATOR = "model.safetensors", "model.skops"


def check_model(folder: Path, recipe: ModuleType, *, trusted: bool) -> None:
    """Raise AkitError unless a fold's folder holds a model that may be loaded; nothing is loaded yet.

    Parameters
    ----------
    recipe : the recipe, which runs anyway: what its source defines is no risk of its own
    trusted : any types may be loaded; without, only those that `trusted_types` lists

    """
    if not (folder / TENSORS).is_file():
        _types(folder, recipe, trusted)


def load_model(
    folder: Path, build: Callable[[], Any], compute: Compute, recipe: ModuleType, *, trusted: bool = False
) -> Any:
    """Load the model that the runner stored in a fold's folder, ready to predict.

    Parameters
    ----------
    build : makes the bare network whose tensors are in the folder
    compute : where networks predict
    recipe, trusted : see `check_model`

    Raises AkitError if it is damaged, does not fit, or may not be loaded.

    """
    if (folder / TENSORS).is_file():
        return _network(folder / TENSORS, build, compute)
    import skops.io

    types = _types(folder, recipe, trusted)
    try:
        model = skops.io.load(folder / ESTIMATOR, trusted=types)
        if not trusted:
            check_indices(model)
    except Exception as error:
        raise _unreadable(folder / ESTIMATOR, error) from error
    return model


def _types(folder: Path, recipe: ModuleType, trusted: bool) -> list[str]:
    """Return what a model may be built of beside what skops trusts. Raises AkitError if it names anything else."""
    path = folder / ESTIMATOR
    if not path.is_file():
        raise AkitError(f"{folder} holds no model. Copy the whole folder of the run.")
    try:
        harmless, others = unknown_types(path, recipe)
    except Exception as error:
        raise _unreadable(path, error) from error
    if others and not trusted:
        raise AkitError(
            f"{path} holds types that are not known to be harmless: {', '.join(others[:5])}.\n"
            "If the run comes from somebody you trust, add --trust."
        )
    return [*harmless, *others]


def _network(path: Path, build: Callable[[], Any], compute: Compute) -> Any:
    from acoustic_kit.training import load_tensors, make_fabric
    from acoustic_kit.training.transfer import load_but

    net, tensors = build(), load_tensors(path)
    try:
        load_but(net, tensors, (), path)
    except AkitError as error:
        raise AkitError(f"{error} This akit builds another network than the one that trained it.") from error
    return net.to(make_fabric(compute).device).eval()


def _unreadable(path: Path, error: Exception) -> AkitError:
    """For a damaged or hostile file, which fails in as many ways as there are types."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return AkitError(
        f"{path} cannot be read as a model: {reason}.\nCopy the run's folder again, or delete {path.parent} and run "
        "the recipe again: that trains only this fold anew."
    )
