"""The device of a training, or the processes that torchrun started for it: Lightning Fabric, torch.compile."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.plugins.precision import MixedPrecision
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn

from acoustic_kit.device import Compute, n_processes, network_precision
from acoustic_kit.errors import AkitError

MIXED: dict[str, Literal["bf16-mixed", "16-mixed"]] = {"bf16": "bf16-mixed", "fp16": "16-mixed"}
TIMEOUT = timedelta(days=30)  # the other processes wait while the first builds features, which may take hours
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # `describe` says the same


class Autocast(MixedPrecision):
    """Mixed precision with a network's inputs as they are: its front end computes spectra of them in float32."""

    def convert_input(self, data: Any) -> Any:
        """Return the inputs unchanged. Waves and spectra would be rounded, and can overflow in float16."""
        return data

    def unscale_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradients by the loss scale, also those of optimizers that could do so in their fused step."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)


@cache
def make_fabric(compute: Compute) -> Fabric:
    """Return the Fabric for a device and a precision; under torchrun, it connects the processes.

    Raises AkitError if the device or the precision is not available, see `describe`.
    """
    accelerator: Literal["cpu", "cuda"] = "cuda" if compute.gpu() else "cpu"
    precision = network_precision(compute.precision, compute.gpus())
    plugins: list[Any] = [] if precision == "32" else [Autocast(MIXED[precision], accelerator)]
    if accelerator == "cuda":
        torch.set_float32_matmul_precision("high")
    if n_processes() == 1:
        devices = [compute.index or 0] if accelerator == "cuda" else 1
        return Fabric(accelerator=accelerator, devices=devices, plugins=plugins)
    strategy = DDPStrategy(
        timeout=TIMEOUT,
        # Objects are sent over gloo: with NCCL, a process that waits keeps its GPU busy.
        process_group_backend="cpu:gloo,cuda:nccl" if accelerator == "cuda" else "gloo",
        broadcast_buffers=False,  # those of batch normalization, which all processes compute alike
        find_unused_parameters=True,  # some published networks have layers that they never use
    )
    fabric = Fabric(
        accelerator=accelerator,
        devices=n_processes(),
        strategy=strategy,
        plugins=[*plugins, TorchElasticEnvironment()],
    )
    with _quiet_stdout():
        fabric.launch()
    return fabric


def describe(compute: Compute) -> str:
    """Return the device in words: `cpu, float32`, or `NVIDIA H200, bf16, 4 processes`. Nothing is started.

    Raises AkitError if a GPU, a GPU for each process, or a precision is asked for and not available, or torch has no
    kernels for a GPU.
    """
    gpus, n = compute.gpus(), n_processes()
    device = gpus[0].name if gpus else "cpu"
    precision = network_precision(compute.precision, gpus)
    processes = f", {n} processes" if n > 1 else ""
    return f"{device}, {'float32' if precision == '32' else precision}{processes}"


def sum_over_processes(fabric: Fabric, x: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over all processes, without its gradient."""
    total = fabric.all_reduce(x, reduce_op="sum")
    assert isinstance(total, torch.Tensor)
    return total


@contextmanager
def suggesting_micro_batch(clips: int) -> Iterator[None]:
    """Raise AkitError, with a smaller micro-batch than of so many clips, if the GPU's memory is too small."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise AkitError(
            f"The GPU's memory is too small for {clips} clips at once. "
            f"Accumulate gradients over smaller parts: --set micro_batch={max(1, clips // 2)}."
        ) from error


def use_fused(optimizer: torch.optim.Optimizer, device: torch.device) -> torch.optim.Optimizer:
    """Switch an Adam, AdamW or SGD optimizer to its fused kernel if the device is a GPU, and return it."""
    if device.type == "cuda" and isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW | torch.optim.SGD):
        for group in optimizer.param_groups:
            group["fused"] = True
    return optimizer


@contextmanager
def compiled(net: nn.Module, *, enabled: bool) -> Iterator[None]:
    """Compile a network with `torch.compile`, if enabled, until the end of the `with` block; names and weights stay.

    Raises AkitError if the compiler fails.
    """
    if not enabled:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException  # takes seconds to import

    net.compile()
    try:
        yield
    except TorchDynamoException as error:
        reason = " ".join(str(error).split())[:200]
        raise AkitError(f"torch.compile failed: {reason}\nOmit --compile.") from error
    finally:
        net._compiled_call_impl = None  # set by `Module.compile`, which has no inverse


@contextmanager
def naming_lost_process() -> Iterator[None]:
    """Raise AkitError if another process has ended, instead of an error of Gloo or NCCL."""
    try:
        yield
    except (RuntimeError, AkitError) as error:
        if n_processes() > 1 and _is_of_connection(error):
            raise AkitError("Another process of this training has ended; torchrun's report names it.") from error
        raise


def _is_of_connection(error: BaseException | None) -> bool:
    """Return whether the error, or the error that an AkitError was raised from, is one of Gloo or NCCL."""
    while error is not None and not isinstance(error, RuntimeError):
        error = error.__cause__
    return error is not None and re.search("gloo|nccl|connection", str(error), re.IGNORECASE) is not None


@contextmanager
def _quiet_stdout() -> Iterator[None]:
    """Discard stdout, on which gloo reports its connections: stdout is for results."""
    sys.stdout.flush()
    stdout, devnull = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    try:
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(devnull)
