"""Features: one file a family, each a frozen dataclass of parameters and a pure function from array to array.

``build_features`` runs them over a manifest into the feature store. Importing this package is cheap: numba, scipy and
soundfile are loaded when the first clip is computed.
"""

from acoustic_kit.features.ast import Ast
from acoustic_kit.features.ast_input import AstInput
from acoustic_kit.features.build.build import build_features
from acoustic_kit.features.build.plan import with_sources
from acoustic_kit.features.build.report import BuildReport
from acoustic_kit.features.covariance import Covariance
from acoustic_kit.features.embed.embed import Embed
from acoustic_kit.features.feature import Feature, Training
from acoustic_kit.features.fingerprints import fingerprints, for_folds
from acoustic_kit.features.logmel import LogMel
from acoustic_kit.features.modulation import Modulation
from acoustic_kit.features.pca import Pca
from acoustic_kit.features.pcen import Pcen
from acoustic_kit.features.registry import FEATURES, feature_from_parameters, feature_from_text, own_features
from acoustic_kit.features.stats import Stats
from acoustic_kit.features.stored import open_feature
from acoustic_kit.features.wave import Wave

__all__ = [
    "FEATURES",
    "Ast",
    "AstInput",
    "BuildReport",
    "Covariance",
    "Embed",
    "Feature",
    "LogMel",
    "Modulation",
    "Pca",
    "Pcen",
    "Stats",
    "Training",
    "Wave",
    "build_features",
    "feature_from_parameters",
    "feature_from_text",
    "fingerprints",
    "for_folds",
    "open_feature",
    "own_features",
    "with_sources",
]
