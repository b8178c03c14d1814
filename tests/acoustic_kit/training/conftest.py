"""A fold with a small log-mel feature, and a small network."""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch

from acoustic_kit.data.clips import Clips, Fold
from acoustic_kit.device import Compute
from acoustic_kit.features import LogMel, Wave, build_features
from acoustic_kit.workspace.workspace import Workspace

MEL = LogMel(Wave(sample_rate=8000), n_fft=512, hop_length=256, n_mels=8)


@pytest.fixture(scope="session")
def clips_with_mel(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Clips]:
    """The clips for a polars predicate on the manifest of `built`, with `mel`: float32 (8, about 16 frames)."""
    workspace = Workspace.find(shutil.copytree(built, tmp_path_factory.mktemp("mel") / "work"))
    build_features(workspace.manifest, workspace.data_root, workspace.store(), [MEL])
    stored = workspace.store()[MEL.key]

    def clips(predicate: pl.Expr) -> Clips:
        rows = workspace.manifest.filter(predicate)
        return Clips(rows, tuple(workspace.config.classes), "single", {"mel": stored}, Compute("cpu"))

    return clips


@pytest.fixture
def fold(clips_with_mel: Callable[[pl.Expr], Clips], tmp_path: Path) -> Fold:
    """Fold 1: 36 clips to train on, 12 to validate on."""
    train = clips_with_mel(pl.col("fold") > 1)
    valid = clips_with_mel(pl.col("fold") == 1)
    return Fold("1", train, valid, 7, "accuracy", tmp_path / "checkpoints", lambda *_: None)


class Net(torch.nn.Module):
    """Mean over time, batch normalisation if wanted, dropout, one linear layer: (clips, 8, frames) → (clips, 3)."""

    def __init__(self, dropout: float = 0.2, norm: bool = True) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(8) if norm else torch.nn.Identity()
        self.head = torch.nn.Sequential(torch.nn.Dropout(dropout), torch.nn.Linear(8, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(x.mean(dim=-1) / 10))


@pytest.fixture
def net() -> Callable[..., Net]:
    """A function that makes the same network at each call."""

    def make(**options: float) -> Net:
        torch.manual_seed(0)
        return Net(**options)  # type: ignore[arg-type]

    return make
