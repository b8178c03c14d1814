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

if TYPE_CHECKING:  # `as` exports a name
    from acoustic_kit.api.blend import FittedBlend as FittedBlend
    from acoustic_kit.api.bundle import bundle as bundle
    from acoustic_kit.api.export import export as export
    from acoustic_kit.api.features import BuiltFeature as BuiltFeature
    from acoustic_kit.api.open_workspace import OpenWorkspace as OpenWorkspace
    from acoustic_kit.api.predict import predict as predict
    from acoustic_kit.api.runs import TrainedRun as TrainedRun
    from acoustic_kit.api.start import download as download
    from acoustic_kit.api.start import init as init
    from acoustic_kit.api.start import open_workspace as open_workspace
    from acoustic_kit.api.submissions import score as score
    from acoustic_kit.data import make_manifest as make_manifest
    from acoustic_kit.data import read_dataset as read_dataset
    from acoustic_kit.data.clips import Clips as Clips
    from acoustic_kit.data.clips import FitResult as FitResult
    from acoustic_kit.data.clips import Fold as Fold
    from acoustic_kit.data.clips import class_probabilities as class_probabilities
    from acoustic_kit.errors import AkitError as AkitError
    from acoustic_kit.errors import AkitWarning as AkitWarning
    from acoustic_kit.errors import DataError as DataError
    from acoustic_kit.errors import RecipeError as RecipeError
    from acoustic_kit.errors import RunError as RunError
    from acoustic_kit.errors import SubmissionError as SubmissionError
    from acoustic_kit.errors import UsageError as UsageError
    from acoustic_kit.features import Ast as Ast
    from acoustic_kit.features import AstInput as AstInput
    from acoustic_kit.features import Covariance as Covariance
    from acoustic_kit.features import Feature as Feature
    from acoustic_kit.features import LogMel as LogMel
    from acoustic_kit.features import Modulation as Modulation
    from acoustic_kit.features import Pca as Pca
    from acoustic_kit.features import Pcen as Pcen
    from acoustic_kit.features import Stats as Stats
    from acoustic_kit.features import Wave as Wave
    from acoustic_kit.features import build_features as build_features
    from acoustic_kit.prediction import Embed as Embed
    from acoustic_kit.prediction import predict_clips as predict_clips
    from acoustic_kit.recipe.needs import Needs as Needs
    from acoustic_kit.recipe.recipe import load_recipe as load_recipe
    from acoustic_kit.recipe.settings import Fast as Fast
    from acoustic_kit.recipe.settings import Settings as Settings
    from acoustic_kit.runs.runner import run_recipe as run_recipe
    from acoustic_kit.training import fit as fit
    from acoustic_kit.training import forward as forward
    from acoustic_kit.workspace import Workspace as Workspace
    from acoustic_store import StoreError as StoreError
else:
    from importlib import import_module

    _EXPORTS = {  # module → the names that it exports here, as above
        "acoustic_kit.api.blend": "FittedBlend",
        "acoustic_kit.api.bundle": "bundle",
        "acoustic_kit.api.export": "export",
        "acoustic_kit.api.features": "BuiltFeature",
        "acoustic_kit.api.open_workspace": "OpenWorkspace",
        "acoustic_kit.api.predict": "predict",
        "acoustic_kit.api.runs": "TrainedRun",
        "acoustic_kit.api.start": "download init open_workspace",
        "acoustic_kit.api.submissions": "score",
        "acoustic_kit.data": "make_manifest read_dataset",
        "acoustic_kit.data.clips": "Clips FitResult Fold class_probabilities",
        "acoustic_kit.errors": "AkitError AkitWarning DataError RecipeError RunError SubmissionError UsageError",
        "acoustic_kit.features": "Ast AstInput Covariance Feature LogMel Modulation Pca Pcen Stats Wave build_features",
        "acoustic_kit.prediction": "Embed predict_clips",
        "acoustic_kit.recipe.needs": "Needs",
        "acoustic_kit.recipe.recipe": "load_recipe",
        "acoustic_kit.recipe.settings": "Fast Settings",
        "acoustic_kit.runs.runner": "run_recipe",
        "acoustic_kit.training": "fit forward",
        "acoustic_kit.workspace": "Workspace",
        "acoustic_store": "StoreError",
    }
    _MODULES = {name: module for module, names in _EXPORTS.items() for name in names.split()}
    __all__ = ["__version__", *_MODULES]  # noqa: PLE0604

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value


__version__ = "0.1.0"
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
