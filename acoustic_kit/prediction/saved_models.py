"""Loading of a fold's model: tensors by safetensors, other models by skops, which audits their types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from acoustic_kit.device import Compute
from acoustic_kit.errors import AkitError, RunError
from acoustic_kit.prediction.array_indices import check_indices
from acoustic_kit.prediction.trusted_types import unknown_types
from acoustic_kit.recipe.recipe_file import MODULE_PREFIX

TENSORS, ESTIMATOR = "model.safetensors", "model.skops"


def recipe_called(folder: Path) -> str | None:
    """Return the file name of the recipe, without suffix, whose classes a fold's model contains; None if it has none.

    A run has the name of a variant, and its copy of the recipe another file name, but the model names the module.
    """
    import skops.io

    try:
        types = skops.io.get_untrusted_types(file=folder / ESTIMATOR)
    except Exception:  # no such model, or a damaged one, which `check_model` reports
        return None
    modules = {name.rpartition(".")[0] for name in types if name.startswith(MODULE_PREFIX)}
    return min(modules).removeprefix(MODULE_PREFIX) if modules else None


def check_model(folder: Path, recipe: ModuleType, *, trusted: bool) -> None:
    """Raise RunError unless a fold's folder contains a model that may be loaded; nothing is loaded.

    Parameters
    ----------
    recipe : the recipe, which is executed anyway: types that its source defines add no risk
    trusted : whether any types may be loaded; else only those that `trusted_types` lists

    """
    if not (folder / TENSORS).is_file():
        _types(folder, recipe, trusted)


def load_model(
    folder: Path, build: Callable[[], Any], compute: Compute, recipe: ModuleType, *, trusted: bool = False
) -> Any:
    """Load the model that the runner stored in a fold's folder, for prediction.

    Parameters
    ----------
    build : returns the bare network whose tensors are in the folder
    compute : device and precision of networks
    recipe, trusted : see `check_model`

    Raises RunError if it is damaged, does not fit, or may not be loaded.

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
    """Return the types that a model may contain besides those that skops trusts. Raises RunError for any other."""
    path = folder / ESTIMATOR
    if not path.is_file():
        raise RunError(f"{folder} contains no model. Copy the whole folder of the run.")
    try:
        harmless, others = unknown_types(path, recipe)
    except Exception as error:
        raise _unreadable(path, error) from error
    if others and not trusted:
        raise RunError(
            f"{path} contains types that are not known to be harmless: {', '.join(others[:5])}.\n"
            "If you trust the source of the run, add --trust."
        )
    return [*harmless, *others]


def _network(path: Path, build: Callable[[], Any], compute: Compute) -> Any:
    from acoustic_kit.training import load_tensors, make_fabric
    from acoustic_kit.training.transfer import load_but

    net, tensors = build(), load_tensors(path)
    try:
        load_but(net, tensors, (), path)
    except AkitError as error:
        raise RunError(f"{error} This version of akit builds another network than the one that was trained.") from error
    return net.to(make_fabric(compute).device).eval()


def _unreadable(path: Path, error: Exception) -> RunError:
    """Return the error for a damaged or hostile file, which can raise any exception."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return RunError(
        f"{path} cannot be read as a model: {reason}.\nCopy the run's folder again, or delete {path.parent} and run "
        "the recipe again, which retrains only this fold."
    )
