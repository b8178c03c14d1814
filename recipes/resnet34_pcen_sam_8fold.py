"""ResNet-34 on mel spectrograms with trainable PCEN, mixup of waves, and SAM: the base of UrbanSound8K's winner.

Source: github.com/Jaasssoooonnnnn/Urbansound8K_Competition @ 6ddcad5, ResNet/resnet34_pcen_sam_8fold.py and tta.py.
Published: UrbanSound8K, mean of eight fold models on folds 9 and 10: accuracy 0.868, 0.8*accuracy+0.2*f1 0.870.
Reproduce:
  - `akit init work --data UrbanSound8K --test-folds 9,10 --metric "0.8*accuracy+0.2*f1"`
  - `akit -C work recipe run resnet34_pcen_sam_8fold`
  - `akit -C work blend --runs resnet34_pcen_sam_8fold --method mean --name sam`
  - `akit -C work score work/submissions/sam.csv`
Differs: see "What the eight models share" in docs/recipes.md.
"""

from collections import OrderedDict
from functools import partial

import numpy as np
import torch
from pydantic import Field
from torch import nn

import acoustic_kit as akit
from acoustic_kit.nn import resnet34
from acoustic_kit.recipe import urbansound8k as us8k
from acoustic_kit.training import Phase, by_epoch, cosine


class Settings(us8k.WaveSettings):
    n_fft: int = Field(1024, ge=2, description="samples in a window")
    n_mels: us8k.Mels = 64
    max_mask_bands: us8k.MaskBands = 20
    epochs: us8k.Epochs = 100
    batch_size: int = Field(128, ge=1, description="clips per step")
    weight_decay: us8k.WeightDecay = 1e-2
    tta: bool = Field(False, description="predict the clip as it is and rolled by ±0.1 s, and average")
    pretrained: us8k.Pretrained = False


WRITE_UP = {}  # all settings are the published ones
FAST = us8k.fast(max_mask_bands=0, epochs=10, batch_size=8)
search, needs = us8k.search_optimizer, us8k.needs_of
batches = partial(us8k.wave_batches, drop_last=False)


def features(s: Settings) -> dict[str, akit.Feature]:
    return {"wave": akit.Wave(s.sample_rate, trim_top_db=None, seconds=s.seconds, encoding=s.encoding)}


def build_model(s: Settings, n_classes: int) -> nn.Module:
    """Waves (clips, 1, n) → logits (clips, classes)."""
    return nn.Sequential(OrderedDict(front_end=us8k.front_end(s, s.n_fft), backbone=resnet34(1, n_classes)))


def train(fold: akit.Fold, s: Settings) -> akit.FitResult:
    phase = Phase(s.epochs, by_epoch(cosine(s.lr, final=1e-6)))
    return us8k.fit_with_sam(fold, s, build_model(s, fold.n_classes), phase, batches(s))


def predict(model: nn.Module, clips: akit.Clips, s: Settings) -> np.ndarray:
    shifts = (0, s.sample_rate // 10, -s.sample_rate // 10) if s.tta else (0,)
    views = [partial(torch.roll, shifts=shift, dims=-1) for shift in shifts]
    return akit.forward(model, clips, batches(s), views=views)
