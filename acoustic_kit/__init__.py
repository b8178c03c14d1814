"""akit: from audio clips to a competition's winning submission.

What recipes and scripts use is exported here and loaded on first use, so that ``import acoustic_kit`` costs nothing.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from acoustic_kit.caches import provide_caches

__version__ = "0.1.0"

_EXPORTS = {
    "AkitError": "acoustic_kit.errors",
    "Ast": "acoustic_kit.features",
    "AstInput": "acoustic_kit.features",
    "Clips": "acoustic_kit.training.fold",
    "DataError": "acoustic_kit.errors",
    "Fast": "acoustic_kit.recipe.settings",
    "Feature": "acoustic_kit.features",
    "FitResult": "acoustic_kit.training.fold",
    "Fold": "acoustic_kit.training.fold",
    "LogMel": "acoustic_kit.features",
    "Needs": "acoustic_kit.recipe.needs",
    "Pca": "acoustic_kit.features",
    "Pcen": "acoustic_kit.features",
    "RecipeError": "acoustic_kit.errors",
    "RunError": "acoustic_kit.errors",
    "Settings": "acoustic_kit.recipe.settings",
    "Stats": "acoustic_kit.features",
    "StoreError": "acoustic_store",
    "SubmissionError": "acoustic_kit.errors",
    "UsageError": "acoustic_kit.errors",
    "Wave": "acoustic_kit.features",
    "Workspace": "acoustic_kit.workspace",
    "build_features": "acoustic_kit.features",
    "class_probabilities": "acoustic_kit.training.fold",
    "fit": "acoustic_kit.training",
    "forward": "acoustic_kit.training",
    "load_recipe": "acoustic_kit.recipe.recipe",
    "make_manifest": "acoustic_kit.data",
    "predict_clips": "acoustic_kit.prediction",
    "read_dataset": "acoustic_kit.data",
    "run_recipe": "acoustic_kit.runs.runner",
}

__all__ = ["__version__", *_EXPORTS]  # noqa: PLE0604

provide_caches()  # before the libraries look for theirs


class _FormerModules:
    """Finds modules of this package by their former names; asked only if there is no module of the name."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith("acoustic_kit."):
            return None
        from acoustic_kit.recipe.former_modules import former_spec

        return former_spec(name)


sys.meta_path.append(_FormerModules)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value
