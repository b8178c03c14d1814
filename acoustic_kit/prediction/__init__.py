"""Prediction of new clips by a trained run or a blend, from the run folders alone: without workspace or network access.

A run's folder contains everything needed: each fold's weights and fitted features, the recipe, the classes, the
features' parameters and the shape of a pretrained backbone. Run folders are untrusted: nothing of them is executed
unless it equals an installed recipe, or the user trusts it.
"""

from acoustic_kit.features import Embed
from acoustic_kit.prediction.models import MemberModel, Predictor, open_predictor
from acoustic_kit.prediction.new_clips import clips_at, clips_of_template, read_columns
from acoustic_kit.prediction.predict import ClipPredictions, predict_clips, predict_rows
from acoustic_kit.prediction.rows import RowPlan, choose_windows, plan_rows
from acoustic_kit.prediction.run_encoder import RunEncoder

__all__ = [
    "ClipPredictions",
    "Embed",  # which knows runs once this package is imported
    "MemberModel",
    "Predictor",
    "RowPlan",
    "RunEncoder",
    "choose_windows",
    "clips_at",
    "clips_of_template",
    "open_predictor",
    "plan_rows",
    "predict_clips",
    "predict_rows",
    "read_columns",
]
