"""A training step as recipes run it, against the bare model's step on one random batch that stays on the device.

The real step reads the batch from the store's feature, augments and mixes it and sets the rate; the bare one is
forward, backward and optimiser only, two of each where the recipe trains with SAM. Goal on a CPU: a ratio of 1.10 at
most, and a share of the trainable PCEN under 5 %. Without arguments it trains on generated sound of five seconds a
clip; give it an ESC-10 folder to train on that.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch.nn.functional import cross_entropy, one_hot

from acoustic_kit.data import make_synthetic
from acoustic_kit.device import Compute
from acoustic_kit.nn import TrainablePcen
from acoustic_kit.recipe.recipe import Recipe, load_recipe
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace

ROUNDS, CLASSES = 4, 10


@dataclass(frozen=True)
class Case:
    """A recipe, how it is trained here, and what its bare model sees."""

    recipe: str
    settings: dict[str, Any]
    shape: tuple[int, ...]  # of a clip
    batch: int = 32
    passes: int = 1  # forward and backward, in a step


CASES = (
    Case("logmel_cnn", {}, (1, 64, 216)),
    Case("tiny_resnet_transformer", {}, (1, 80, 401)),
    Case("resnet34_pcen_sam_8fold", {"batch_size": 16, "checkpoint": "last"}, (1, 128_000), batch=16, passes=2),
)


def real_steps(workspace: Workspace, recipe: Recipe, case: Case, seed: int) -> list[float]:
    """Seconds a step of each epoch but the first."""
    settings = recipe.settings({"epochs": 3, **case.settings})
    run, _ = run_recipe(workspace, recipe, settings, folds=["1"], seed=seed, compute=Compute("cpu"), workers=2)
    log = next((run.path / "folds" / "1").glob("*.jsonl")).read_text().splitlines()
    steps = run.done["1"].trained_on / case.batch
    return [json.loads(line)["train_seconds"] / steps for line in log[1:]]


def bare_steps(recipe: Recipe, case: Case, n: int = 10) -> list[float]:
    """Seconds a step."""
    net = recipe.build_model(CLASSES).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    x = torch.randn(case.batch, *case.shape)
    targets = one_hot(torch.arange(case.batch) % CLASSES, CLASSES).float()
    seconds = []
    for _ in range(n // case.passes + 1):
        began = time.perf_counter()
        for _ in range(case.passes):
            optimizer.zero_grad()
            cross_entropy(net(x), targets).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def pcen_step(case: Case, n: int = 9) -> float:
    """Seconds that the trainable PCEN needs in a step: its median, forward and backward."""
    layer, energy = TrainablePcen(1 / 6), torch.rand(case.batch, 1, 64, 401)
    seconds = []
    for _ in range(n):
        began = time.perf_counter()
        layer(energy).sum().backward()
        seconds.append(time.perf_counter() - began)
    return case.passes * statistics.median(seconds)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder, "data")
        if len(sys.argv) == 1:
            make_synthetic(data, n_classes=CLASSES, clips_per_class=20, seconds=5.0, sample_rate=22050)
        workspace = init_workspace(Path(folder, "work"), data)
        print(f"{len(workspace.manifest)} clips of {data.name}, {torch.get_num_threads()} threads, medians")
        print(f"{'recipe':26}{'real ms':>10}{'bare ms':>10}{'ratio':>8}")
        for case in CASES:
            recipe = load_recipe(case.recipe)
            real: list[float] = []
            bare: list[float] = []
            for seed in range(ROUNDS):  # interleaved: a noisy machine is noisy for both
                real += real_steps(workspace, recipe, case, seed)
                bare += bare_steps(recipe, case)
            ours, theirs = statistics.median(real), statistics.median(bare)
            print(f"{case.recipe:26}{1e3 * ours:10.1f}{1e3 * theirs:10.1f}{ours / theirs:8.2f}", flush=True)
        print(f"trainable PCEN: {pcen_step(CASES[-1]) / ours:.1%} of the last recipe's step")


if __name__ == "__main__":
    main()
