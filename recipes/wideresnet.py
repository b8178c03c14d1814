"""WideResNet-50-2 with a deep stem, and the salience beside the sound: the largest of the eight models.

New against `resnet34_pcen_salience_fusion_attention`: the backbone. Its stem is three 3×3 convolutions, without a
max-pool; one CBAM follows the last stage.

Source: github.com/Jaasssoooonnnnn/Urbansound8K_Competition @ 6ddcad5,
  DenseNet&.Res2Net&.WideResNet/wideresnet.py.
Published: UrbanSound8K, mean of eight fold models on folds 9 and 10: accuracy 0.871, 0.8*accuracy+0.2*f1 0.874.
Reproduce:
  - `akit init work --data UrbanSound8K --test-folds 9,10 --metric "0.8*accuracy+0.2*f1"`
  - `akit -C work recipe run wideresnet`
  - `akit -C work blend --runs wideresnet --method mean --name wide`
  - `akit -C work score work/submissions/wide.csv`
Differs: see "What the eight models share" in docs/recipes.md; and:
  - The original also carries 2,049,128 parameters that it never uses, of a norm and a classifier: left out.
  - The report has the CBAM in the residual blocks, the code one after the last stage: so here, as it scored.
"""

from functools import partial

from pydantic import Field
from torch import nn
from torchvision.models import Wide_ResNet50_2_Weights
from torchvision.models.resnet import Bottleneck, ResNet

import acoustic_kit as akit
from acoustic_kit.nn import DeepStemResnet
from acoustic_kit.recipe import urbansound8k as us8k
from acoustic_kit.training import Phase, by_epoch, cosine

WEIGHTS = Wide_ResNet50_2_Weights.IMAGENET1K_V2


class Settings(us8k.SalienceSettings):
    bottleneck: int = Field(128, ge=1, description="channels inside the first stage's blocks; 64 is a plain ResNet-50")
    pretrained: us8k.Pretrained = False


WRITE_UP = {}  # all settings are the published ones
FAST = us8k.fast(max_mask_bands=0, dropout=0.0, epochs=12, batch_size=6, bottleneck=16, salience="none")
search, batches = us8k.search_regularized, us8k.wave_batches
needs = partial(us8k.needs_of, weights=WEIGHTS)


def features(s: Settings) -> dict[str, akit.Feature]:
    return {"wave": akit.Wave(s.sample_rate, trim_top_db=None, seconds=s.seconds, encoding=s.encoding)}


def build_model(s: Settings, n_classes: int) -> nn.Module:
    return us8k.salience_fusion(
        s, DeepStemResnet(ResNet(Bottleneck, [3, 4, 6, 3], width_per_group=s.bottleneck)), n_classes
    )


def train(fold: akit.Fold, s: Settings) -> akit.FitResult:
    phase = Phase(s.epochs, by_epoch(cosine(s.lr, final=1e-6)))
    return us8k.fit_with_sam(fold, s, build_model(s, fold.n_classes), phase, batches(s), weights=WEIGHTS)
