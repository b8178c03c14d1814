"""ResNet-34 with attention, whose classifier also takes whether the sound is in the foreground.

New against `resnet34_attention`: an embedding of UrbanSound8K's `salience` beside the pooled sound, mixed as the waves
are, and one plain cosine.

Source: github.com/Jaasssoooonnnnn/Urbansound8K_Competition @ 6ddcad5,
  ResNet/resnet34_pcen_salience_fusion_attention.py.
Published: UrbanSound8K, mean of eight fold models on folds 9 and 10: accuracy 0.880, 0.8*accuracy+0.2*f1 0.882; with
  `salience_width=128`: 0.860 and 0.862.
Reproduce:
  - `akit init work --data UrbanSound8K --test-folds 9,10 --metric "0.8*accuracy+0.2*f1"`
  - `akit -C work recipe run resnet34_pcen_salience_fusion_attention`
  - `akit -C work blend --runs resnet34_pcen_salience_fusion_attention --method mean --name fusion`
  - `akit -C work score work/submissions/fusion.csv`
Differs: see "What the eight models share" in docs/recipes.md; and:
  - The report has the CBAMs in the residual blocks, the code one after each stage: so here, as it scored.
"""

from typing import TYPE_CHECKING, Any

from torch import nn

import acoustic_kit as akit
from acoustic_kit.nn import CbamResnet34
from acoustic_kit.recipe import urbansound8k as us8k
from acoustic_kit.training import Phase, by_epoch, cosine

if TYPE_CHECKING:
    import optuna


class Settings(us8k.SalienceSettings):
    pretrained: us8k.Pretrained = False


WRITE_UP = {
    "salience_width": (
        "64 and 128",
        "64 is the better of the two that were published; the write-up's ensemble holds a fold of the other",
    )
}
FAST = us8k.fast(max_mask_bands=0, dropout=0.0, epochs=10, batch_size=8, salience="none")
needs, batches = us8k.needs_of, us8k.wave_batches


def search(trial: "optuna.Trial") -> dict[str, Any]:
    widths = trial.suggest_categorical("salience_width", [32, 64, 128])
    return us8k.search_regularized(trial) | {"salience_width": widths}


def features(s: Settings) -> dict[str, akit.Feature]:
    return {"wave": akit.Wave(s.sample_rate, trim_top_db=None, seconds=s.seconds, encoding=s.encoding)}


def build_model(s: Settings, n_classes: int) -> nn.Module:
    return us8k.salience_fusion(s, CbamResnet34(), n_classes)


def train(fold: akit.Fold, s: Settings) -> akit.FitResult:
    phase = Phase(s.epochs, by_epoch(cosine(s.lr, final=1e-6)))
    return us8k.fit_with_sam(fold, s, build_model(s, fold.n_classes), phase, batches(s))
