"""ResNet-34 on two resolutions at once, FiLM by salience, and a recurrent network over time.

New against `resnet34_salience_fusion_film_attention`: mel spectrograms of two window lengths as two channels, a GRU, an
attention that all channels share, random crops, and a schedule by batch.

Source: github.com/Jaasssoooonnnnn/Urbansound8K_Competition @ 6ddcad5,
  ResNet/resnet34_mr_salience_fusion_film_attention.py.
Published: UrbanSound8K, mean of eight fold models on folds 9 and 10: accuracy 0.851, 0.8*accuracy+0.2*f1 0.853.
Reproduce:
  - `akit init work --data UrbanSound8K --test-folds 9,10 --metric "0.8*accuracy+0.2*f1"`
  - `akit -C work recipe run resnet34_mr_salience_fusion_film_attention`
  - `akit -C work blend --runs resnet34_mr_salience_fusion_film_attention --method mean --name mr`
  - `akit -C work score work/submissions/mr.csv`
Differs: see "What the eight models share" in docs/recipes.md; and:
  - The report has the CBAMs in the residual blocks, the code one after each stage: so here, as it scored.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import nn

import acoustic_kit as akit
from acoustic_kit.nn import CbamResnet34, Film, MixedEmbedding
from acoustic_kit.recipe import urbansound8k as us8k
from acoustic_kit.training import Batches, Phase, cosine, warmup

if TYPE_CHECKING:
    import optuna


class Settings(us8k.SalienceSettings):
    seconds: float = Field(4.0, gt=0, description="clips are cut, in training at random, or padded at the end")
    n_fft: tuple[PositiveInt, ...] = Field((2048, 1024), min_length=1, description="samples in each channel's window")
    max_mask_frames: us8k.MaskFrames = 80
    gru_width: int = Field(256, ge=1, description="of the GRU, in each direction")
    mixup_share: float = Field(0.9, ge=0, le=1, description="fraction of batches that are mixed")
    balanced: bool = Field(False, description="draw clips so that classes come equally often")
    dropout: us8k.Dropout = 0.4
    epochs: us8k.Epochs = 160
    warm_up_epochs: int = Field(5, ge=0, description="with a rate that rises linearly from 0")
    weight_decay: us8k.WeightDecay = 1e-4
    clip_norm: us8k.ClipNorm = 2.0
    pretrained: us8k.Pretrained = False


WRITE_UP = {}  # all settings are the published ones
FAST = us8k.fast(
    max_mask_bands=0, dropout=0.0, epochs=10, warm_up_epochs=1, batch_size=8, salience="none", n_mels=16, gru_width=32
)
needs = us8k.needs_of


def search(trial: "optuna.Trial") -> dict[str, Any]:
    return us8k.search_regularized(trial) | {"mixup_share": trial.suggest_float("mixup_share", 0.5, 1.0)}


def features(s: Settings) -> dict[str, akit.Feature]:
    return {"wave": akit.Wave(s.sample_rate, trim_top_db=None, encoding=s.encoding)}


def salience(clips: akit.Clips) -> np.ndarray:
    """Return the salience, 1 (or unknown) or 2, one-hot; row 0 of the original's embedding, for padding, is unused."""
    return np.pad(us8k.one_hot_salience(clips), ((0, 0), (1, 0)))


def class_weights(clips: akit.Clips) -> np.ndarray:
    """Return for each clip one over the number of clips of its class."""
    return 1 / np.bincount(clips.labels)[clips.labels]


def batches(s: Settings) -> Batches:
    weights = class_weights if s.balanced else None
    return us8k.wave_batches(s, side=salience, short="start", mixup_share=s.mixup_share, weights=weights)


class SharedAttentionPooling(nn.Module):
    """Mean and standard deviation over time, with one weight per frame: (clips, frames, width) → (clips, 2 · width)."""

    def __init__(self, width: int, hidden: int = 128) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.attention(x).softmax(dim=1)
        mean = (weights * x).sum(dim=1)
        variance = (weights * (x - mean[:, None]).square()).sum(dim=1)
        return torch.cat([mean, (variance + 1e-6).sqrt()], dim=1)


class FilmCrnn(nn.Module):
    """Waves (clips, 1, n), and saliences (clips, 3) → logits (clips, classes)."""

    def __init__(self, s: Settings, n_classes: int) -> None:
        super().__init__()
        self.front_end = us8k.front_end(s, s.n_fft, extra_eps=1e-6)
        self.backbone = CbamResnet34(len(s.n_fft), max_pool=False)
        self.embedding = MixedEmbedding(3, s.salience_width)
        nn.init.zeros_(self.embedding.table[0])
        self.film = Film(s.salience_width, 512)
        self.gru = nn.GRU(512, s.gru_width, 2, batch_first=True, dropout=0.2, bidirectional=True)
        self.pooling = SharedAttentionPooling(2 * s.gru_width)
        self.norm, self.dropout = nn.BatchNorm1d(4 * s.gru_width), nn.Dropout(s.dropout)
        self.output = nn.Linear(4 * s.gru_width, n_classes)

    def forward(self, waves: torch.Tensor, salience: torch.Tensor | None = None) -> torch.Tensor:
        if salience is None:
            salience = waves.new_zeros(len(waves), 3)
        maps = self.film(self.backbone(self.front_end(waves)), self.embedding(salience))
        frames, _ = self.gru(maps.mean(dim=2).transpose(1, 2))  # (clips, frames, 2 · gru_width)
        return self.output(self.dropout(self.norm(self.pooling(frames))))


def build_model(s: Settings, n_classes: int) -> nn.Module:
    return FilmCrnn(s, n_classes)


def train(fold: akit.Fold, s: Settings) -> akit.FitResult:
    phase = Phase(s.epochs, warmup(cosine(s.lr), s.warm_up_epochs))
    net = build_model(s, fold.n_classes)
    return us8k.fit_with_sam(fold, s, net, phase, batches(s), best=us8k.BOTH_SCORES)
