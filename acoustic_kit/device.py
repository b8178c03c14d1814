"""Device and precision settings, and the processes that torchrun started. Fabric applies them, see `make_fabric`."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from dataclasses import dataclass

from acoustic_kit.errors import AkitError, UsageError

PRECISIONS = ("auto", "32", "bf16")


@dataclass(frozen=True)
class Compute:
    """Device, precision and compilation of networks. None of them is part of a run's name.

    Parameters
    ----------
    device : `auto` (a GPU if available), `cpu`, `cuda`, or one GPU by its number, `cuda:1`
    precision : of networks: `32` is float32, `bf16` is bfloat16 autocast, `auto` is bf16 on GPUs that have it, else 32
    compile : train networks through `torch.compile`

    Raises UsageError for an unknown device or precision.

    """

    device: str = "auto"
    precision: str = "auto"
    compile: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise UsageError(f"There is no device {self.device!r}: it is auto, cpu, cuda, or a GPU's number as cuda:1.")
        if self.precision not in PRECISIONS:
            raise UsageError(f"There is no precision {self.precision!r}: it is {', '.join(PRECISIONS)}.")

    @property
    def index(self) -> int | None:
        """The number of the requested GPU, None if any is acceptable."""
        return int(self.device[5:]) if self.device.startswith("cuda:") else None

    def gpu(self) -> str | None:
        """Return the GPU to use on this machine, as torch names it: `cuda:0`; of several the first. None is the CPU.

        Raises AkitError if a requested GPU is missing, UsageError for one GPU and several processes.
        """
        if self.device == "cpu" or (self.device == "auto" and "torch" not in sys.modules and not _has_driver()):
            return None
        import torch

        available, needed = torch.cuda.device_count() if torch.cuda.is_available() else 0, n_processes()
        if not available and self.device == "auto":
            return None
        if not available:
            raise AkitError("This machine has no CUDA device that torch can use. Use --device cpu, or auto.")
        if needed > 1 and self.index is not None:
            raise UsageError(f"--device {self.device} is one GPU, for {needed} processes; use --device cuda.")
        if needed > available or (self.index or 0) >= available:
            names = ", ".join(f"cuda:{number} ({torch.cuda.get_device_name(number)})" for number in range(available))
            missing = f"There is no {self.device}" if self.index else f"{needed} processes need as many GPUs"
            raise AkitError(f"{missing}. This machine has {names}.")
        return f"cuda:{self.index or 0}"


AUTO = Compute()


def gpu_name(device: str) -> str:
    """Return the model of a GPU that torch names `cuda:0`, or the type of any other device."""
    import torch

    found = torch.device(device)
    return torch.cuda.get_device_name(found.index or 0) if found.type == "cuda" else found.type


def _has_driver() -> bool:
    """Return whether NVIDIA's driver is installed. Without it, the seconds that importing torch takes are saved."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def n_processes() -> int:
    """Return the number of processes that torchrun started, or 1. Raises UsageError for several machines."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 1
    if os.environ["WORLD_SIZE"] != os.environ["LOCAL_WORLD_SIZE"]:
        raise UsageError("akit trains one model on one machine: torchrun with --nnodes 1.")
    return int(os.environ["WORLD_SIZE"])


def is_first_process() -> bool:
    """Return whether this process writes files and prints: it is the only one, or the first of several."""
    return n_processes() == 1 or os.environ["LOCAL_RANK"] == "0"


def require_one_process(what: str) -> None:
    """Raise UsageError, naming what runs in one process only, if torchrun started several."""
    if (n := n_processes()) > 1:
        raise UsageError(f"{what} runs in one process, and torchrun started {n}. Run it without torchrun.")
