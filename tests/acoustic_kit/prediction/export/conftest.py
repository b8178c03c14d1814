"""Runs with random networks, which predict as trained ones do, but need no training."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acoustic_kit.blending import Blend
from acoustic_kit.device import Compute
from acoustic_kit.features import Feature
from acoustic_kit.prediction.models import MemberModel, Predictor
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.run import Run, RunRecord
from acoustic_kit.task import Task, TaskSpec

CLASSES = {"dog": 0, "rain": 1, "sea": 2}


@dataclass(frozen=True)
class UntrainedMember(MemberModel):
    """A run whose networks are random, and whose normalization is that of no data."""

    seed: int = 0

    def features_of(self, fold: str) -> dict[str, Feature]:
        return dict(self.features)

    def model(self, fold: str, compute: Compute) -> Any:
        import torch
        from torch import nn

        torch.manual_seed(self.seed + int(fold))
        net = self.recipe.rebuild_model(self.settings, len(CLASSES), self.run.record.backbone)
        for layer in net.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                nn.init.normal_(layer.running_mean, std=0.1)
                nn.init.uniform_(layer.running_var, 0.2, 2.0)
            elif isinstance(layer, nn.Conv1d):
                nn.init.kaiming_normal_(layer.weight)  # EAT's own would make all clips alike
        linear = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
        nn.init.normal_(linear[-1].weight, std=3)
        linear[-1].register_forward_pre_hook(lambda _, inputs: (nn.functional.normalize(inputs[0], dim=-1),))
        return net.eval()

    def frequencies(self, fold: str) -> np.ndarray:
        return np.full(len(CLASSES), 1 / len(CLASSES))


def made_member(
    recipe: str, folds: tuple[str, ...] = ("1",), seed: int = 0, task: str = "single", **settings: Any
) -> UntrainedMember:
    """Return a member of a recipe's small form."""
    found = load_recipe(recipe)
    s = found.settings(settings, fast=True)
    features = found.features(s)
    record = RunRecord(
        name=f"{found.name}-{seed:08x}", recipe=found.name, title="", settings={}, changed={}, seed=seed, fast=True,
        full=False, note="", task=task, classes=list(CLASSES), features={n: f.key for n, f in features.items()},
        backbone=found.backbone(s), folds=list(folds), versions={}, akit="", created="",
    )  # fmt: skip
    return UntrainedMember(Run(Path(record.name), record), folds, found, s, features, seed=seed)


def made_predictor(*members: UntrainedMember, blend: Blend | None = None) -> Predictor:
    """Return a run of one member, or a blend."""
    task: Task = "multi" if members[0].run.record.task == "multi" else "single"
    spec = TaskSpec(CLASSES, "accuracy", task)
    return Predictor("blend" if blend else members[0].run.name, members, spec, blend)


@pytest.fixture(scope="session")
def untrained_member() -> Callable[..., UntrainedMember]:
    """`made_member`."""
    return made_member


@pytest.fixture(scope="session")
def untrained() -> Callable[..., Predictor]:
    """A function that gives the predictor of a recipe; arguments as for `made_member`."""
    return lambda *args, **settings: made_predictor(made_member(*args, **settings))


@pytest.fixture(scope="session")
def blended() -> Callable[..., Predictor]:
    """`made_predictor`."""
    return made_predictor


@pytest.fixture
def waves() -> Callable[[int, float], list[np.ndarray]]:
    """A function that gives noise of several lengths, the longest of some seconds, at a sample rate."""

    def made(rate: int, seconds: float) -> list[np.ndarray]:
        rng = np.random.default_rng(7)
        lengths = [round(fraction * seconds * rate) for fraction in (1, 0.93, 0.5, 0.21)]
        return [(0.2 * rng.standard_normal(n) * np.hanning(n)).astype(np.float32) for n in lengths]

    return made
