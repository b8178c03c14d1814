"""New clips through a trained run or a blend, from the run folders alone: without the workspace, without a network.

A run's folder holds all that this takes: each fold's weights and what its features learnt, the recipe, the classes, the
features' parameters and the shape of a pretrained backbone. Run folders may come from anywhere: nothing of them is
executed unless it is a recipe that is installed here too, or the user trusts it.
"""

from acoustic_kit.prediction.models import MemberModel, Predictor, open_predictor
from acoustic_kit.prediction.new_clips import clips_at, clips_of_template, read_columns
from acoustic_kit.prediction.predict import ClipPredictions, predict_clips

__all__ = [
    "ClipPredictions",
    "MemberModel",
    "Predictor",
    "clips_at",
    "clips_of_template",
    "open_predictor",
    "predict_clips",
    "read_columns",
]
