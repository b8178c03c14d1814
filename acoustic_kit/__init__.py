"""akit: from audio clips to a competition's winning submission.

>>> import acoustic_kit as akit
>>> ws = akit.init("work", data="clips", metric="f1")
>>> run = ws.run("my_recipe", epochs=20)

Everything that notebooks, scripts and recipes use is exported here. It is loaded on first use, so that
``import acoustic_kit`` is fast.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

from acoustic_kit.caches import provide_caches

if TYPE_CHECKING:
    from acoustic_kit.api.blend import FittedBlend
    from acoustic_kit.api.features import BuiltFeature
    from acoustic_kit.api.open_workspace import OpenWorkspace
    from acoustic_kit.api.predict import predict
    from acoustic_kit.api.runs import TrainedRun
    from acoustic_kit.api.start import download, init, open_workspace
    from acoustic_kit.data import make_manifest, read_dataset
    from acoustic_kit.data.clips import Clips, FitResult, Fold, class_probabilities
    from acoustic_kit.errors import (
        AkitError,
        AkitWarning,
        DataError,
        RecipeError,
        RunError,
        SubmissionError,
        UsageError,
    )
    from acoustic_kit.features import Ast, AstInput, Feature, LogMel, Pca, Pcen, Stats, Wave, build_features
    from acoustic_kit.prediction import predict_clips
    from acoustic_kit.recipe.needs import Needs
    from acoustic_kit.recipe.recipe import load_recipe
    from acoustic_kit.recipe.settings import Fast, Settings
    from acoustic_kit.runs.runner import run_recipe
    from acoustic_kit.training import fit, forward
    from acoustic_kit.workspace import Workspace
    from acoustic_store import StoreError
else:
    from importlib import import_module

    _MODULES = {  # exported name → its module, as above
        "AkitError": "acoustic_kit.errors",
        "AkitWarning": "acoustic_kit.errors",
        "Ast": "acoustic_kit.features",
        "AstInput": "acoustic_kit.features",
        "BuiltFeature": "acoustic_kit.api.features",
        "Clips": "acoustic_kit.data.clips",
        "DataError": "acoustic_kit.errors",
        "Fast": "acoustic_kit.recipe.settings",
        "Feature": "acoustic_kit.features",
        "FitResult": "acoustic_kit.data.clips",
        "FittedBlend": "acoustic_kit.api.blend",
        "Fold": "acoustic_kit.data.clips",
        "LogMel": "acoustic_kit.features",
        "Needs": "acoustic_kit.recipe.needs",
        "OpenWorkspace": "acoustic_kit.api.open_workspace",
        "Pca": "acoustic_kit.features",
        "Pcen": "acoustic_kit.features",
        "RecipeError": "acoustic_kit.errors",
        "RunError": "acoustic_kit.errors",
        "Settings": "acoustic_kit.recipe.settings",
        "Stats": "acoustic_kit.features",
        "StoreError": "acoustic_store",
        "SubmissionError": "acoustic_kit.errors",
        "TrainedRun": "acoustic_kit.api.runs",
        "UsageError": "acoustic_kit.errors",
        "Wave": "acoustic_kit.features",
        "Workspace": "acoustic_kit.workspace",
        "build_features": "acoustic_kit.features",
        "class_probabilities": "acoustic_kit.data.clips",
        "download": "acoustic_kit.api.start",
        "fit": "acoustic_kit.training",
        "forward": "acoustic_kit.training",
        "init": "acoustic_kit.api.start",
        "load_recipe": "acoustic_kit.recipe.recipe",
        "make_manifest": "acoustic_kit.data",
        "open_workspace": "acoustic_kit.api.start",
        "predict": "acoustic_kit.api.predict",
        "predict_clips": "acoustic_kit.prediction",
        "read_dataset": "acoustic_kit.data",
        "run_recipe": "acoustic_kit.runs.runner",
    }

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value


__version__ = "0.1.0"

__all__ = [
    "AkitError",
    "AkitWarning",
    "Ast",
    "AstInput",
    "BuiltFeature",
    "Clips",
    "DataError",
    "Fast",
    "Feature",
    "FitResult",
    "FittedBlend",
    "Fold",
    "LogMel",
    "Needs",
    "OpenWorkspace",
    "Pca",
    "Pcen",
    "RecipeError",
    "RunError",
    "Settings",
    "Stats",
    "StoreError",
    "SubmissionError",
    "TrainedRun",
    "UsageError",
    "Wave",
    "Workspace",
    "__version__",
    "build_features",
    "class_probabilities",
    "download",
    "fit",
    "forward",
    "init",
    "load_recipe",
    "make_manifest",
    "open_workspace",
    "predict",
    "predict_clips",
    "read_dataset",
    "run_recipe",
]

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
