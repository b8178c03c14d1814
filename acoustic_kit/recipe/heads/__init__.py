"""Heads on embeddings: logistic regression, ridge and nearest neighbors, with a strength chosen by inner folds."""

from acoustic_kit.recipe.heads.choice import Choice, choose
from acoustic_kit.recipe.heads.columns import EmbeddingSettings, clipped_scaler, side_by_side
from acoustic_kit.recipe.heads.examples import Examples, probabilities
from acoustic_kit.recipe.heads.linear import LinearModel, Logistic, Ridge
from acoustic_kit.recipe.heads.neighbors import NeighborModel, Neighbors

__all__ = [
    "Choice",
    "EmbeddingSettings",
    "Examples",
    "LinearModel",
    "Logistic",
    "NeighborModel",
    "Neighbors",
    "Ridge",
    "choose",
    "clipped_scaler",
    "probabilities",
    "side_by_side",
]
