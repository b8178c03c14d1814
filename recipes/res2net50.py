"""Res2Net-50 (26 channels, 4 scales) with a deep stem, and the salience beside the sound.

New against `wideresnet`: the blocks, which pass the output of one group of channels on to the next.

Source: github.com/Jaasssoooonnnnn/Urbansound8K_Competition @ 6ddcad5,
  DenseNet&.Res2Net&.WideResNet/res2net50.py; the blocks are those of S. Gao et al., Res2Net, TPAMI 2021.
Data: UrbanSound8K.
Published: none of its own (its predictions were not kept); the write-up's ensemble holds one of its fold models.
Reproduce:
  - `akit init work --data UrbanSound8K --test-folds 9,10 --metric "0.8*accuracy+0.2*f1"`
  - `akit -C work recipe run res2net50`
  - `akit -C work blend --runs res2net50 --method mean --name res2net`
  - `akit -C work score work/submissions/res2net.csv`
Differs: see "What the eight models share" in docs/recipes.md; and:
  - The original also carries 2,049,128 parameters that it never uses, of a norm and a classifier: left out.
  - There is no `pretrained`, as torchvision has no weights for it; the original used none either.
"""

from collections.abc import Callable

import torch
from pydantic import Field
from torch import nn
from torchvision.models.resnet import ResNet

import acoustic_kit as akit
from acoustic_kit.nn import DeepStemResnet
from acoustic_kit.recipe import urbansound8k as us8k
from acoustic_kit.training import Phase, by_epoch, cosine


class Settings(us8k.SalienceSettings):
    base_width: int = Field(26, ge=1, description="channels of each of four groups in the first stage's blocks")


WRITE_UP = {}  # all settings are the published ones
FAST = us8k.fast(max_mask_bands=0, dropout=0.0, epochs=12, batch_size=6, base_width=8, salience="none")
search, needs, batches = us8k.search_regularized, us8k.needs_of, us8k.wave_batches


def features(s: Settings) -> dict[str, akit.Feature]:
    return {"wave": akit.Wave(s.sample_rate, trim_top_db=None, seconds=s.seconds, encoding=s.encoding)}


class Res2NetBlock(nn.Module):
    """A bottleneck whose 3×3 convolution is three smaller ones, each of which adds the output of the one before it.

    If the block halves the map (stride 2), groups are independent. torchvision's `ResNet` builds it; of its arguments
    `base_width` is the channels of a group for 64 `planes`.
    """

    expansion = 4
    scale = 4  # groups; the last has no convolution

    def __init__(
        self,
        n_in: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 26,
        dilation: int = 1,
        norm_layer: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        width, n_out = planes * base_width // 64, planes * self.expansion
        self.reduce = nn.Sequential(nn.Conv2d(n_in, self.scale * width, 1, bias=False), norm_layer(self.scale * width))
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, stride, 1, bias=False), norm_layer(width), nn.ReLU(inplace=True))
            for _ in range(self.scale - 1)
        )
        self.pool = nn.AvgPool2d(3, stride, 1) if stride > 1 else nn.Identity()
        self.expand = nn.Sequential(nn.Conv2d(self.scale * width, n_out, 1, bias=False), norm_layer(n_out))
        self.shortcut = downsample or nn.Identity()
        self.chained = stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        *groups, last = torch.relu(self.reduce(x)).chunk(self.scale, dim=1)
        outputs: list[torch.Tensor] = []
        for branch, group in zip(self.branches, groups, strict=True):
            outputs.append(branch(group + outputs[-1] if outputs and self.chained else group))
        return torch.relu(self.expand(torch.cat([*outputs, self.pool(last)], dim=1)) + self.shortcut(x))


def build_model(s: Settings, n_classes: int) -> nn.Module:
    return us8k.salience_fusion(
        s, DeepStemResnet(ResNet(Res2NetBlock, [3, 4, 6, 3], width_per_group=s.base_width)), n_classes
    )


def train(fold: akit.Fold, s: Settings) -> akit.FitResult:
    phase = Phase(s.epochs, by_epoch(cosine(s.lr, final=1e-6)))
    return us8k.fit_with_sam(fold, s, build_model(s, fold.n_classes), phase, batches(s))
