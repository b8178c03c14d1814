"""Lightning Fabric as akit uses it: one device, or several processes that train one model together."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from acoustic_kit.device import Compute, gpu_name
from acoustic_kit.errors import AkitError

PATIENCE = timedelta(days=30)  # of processes that wait for the first, which may build features for hours
FIRST = "AKIT_FIRST_PROCESS"  # the environment variable that tells the others its id
_launched: list[Fabric] = []
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it says what `describe` says


@cache
def make_fabric(compute: Compute) -> Fabric:
    """What was asked for, as Fabric has it. Several processes are started by the first call, and wait for each other.

    Raises AkitError where it is not to be had, see `describe`.
    """
    accelerator: Literal["cpu", "cuda"] = "cuda" if compute.gpu() else "cpu"
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if _is_bf16(compute) else "32-true"
    if accelerator == "cuda":
        torch.set_float32_matmul_precision("high")
    if compute.devices == 1:
        devices = [compute.index or 0] if accelerator == "cuda" else 1
        return Fabric(accelerator=accelerator, devices=devices, precision=precision)
    strategy = DDPStrategy(
        timeout=PATIENCE,
        # What is no tensor goes over gloo: with NCCL, a process that waits for it, perhaps for hours, keeps a GPU busy.
        process_group_backend="cpu:gloo,cuda:nccl" if accelerator == "cuda" else "gloo",
        broadcast_buffers=False,  # they are batch normalisation's, which all processes compute alike
        find_unused_parameters=True,  # some published networks have layers that they never use
    )
    fabric = Fabric(
        accelerator=accelerator,
        devices=compute.devices,
        precision=precision,
        strategy=strategy,
        plugins=[TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment()],
    )
    _launch(fabric)
    _launched.append(fabric)
    return fabric


def describe(compute: Compute) -> str:
    """What will be used, in words: `cpu, float32`, or `NVIDIA H200, bf16, 4 processes`. Nothing is started.

    Raises AkitError where a GPU, so many of them, or bf16 was asked for and is not there.
    """
    gpu = compute.gpu()
    device = "cpu" if gpu is None else gpu_name(gpu)
    processes = f", {compute.devices} processes" if compute.devices > 1 else ""
    return f"{device}, {'bf16' if _is_bf16(compute) else 'float32'}{processes}"


def sum_over_processes(fabric: Fabric, x: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor, without its gradient."""
    total = fabric.all_reduce(x, reduce_op="sum")
    assert isinstance(total, torch.Tensor)
    return total


def use_fused(optimizer: torch.optim.Optimizer, device: torch.device) -> torch.optim.Optimizer:
    """The optimiser, made to update all weights in one kernel on a GPU, where it is one of torch's that can."""
    if device.type == "cuda" and isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW | torch.optim.SGD):
        for group in optimizer.param_groups:
            group["fused"] = True
    return optimizer


def _is_bf16(compute: Compute) -> bool:
    if compute.precision == "32":
        return False
    if compute.gpu() is None:
        return compute.precision == "bf16"  # slower on most: only where asked for
    chosen = range(compute.devices) if compute.index is None else [compute.index]
    lacking = [n for n in chosen if torch.cuda.get_device_capability(n) < (8, 0)]  # before Ampere it is emulated
    if compute.precision == "bf16" and lacking:
        raise AkitError(f"{torch.cuda.get_device_name(lacking[0])} has no bf16. Use --precision 32, or auto.")
    return not lacking


def _launch(fabric: Fabric) -> None:
    """Start the other processes, which run the same command, and meet them."""
    if "LOCAL_RANK" in os.environ:  # one of the others, or one of torchrun's
        _end_with(int(os.environ.get(FIRST, os.getppid())))
    elif sys.modules["__main__"].__spec__ is None and not Path(sys.argv[0]).is_file():
        raise AkitError(
            "Several processes run one command, and this Python was started without one. Use the akit command, or a "
            "script that is a file."
        )
    else:
        os.environ[FIRST] = str(os.getpid())
    try:
        with _quiet_stdout():
            fabric.launch()
    except BaseException:
        _kill(_others(fabric))
        raise


@contextmanager
def _quiet_stdout() -> Iterator[None]:
    """For gloo, which says on stdout that it is connected: that is for results."""
    sys.stdout.flush()
    stdout, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(nowhere)


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone, also while it waits for a GPU."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def ending_together() -> Iterator[None]:
    """Where one of several processes fails in here, all end, and one of them says why.

    Raises AkitError, or KeyboardInterrupt, in the first where it was another that ended.
    """
    try:
        yield
    except BaseException as error:
        for fabric in _launched:
            if fabric.is_global_zero:
                _end(fabric, error)
        raise


def _end(fabric: Fabric, error: BaseException) -> None:
    others = _others(fabric)
    failed = _first_that_failed(others) if _lost_another(error) else None
    _kill(others)
    if failed is None:
        return
    rank, code = failed
    if code == -signal.SIGINT:
        raise KeyboardInterrupt from error
    how = f"was ended by signal {-code}, perhaps for want of memory" if code < 0 else "failed, and says why above"
    raise AkitError(f"Process {rank + 1} of {fabric.world_size} {how}.") from error


def _others(fabric: Fabric) -> list[subprocess.Popen[bytes]]:
    """The processes that this one started: none of torchrun's, which ends them itself.

    Fabric then no longer watches them: it would kill this process when they end, before it has said why.
    """
    watched = getattr(fabric.strategy.launcher, "procs", [])
    others = list(watched)
    watched.clear()
    return others


def _lost_another(error: BaseException | None) -> bool:
    """Return whether Gloo or NCCL say that another process does not answer: also below a recipe's line."""
    while error is not None and not isinstance(error, RuntimeError):
        error = error.__cause__
    return error is not None and re.search("gloo|nccl|connection", str(error), re.IGNORECASE) is not None


def _first_that_failed(others: Sequence[subprocess.Popen[bytes]]) -> tuple[int, int] | None:
    """The rank of a process that is no more, and how it ended: its connections close before it is gone."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        for rank, process in enumerate(others, start=1):
            if code := process.poll():
                return rank, code
        time.sleep(0.02)
    return None


def _kill(others: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in others:
        process.kill()
    for process in others:
        process.wait()
