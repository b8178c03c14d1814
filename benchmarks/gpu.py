"""Training steps and feature builds on a GPU: what the loop adds to the bare model, and what the GPU gains.

Usage: python benchmarks/gpu.py [--data FOLDER_OF_ESC-10] [--device cuda:1]. Without a folder, generated sound of five
seconds a clip. On a machine without CUDA it says so. `--device cpu` runs a tiny form that shows that the script works.

A step as recipes run it reads a batch, augments and mixes it, and sets the rate; the bare one is forward, backward and
optimiser on one random batch that stays on the device, two of each where the recipe trains with SAM. Both are those of
one network, in turn, epoch by epoch, with the published settings; medians, the first epoch left out. Goal: a ratio of
1.05 at most. Features are built from stored waves, on the GPU and by as many processes as there are cores, in turn.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import polars as pl
import torch
from transformers import ASTConfig, ASTModel
from transformers.utils import logging

from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.data import make_synthetic
from acoustic_kit.device import Compute
from acoustic_kit.errors import AkitError
from acoustic_kit.features import Ast, AstInput, Feature, LogMel, Pcen, build_features
from acoustic_kit.nn import pcen as pcen_module
from acoustic_kit.recipe.recipe import Recipe, find_recipes, load_recipe, recipe_folders
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.training import loop
from acoustic_kit.training.batch import Batch
from acoustic_kit.training.fabric import describe
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace

EPOCHS, ROUNDS, COPIES = 6, 3, 5  # of each recipe; of each feature; of each clip, for the builds
TINY = ("logmel_cnn",)  # recipes of the self test


class EnoughError(AkitError):
    """Ends a training that has been measured."""


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def milliseconds(work: Callable[[], object], n: int) -> float:
    """Of one of `n` calls."""
    wait()
    began = time.perf_counter()
    for _ in range(n):
        work()
    wait()
    return 1e3 * (time.perf_counter() - began) / n


class Measured:
    """Milliseconds a step of a recipe's first stage, as it trains and bare, and the memory of the former."""

    def __init__(self, epochs: int) -> None:
        self.epochs, self.real, self.bare, self.peak = epochs, list[float](), list[float](), 0
        self._batch: Batch | None = None
        self._train_epoch, self._gradients = loop._Training._train_epoch, loop._Training._gradients

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the loop measure itself."""
        new = {"_train_epoch": self._epoch, "_gradients": self._remember}
        with patch.multiple(loop._Training, **{name: _method(function) for name, function in new.items()}):
            yield

    def _remember(self, training: loop._Training, batch: Batch) -> torch.Tensor:
        self._batch = self._batch or batch
        return self._gradients(training, batch)

    def _epoch(self, training: loop._Training, phase: object, batches: Iterator[Batch], n: int) -> float:
        loss = 0.0

        def epoch() -> None:
            nonlocal loss
            loss = self._train_epoch(training, phase, batches, n)

        if len(self.real) == 1 and training.fabric.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(training.fabric.device)
        clips = len(training.fold.train)
        took = milliseconds(epoch, 1)
        if training.fabric.device.type == "cuda":
            self.peak = torch.cuda.max_memory_allocated(training.fabric.device)
        assert self._batch is not None
        self.real.append(took * len(self._batch) / clips)  # of a whole batch: an epoch's last may be smaller
        self.bare.append(self._bare(training, self._batch, max(2, n)))
        if len(self.real) > self.epochs:
            raise EnoughError
        return loss

    @staticmethod
    def _bare(training: loop._Training, batch: Batch, n: int) -> float:
        inputs = [torch.randn_like(x) for x in batch.inputs]
        loss, passes = batch.loss or training.loss, 1 if training.sam is None else 2

        def step() -> None:
            for _ in range(passes):
                training.optimizer.zero_grad()
                training.fabric.backward(loss(training.net(*inputs), batch.targets))
            training.optimizer.step()

        rates = [group["lr"] for group in training.optimizer.param_groups]
        for group in training.optimizer.param_groups:
            group["lr"] = 0.0  # the weights stay: random batches would spoil them
        took = milliseconds(step, n)
        for group, rate in zip(training.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        training.optimizer.zero_grad()
        return took


def _method(function: Callable) -> Callable:
    def method(training: loop._Training, *inputs: object) -> object:
        return function(training, *inputs)

    return method


def measure_recipe(workspace: Workspace, recipe: Recipe, settings: list[str], device: str, *, tiny: bool) -> None:
    measured = Measured(2 if tiny else EPOCHS)
    values = {**parse_assignments(recipe, settings), "epochs": 99}
    try:
        with measured.in_place():
            run_recipe(
                workspace, recipe, recipe.settings(values, fast=tiny), folds=["1"], fast=tiny,
                workers=os.cpu_count() or 1, compute=Compute(device),
            )  # fmt: skip
    except EnoughError:
        pass
    real, bare = (statistics.median(found[1:]) for found in (measured.real, measured.bare))
    print(f"{recipe.name:44}{real:10.1f}{bare:10.1f}{real / bare:8.2f}{measured.peak / 1e9:10.2f}", flush=True)


def measure_feature(workspace: Workspace, rows: pl.DataFrame, feature: Feature, device: str, rounds: int) -> None:
    """Clips a second of a build from stored waves, by the GPU and by all cores, in turn."""
    store, rates = workspace.store(), {device: list[float](), "cpu": list[float]()}
    peak = 0
    build_features(rows, workspace.data_root, store, [feature.source], workers=os.cpu_count() or 1)
    for _ in range(rounds + 1):
        for name, found in rates.items():
            if feature.key in store:
                store.delete(feature.key)
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats(name if name != "cpu" else None)
            workers = (os.cpu_count() or 1) if name == "cpu" != device else 0
            report = build_features(rows, workspace.data_root, store, [feature], workers=workers, device=name)[-1]
            found.append(report.built / report.seconds)
            if name != "cpu":
                peak = torch.cuda.max_memory_allocated(name)
    gpu, cpu = (statistics.median(found[1:]) for found in (rates[device], rates["cpu"]))
    print(f"{feature.key:44}{gpu:10.0f}{cpu:10.0f}{gpu / cpu:8.1f}{peak / 1e9:10.2f}", flush=True)


def measure_pcen(device: str, *, tiny: bool) -> None:
    """Forward and backward of the trainable PCEN, by its kernel and by torch."""
    shape = (2, 1, 16, 100) if tiny else (32, 1, 128, 401)
    layer, energy = pcen_module.TrainablePcen(1 / 6).to(device), torch.rand(shape, device=device)
    found: dict[str, list[float]] = {"kernel": [], "torch": []}
    for _ in range(ROUNDS + 1):
        for name, times in found.items():
            by_torch = patch.object(pcen_module, "_kernels_for", lambda _: None) if name == "torch" else patch.dict({})
            with by_torch:
                times.append(milliseconds(lambda: layer(energy).sum().backward(), 20))
    kernel, by_torch = (statistics.median(times[1:]) for times in found.values())
    print(f"{f'trainable PCEN {shape}, ms':44}{kernel:10.3f}{by_torch:10.3f}{by_torch / kernel:8.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", type=Path, help="a folder in ESC-50's layout")
    parser.add_argument("--recipes", nargs="*", help="only these")
    given = parser.parse_args()
    tiny = given.device == "cpu"
    if not tiny and not torch.cuda.is_available():
        print("This machine has no CUDA device: nothing was measured. --device cpu shows that the script works.")
        return
    print(f"{describe(Compute(given.device))}; {os.cpu_count()} cores; torch {torch.__version__}")
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        data = given.data or Path(folder, "data")
        if given.data is None:
            make_synthetic(
                data, n_classes=10, clips_per_class=10 if tiny else 40, seconds=0.5 if tiny else 5.0, sample_rate=22050
            )
        workspace = init_workspace(Path(folder, "work"), data)
        weights = Path(folder, "ast")  # of full size, which costs what any weights cost
        ASTModel(ASTConfig(num_hidden_layers=1) if tiny else ASTConfig()).save_pretrained(weights)
        measure_all(workspace, weights, given.device, given.recipes, tiny=tiny)


def measure_all(workspace: Workspace, weights: Path, device: str, only: list[str] | None, *, tiny: bool) -> None:
    print(f"{'recipe, a step':44}{'real ms':>10}{'bare ms':>10}{'ratio':>8}{'peak GB':>10}")
    own = {"freesound_mobilenet_pca": ["pretrained=false"], "itmo_ast_inception": [f"weights={weights}"]}
    for name in only or (TINY if tiny else find_recipes(recipe_folders())):
        recipe = load_recipe(name)
        if recipe.has_network:
            measure_recipe(workspace, recipe, own.get(name, []), device, tiny=tiny)
    print(f"\n{'feature, clips a second':44}{'GPU':>10}{'CPU':>10}{'ratio':>8}{'peak GB':>10}")
    rows = pl.concat([workspace.manifest.with_columns(pl.col("id") + f" {n}") for n in range(1 if tiny else COPIES)])
    features: list[Feature] = [LogMel(), Pcen(), Pcen(precision="float64"), AstInput()]
    for feature in features[:1] if tiny else features:
        measure_feature(workspace, rows, feature, device, 1 if tiny else ROUNDS)
    measure_feature(workspace, rows[: 2 if tiny else 64], Ast(weights=str(weights)), device, 1)
    print(f"\n{'':44}{'kernel':>10}{'torch':>10}{'ratio':>8}")
    measure_pcen(device, tiny=tiny)


if __name__ == "__main__":
    sys.exit(main())
