"""A fold's model from its file: tensors with safetensors, scikit-learn's with skops, whose audit decides on types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from acoustic_kit.compute import Compute
from acoustic_kit.errors import AkitError

TENSORS, ESTIMATOR = "model.safetensors", "model.skops"
HARMLESS = frozenset({"numpy.clip"})  # functions that do nothing but arithmetic, and that skops does not know


def check_model(folder: Path, *, trusted: bool, own_types: str) -> None:
    """Raise AkitError unless a fold's folder holds a model that may be loaded; nothing is loaded yet.

    Parameters
    ----------
    trusted : any types may be loaded; without, only those that skops vouches for, and the recipe's own
    own_types : what the names of the recipe's types begin with; the recipe runs anyway

    """
    if (folder / TENSORS).is_file():
        return
    path = folder / ESTIMATOR
    if not path.is_file():
        raise AkitError(f"{folder} holds no model. Copy the whole folder of the run.")
    foreign = [name for name in _unknown_types(path) if not name.startswith(own_types)]
    if foreign and not trusted:
        raise AkitError(
            f"{path} holds types that skops does not know to be harmless: {', '.join(foreign[:5])}.\n"
            "If the run comes from somebody you trust, add --trust."
        )


def load_model(folder: Path, build: Callable[[], Any], compute: Compute) -> Any:
    """The model that the runner stored in a fold's folder, which `check_model` has seen, ready to predict.

    Parameters
    ----------
    build : makes the bare network whose tensors are in the folder
    compute : where networks predict

    Raises AkitError where it is damaged or does not fit.

    """
    if (folder / TENSORS).is_file():
        return _network(folder / TENSORS, build, compute)
    import skops.io

    path = folder / ESTIMATOR
    unknown = [*_unknown_types(path), *HARMLESS]
    try:
        return skops.io.load(path, trusted=unknown)
    except Exception as error:
        raise _unreadable(path, error) from error


def _network(path: Path, build: Callable[[], Any], compute: Compute) -> Any:
    from acoustic_kit.training import load_tensors, make_fabric
    from acoustic_kit.training.transfer import load_but

    net, tensors = build(), load_tensors(path)
    try:
        load_but(net, tensors, (), path)
    except AkitError as error:
        raise AkitError(f"{error} This akit builds another network than the one that trained it.") from error
    return net.to(make_fabric(compute).device).eval()


def _unknown_types(path: Path) -> list[str]:
    """The types in a skops file that neither skops nor akit vouches for."""
    import skops.io

    try:
        return [name for name in skops.io.get_untrusted_types(file=path) if name not in HARMLESS]
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> AkitError:
    """For a damaged or hostile file, which fails in as many ways as there are types."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return AkitError(
        f"{path} cannot be read as a model: {reason}.\nCopy the run's folder again, or delete {path.parent} and run "
        "the recipe again: that trains only this fold anew."
    )
