"""Common parts of the eight recipes of UrbanSound8K's winning solution: settings, front end, batches, call of `fit`.

Source: github.com/Jaasssoooonnnnn/Urbansound8K_Competition @ 6ddcad5.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torchvision.models import ResNet34_Weights, WeightsEnum

from acoustic_kit.data.clips import Clips, FitResult, Fold
from acoustic_kit.nn import (
    CbamResnet34,
    DeepStemResnet,
    EmbeddingFusion,
    WaveFrontEnd,
    imagenet_weights,
    load_imagenet,
)
from acoustic_kit.recipe.needs import Needs
from acoustic_kit.recipe.settings import Fast, Settings
from acoustic_kit.recipe.side_inputs import one_hot_column
from acoustic_kit.training import Batches, Phase, default_loss, fit

if TYPE_CHECKING:
    import optuna

Mels = Annotated[int, Field(ge=1, description="mel bands")]
MaskBands = Annotated[int, Field(ge=0, description="width of the frequency mask is below this")]
MaskFrames = Annotated[int, Field(ge=0, description="width of the time mask is below this")]
Mixup = Annotated[float, Field(ge=0, description="α of mixup's Beta distribution; one λ per batch")]
LabelSmoothing = Annotated[float, Field(ge=0, lt=1, description="fraction of the target spread over all classes")]
Dropout = Annotated[float, Field(ge=0, lt=1, description="before the output")]
Epochs = Annotated[int, Field(ge=1, description="passes over the training clips")]
BatchSize = Annotated[int, Field(ge=1, description="clips per step; a smaller last batch is left out")]
Lr = Annotated[float, Field(gt=0, description="highest learning rate of AdamW")]
WeightDecay = Annotated[float, Field(ge=0, description="weight decay of AdamW")]
Rho = Annotated[float, Field(gt=0, description="radius of SAM's step uphill")]
ClipNorm = Annotated[float, Field(gt=0, description="largest norm of the gradient, in both of SAM's passes")]
Pretrained = Annotated[bool, Field(description="start from ImageNet's weights, which torchvision downloads")]
BOTH_SCORES = "0.8*accuracy+0.2*f1"  # the competition's metric


class WaveSettings(Settings):
    """Settings of all eight recipes, which read waves."""

    sample_rate: int = Field(32000, ge=8000, description="Hz; clips are resampled to it")
    encoding: Literal["float32", "int16"] = Field("float32", description="of stored waves; int16 takes half the space")
    seconds: float = Field(4.0, gt=0, description="clips are cut to their middle, or padded at the end")
    n_mels: Mels = 128
    max_mask_frames: MaskFrames = 40
    mixup: Mixup = 1.0
    epochs: Epochs = 120
    batch_size: BatchSize = 128
    lr: Lr = 1e-3
    weight_decay: WeightDecay = 1e-3
    rho: Rho = 0.05
    checkpoint: Literal["best", "last"] = Field("best", description="epoch that is kept: best on validation, or last")
    micro_batch: int | None = Field(None, ge=1, description="clips in memory at once; gradients are accumulated")


class SalienceSettings(WaveSettings):
    """Settings of the recipes that read the salience in addition to the audio."""

    max_mask_bands: MaskBands = 20
    salience: Literal["manifest", "none"] = Field("manifest", description="column of the manifest, 1 or 2; or unknown")
    salience_width: int = Field(64, ge=1, description="of the salience's embedding")
    label_smoothing: LabelSmoothing = 0.1
    dropout: float = Field(0.3, ge=0, lt=1, description="of the pooled sound, before the output")


def fast(**settings: Any) -> Fast:
    """Return the small form: a second of each clip at 8 kHz, without masks and mixup, which need more steps."""
    common = {"sample_rate": 8000, "seconds": 1.0, "n_mels": 32, "max_mask_frames": 0, "mixup": 0.0}
    return Fast(clips_per_class=8, folds=2, settings=common | settings)


def search_optimizer(trial: optuna.Trial) -> dict[str, Any]:
    """Return settings of one trial: rate, decay, mixup and ρ."""
    return {
        "lr": trial.suggest_float("lr", 1e-4, 5e-3, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-4, 1e-1, log=True),
        "mixup": trial.suggest_float("mixup", 0.5, 2.0),
        "rho": trial.suggest_float("rho", 0.02, 0.1),
    }


def search_regularized(trial: optuna.Trial) -> dict[str, Any]:
    """Return settings of one trial: those of `search_optimizer`, and dropout."""
    return search_optimizer(trial) | {"dropout": trial.suggest_float("dropout", 0.0, 0.5, step=0.1)}


def needs_of(s: Any, weights: WeightsEnum | None = ResNet34_Weights.IMAGENET1K_V1) -> Needs:
    """Return what a recipe needs: the salience, a validation fold, and ImageNet's weights, as the settings say."""
    return Needs(
        columns=("salience",) if getattr(s, "salience", "none") == "manifest" else (),
        validation=s.checkpoint == "best",
        weights=partial(imagenet_weights, weights) if getattr(s, "pretrained", False) else None,
    )


def one_hot_salience(clips: Clips) -> np.ndarray:
    """Return whether a sound is in the foreground (1, or unknown) or background (2), one-hot: float32 (clips, 2)."""
    return one_hot_column(clips, "salience", (1, 2), default=1)


def wave_batches(s: Any, *, side: Callable[[Clips], np.ndarray] = one_hot_salience, **options: Any) -> Batches:
    """Return batches of waves (clips, 1, n), mixed by batch, with the salience if the settings ask for it."""
    return Batches(
        "wave",
        s.batch_size,
        round(s.seconds * s.sample_rate),
        channel_axis=True,
        side=side if getattr(s, "salience", "none") == "manifest" else None,
        mixup=s.mixup,
        mixup_by="batch",
        **{"drop_last": True, **options},
    )


def front_end(s: Any, n_fft: int | tuple[int, ...] = 2048, **options: Any) -> WaveFrontEnd:
    """Return the layers from waves to masked PCEN spectrograms. Further parameters as for `WaveFrontEnd`."""
    masks = {"max_mask_bands": getattr(s, "max_mask_bands", 0), "max_mask_frames": s.max_mask_frames}
    return WaveFrontEnd(s.sample_rate, n_fft, n_mels=s.n_mels, **{**masks, **options})


def salience_fusion(s: Any, backbone: CbamResnet34 | DeepStemResnet, n_classes: int) -> EmbeddingFusion:
    """Return a network that takes waves (clips, 1, n), and saliences (clips, 2) → logits (clips, classes)."""
    return EmbeddingFusion(
        front_end(s),
        backbone,
        backbone.width,
        n_classes,
        n_categories=2,
        embedding_width=s.salience_width,
        dropout=s.dropout,
    )


def fit_with_sam(
    fold: Fold,
    s: Any,
    net: nn.Module,
    phase: Phase,
    batches: Batches,
    *,
    best: str = "accuracy",
    weights: WeightsEnum | None = ResNet34_Weights.IMAGENET1K_V1,
) -> FitResult:
    """Train a network with AdamW and SAM for one phase, as all eight recipes do.

    Parameters
    ----------
    net : its `backbone` starts from `weights` with the setting `pretrained`
    best : metric by which the epoch is kept, with `checkpoint=best`

    """
    if getattr(s, "pretrained", False) and weights is not None:
        load_imagenet(net.get_submodule("backbone"), weights)
    return fit(
        fold,
        "resnet",
        net,
        batches=batches,
        phases=[phase],
        optimizer=partial(torch.optim.AdamW, lr=s.lr, weight_decay=s.weight_decay),
        loss=default_loss(fold.train.task, getattr(s, "label_smoothing", 0.0)),
        keep=best if s.checkpoint == "best" else "last",
        clip_norm=getattr(s, "clip_norm", None),
        micro_batch=s.micro_batch,
        sam=s.rho,
    )
