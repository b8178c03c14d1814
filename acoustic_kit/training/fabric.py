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
from typing import Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn

from acoustic_kit.device import Compute, gpu_name, n_processes
from acoustic_kit.errors import AkitError

TIMEOUT = timedelta(days=30)  # the other processes wait while the first builds features, which may take hours
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # `describe` says the same


@cache
def make_fabric(compute: Compute) -> Fabric:
    """Return the Fabric for a device and a precision; under torchrun, it connects the processes.

    Raises AkitError if the device or the precision is not available, see `describe`.
    """
    accelerator: Literal["cpu", "cuda"] = "cuda" if compute.gpu() else "cpu"
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if _is_bf16(compute) else "32-true"
    if accelerator == "cuda":
        torch.set_float32_matmul_precision("high")
    if n_processes() == 1:
        devices = [compute.index or 0] if accelerator == "cuda" else 1
        return Fabric(accelerator=accelerator, devices=devices, precision=precision)
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
        precision=precision,
        strategy=strategy,
        plugins=[TorchElasticEnvironment()],
    )
    with _quiet_stdout():
        fabric.launch()
    return fabric


def describe(compute: Compute) -> str:
    """Return the device in words: `cpu, float32`, or `NVIDIA H200, bf16, 4 processes`. Nothing is started.

    Raises AkitError if a GPU, a GPU for each process, or bf16 is asked for and not available.
    """
    gpu, n = compute.gpu(), n_processes()
    device = "cpu" if gpu is None else gpu_name(gpu)
    processes = f", {n} processes" if n > 1 else ""
    return f"{device}, {'bf16' if _is_bf16(compute) else 'float32'}{processes}"


def sum_over_processes(fabric: Fabric, x: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over all processes, without its gradient."""
    total = fabric.all_reduce(x, reduce_op="sum")
    assert isinstance(total, torch.Tensor)
    return total


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


def _is_bf16(compute: Compute) -> bool:
    if compute.precision == "32":
        return False
    if compute.gpu() is None:
        return compute.precision == "bf16"  # slower on most CPUs: only if asked for
    used = range(n_processes()) if compute.index is None else [compute.index]
    lacking = [n for n in used if torch.cuda.get_device_capability(n) < (8, 0)]  # emulated before Ampere
    if compute.precision == "bf16" and lacking:
        raise AkitError(f"{torch.cuda.get_device_name(lacking[0])} has no bf16. Use --precision 32, or auto.")
    return not lacking


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
