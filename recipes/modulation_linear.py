"""Modulation spectra beside spectral statistics or covariances of MFCC, and logistic regression.

Source: akit's own; a minute on a laptop.
Published stats_modulation_linear: none (ESC-10, EnvNet-v2 with between-class learning: 0.913, people: 0.957 accuracy).
Published covariance_modulation_linear: none; errs on other clips than stats_modulation_linear, to be blended with it.
Differs: from `stats_pca_linear`: how fast and how regularly each band beats is measured too.
One thread makes the scores the same with any number of cores.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field
from sklearn.compose import ColumnTransformer
from threadpoolctl import threadpool_limits

import acoustic_kit as akit
from acoustic_kit.recipe.heads import Examples, LinearModel, Logistic, clipped_scaler, probabilities, side_by_side

if TYPE_CHECKING:
    import optuna


class Settings(akit.Settings):
    sample_rate: int = Field(22050, ge=4000, description="Hz; clips are resampled to it")
    spectrum: Literal["stats", "covariance"] = Field("stats", description="what is measured beside modulation")
    segment: float = Field(2.0, ge=2, le=60, description="seconds over which modulation is analyzed")
    clip: float = Field(3.0, gt=0, description="standardized columns are clipped at so many deviations")
    C: float = Field(0.1, gt=0, description="inverse strength of the L2 penalty")


VARIANTS = {
    "stats_modulation_linear": {},
    "covariance_modulation_linear": {"spectrum": "covariance", "C": 0.3},
}
SEEDED = False  # nothing is random: every seed gives the same run
FAST = akit.Fast(clips_per_class=8, folds=2, settings={"sample_rate": 8000})


def features(s: Settings) -> dict[str, akit.Feature]:
    wave, hop = akit.Wave(sample_rate=s.sample_rate), s.sample_rate // 172  # 6 ms
    spectrum = akit.Stats(wave) if s.spectrum == "stats" else akit.Covariance(akit.LogMel(wave, n_mels=64))
    return {"modulation": akit.Modulation(wave, 4 * hop, hop, seconds=s.segment), "spectrum": spectrum}


@dataclass(frozen=True)
class Model:
    scaler: ColumnTransformer
    head: LinearModel


def standardizer(n_modulation: int, n_spectrum: int, clip: float) -> ColumnTransformer:
    """Return a transformer that gives both families of columns the same total variance."""
    columns = {"modulation": slice(n_modulation), "spectrum": slice(n_modulation, n_modulation + n_spectrum)}
    total = 1351  # variance of each, the columns of `stats`: the scale for which C was chosen
    return ColumnTransformer(
        [(name, clipped_scaler(clip), part) for name, part in columns.items()],
        transformer_weights={
            "modulation": math.sqrt(total / n_modulation),
            "spectrum": math.sqrt(total / n_spectrum),
        },
    )


def train(fold: akit.Fold, s: Settings) -> akit.FitResult:
    clips, x = fold.train, side_by_side(fold.train)
    with threadpool_limits(1):  # more threads would wait for each other on busy cores
        widths = clips["modulation"].shape[1], clips["spectrum"].shape[1]
        scaler = standardizer(*widths, s.clip).fit(x)
        head = Logistic(Examples.of(clips, scaler.transform(x))).model(s.C)
        return akit.FitResult(Model(scaler, head), uses=Logistic.USES)


def predict(model: Model, clips: akit.Clips, s: Settings) -> np.ndarray:
    return probabilities(model.head.logits(model.scaler.transform(side_by_side(clips))), clips.task)


def search(trial: "optuna.Trial") -> dict[str, Any]:
    return {
        "clip": trial.suggest_float("clip", 1.5, 10, log=True),
        "C": trial.suggest_float("C", 1e-3, 10, log=True),
    }
