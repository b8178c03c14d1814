"""ResNet-34 with attention: a CBAM after each stage, and attentive statistics pooling.

New against `resnet34_pcen_sam_8f_200e`: the CBAMs, the pooling with its own head, and a cosine schedule that restarts.

Source: github.com/Jaasssoooonnnnn/Urbansound8K_Competition @ 6ddcad5, ResNet/resnet34_attention.py.
Published: UrbanSound8K, mean of eight fold models on folds 9 and 10: accuracy 0.846, 0.8*accuracy+0.2*f1 0.849.
Reproduce:
  - `akit init work --data UrbanSound8K --test-folds 9,10 --metric "0.8*accuracy+0.2*f1"`
  - `akit -C work recipe run resnet34_attention`
  - `akit -C work blend --runs resnet34_attention --method mean --name attention`
  - `akit -C work score work/submissions/attention.csv`
Differs: see "What the eight models share" in docs/recipes.md; and:
  - The report has the CBAMs in the residual blocks, the code one after each stage: so here, as it scored.
"""

from collections import OrderedDict

from pydantic import Field
from torch import nn

import acoustic_kit as akit
from acoustic_kit.nn import AttentiveHead, CbamResnet34
from acoustic_kit.recipe import urbansound8k as us8k
from acoustic_kit.training import Phase, by_epoch, cosine_restarts, warmup


class Settings(us8k.WaveSettings):
    max_mask_bands: us8k.MaskBands = 19
    max_mask_frames: us8k.MaskFrames = 80
    label_smoothing: us8k.LabelSmoothing = 0.1
    dropout: us8k.Dropout = 0.3
    epochs: us8k.Epochs = 150
    first_restart: int = Field(
        10, ge=1, description="epochs until the first restart; each further part is twice as long"
    )
    warm_up_epochs: int = Field(0, ge=0, description="with a rate that rises linearly from 1 %; 5 were meant")
    weight_decay: us8k.WeightDecay = 1e-4
    pretrained: us8k.Pretrained = False


WRITE_UP = {
    "warm_up_epochs": ("5, never used", "the original sets 5 and never uses them; `--set warm_up_epochs=5` does")
}
FAST = us8k.fast(max_mask_bands=0, dropout=0.0, epochs=10, batch_size=8)
search, needs, batches = us8k.search_regularized, us8k.needs_of, us8k.wave_batches


def features(s: Settings) -> dict[str, akit.Feature]:
    return {"wave": akit.Wave(s.sample_rate, trim_top_db=None, seconds=s.seconds, encoding=s.encoding)}


def build_model(s: Settings, n_classes: int) -> nn.Module:
    """Waves (clips, 1, n) → logits (clips, classes)."""
    head = AttentiveHead(512, n_classes, dropout=s.dropout)
    return nn.Sequential(OrderedDict(front_end=us8k.front_end(s), backbone=CbamResnet34(), head=head))


def train(fold: akit.Fold, s: Settings) -> akit.FitResult:
    schedule = warmup(cosine_restarts(s.lr, s.first_restart, final=1e-6), s.warm_up_epochs, start=0.01)
    net, phase = build_model(s, fold.n_classes), Phase(s.epochs, by_epoch(schedule))
    return us8k.fit_with_sam(fold, s, net, phase, batches(s), best=us8k.BOTH_SCORES)
