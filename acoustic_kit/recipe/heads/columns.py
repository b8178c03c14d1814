"""The columns that heads read: embeddings of one or several models, and spectral statistics, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from acoustic_kit.data.clips import Clips
from acoustic_kit.features.weights import AST_NAME
from acoustic_kit.recipe.settings import Settings

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


class EmbeddingSettings(Settings):
    """The settings that all recipes on embeddings share."""

    models: tuple[str, ...] = Field(
        (AST_NAME,),
        description="of the embeddings, side by side: names on the Hugging Face hub, folders, files or runs",
    )
    layer: str | None = Field(None, description="of the models, by number or name; none: each model's usual one")
    pool: Literal["mean", "max", "mean+std"] = Field("mean", description="over the frames of a clip")
    stats: bool = Field(False, description="spectral statistics beside the embeddings")
    clip: float = Field(3.0, gt=0, description="standardized columns are clipped at so many deviations")

    @model_validator(mode="after")
    def _reads_anything(self) -> EmbeddingSettings:
        if not (self.models or self.stats):
            raise ValueError("without models it needs stats=true")
        return self


def side_by_side(clips: Clips, names: Sequence[str] = ()) -> np.ndarray:
    """Return features of the clips, all by default, as one table: float32 (clips, columns)."""
    return np.concatenate([clips[name] for name in names or sorted(clips.features)], axis=1)


def clipped_scaler(limit: float) -> Pipeline:
    """Return a transformer that standardizes columns and clips them at so many deviations.

    Skewness and kurtosis, for example, have heavy tails.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    return make_pipeline(StandardScaler(), FunctionTransformer(np.clip, kw_args={"a_min": -limit, "a_max": limit}))
