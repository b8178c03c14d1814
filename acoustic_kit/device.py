"""On what networks are trained and predict: what was asked for. Fabric makes of it what there is, see `make_fabric`."""

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
    """A device, a precision and a number of processes; none of them is part of a run's name.

    Parameters
    ----------
    device : `auto` (a GPU where there is one), `cpu`, `cuda` or one GPU by its number, `cuda:1`
    precision : of networks: `32` is float32, `bf16` is bfloat16 autocast, `auto` is bf16 on GPUs that have it, else 32
    devices : GPUs, or processes on a CPU, that train one model together; each takes its share of every batch

    Raises UsageError for what makes no sense.

    """

    device: str = "auto"
    precision: str = "auto"
    devices: int = 1

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise UsageError(f"There is no device {self.device!r}: it is auto, cpu, cuda, or a GPU's number as cuda:1.")
        if self.precision not in PRECISIONS:
            raise UsageError(f"There is no precision {self.precision!r}: it is {', '.join(PRECISIONS)}.")
        if self.devices < 1:
            raise UsageError(f"--devices {self.devices}: it takes at least one.")
        if self.devices > 1 and self.index is not None:
            raise UsageError(f"--device {self.device} is one GPU: with --devices {self.devices}, use --device cuda.")

    @property
    def index(self) -> int | None:
        """The number of the GPU that was asked for, None where any will do."""
        return int(self.device[5:]) if self.device.startswith("cuda:") else None

    def gpu(self) -> str | None:
        """The GPU that it means on this machine, as torch names it: `cuda:0`; of several the first. None is the CPU.

        Raises AkitError where GPUs were asked for that are not there.
        """
        if self.device == "cpu" or (self.device == "auto" and "torch" not in sys.modules and not _has_driver()):
            return None
        import torch

        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not there and self.device == "auto":
            return None
        if not there:
            raise AkitError("This machine has no CUDA device that torch can use. Use --device cpu, or auto.")
        if self.devices > there or (self.index or 0) >= there:
            names = ", ".join(f"cuda:{number} ({torch.cuda.get_device_name(number)})" for number in range(there))
            lacks = f"There is no {self.device}" if self.index else f"--devices {self.devices} needs as many GPUs"
            raise AkitError(f"{lacks}. This machine has {names}.")
        return f"cuda:{self.index or 0}"

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and speaks: it is the only one, or the first of several."""
        return self.devices == 1 or os.environ.get("LOCAL_RANK", "0") == "0"


def gpu_name(device: str) -> str:
    """What the GPU calls itself that torch names `cuda:0`; any other device by its kind."""
    import torch

    found = torch.device(device)
    return torch.cuda.get_device_name(found.index or 0) if found.type == "cuda" else found.type


def _has_driver() -> bool:
    """Whether NVIDIA's driver is installed: importing torch, which takes seconds, is not worth it without."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


AUTO = Compute()  # what there is


def processes_of_torchrun() -> int | None:
    """How many processes torchrun started, None where it started none. Raises UsageError where on several machines."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    if os.environ["WORLD_SIZE"] != os.environ["LOCAL_WORLD_SIZE"]:
        raise UsageError("akit trains one model on one machine: torchrun with --nnodes 1.")
    return int(os.environ["WORLD_SIZE"])
