"""Device and precision settings, and the processes that torchrun started. Fabric applies them, see `make_fabric`."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from acoustic_kit.errors import AkitError, UsageError

PRECISIONS = ("auto", "32", "bf16", "fp16")
NEEDED = {"bf16": (8, 0), "fp16": (7, 0)}  # compute capabilities, from which GPUs have fast arithmetic of a precision
CUDA_12_FROM = (7, 5)  # compute capability below which builds for CUDA 13 have no kernels


@dataclass(frozen=True)
class Gpu:
    """A GPU of this machine."""

    name: str
    capability: tuple[int, int]  # compute capability: (7, 5) of a T4

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.capability[0]}.{self.capability[1]})"


def network_precision(requested: str, gpus: Sequence[Gpu]) -> str:
    """Return the precision of networks on some GPUs, or on the CPU if there are none: `32`, `bf16` or `fp16`.

    `auto` is bf16 if all GPUs have it, else fp16 if all have tensor cores for it, else 32, and 32 on the CPU, where the
    others are slower. Raises AkitError for a precision that a GPU does not have.
    """
    if requested == "auto":
        lowest = min((gpu.capability for gpu in gpus), default=(0, 0))
        return next((name for name, needed in NEEDED.items() if lowest >= needed), "32")
    for gpu in gpus:
        if gpu.capability < NEEDED.get(requested, (0, 0)):
            raise AkitError(f"{gpu} has no {requested}. Use --precision 32, or auto.")
    return requested


def has_kernels(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Return whether a build of torch for some architectures (`sm_75`, `compute_90`) runs on a GPU.

    Machine code, `sm_XY`, runs on GPUs of the same major and the same or a later minor version, and PTX, `compute_XY`,
    on all later ones; with the suffix `a` on that version only, with `f` as machine code does. Builds that name none,
    for a CPU or for ROCm, are not judged: True. Source: NVIDIA, "CUDA C++ Programming Guide", 5.1 and 16.
    """
    found = [match.groups() for one in architectures if (match := re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", one))]
    for kind, major, minor, suffix in found:
        version = (int(major), int(minor))
        if suffix == "a":
            fits = capability == version
        elif kind == "sm" or suffix == "f":
            fits = capability[0] == version[0] and capability >= version
        else:
            fits = capability >= version
        if fits:
            return True
    return not found


def require_kernels(gpu: Gpu, architectures: Sequence[str], torch_version: str) -> None:
    """Raise AkitError, with what to install instead, if the installed torch has no kernels for a GPU."""
    if has_kernels(gpu.capability, architectures):
        return
    newer = "pip install --upgrade torch torchvision"
    older = "torch<2.15 and torchvision for CUDA 12.6 (cu126), by the command that pytorch.org shows for it"
    raise AkitError(
        f"torch {torch_version} has no kernels for {gpu}, only for {', '.join(architectures)}.\n"
        f"Install a build that has ({older if gpu.capability < CUDA_12_FROM else newer}), choose another GPU "
        "(--device cuda:1), or use --device cpu."
    )


@dataclass(frozen=True)
class Compute:
    """Device, precision and compilation of networks. None of them is part of a run's name.

    Parameters
    ----------
    device : `auto` (a GPU if available), `cpu`, `cuda`, or one GPU by its number, `cuda:1`
    precision : of networks: `32` is float32, `bf16` and `fp16` are autocast to bfloat16, or to float16 with a loss
        scale; `auto` chooses by GPU, see `network_precision`
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

        Raises AkitError if a requested GPU is missing or the installed torch has no kernels for it, UsageError for one
        GPU and several processes.
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
        for gpu in self._numbered(needed):
            require_kernels(gpu, torch.cuda.get_arch_list(), torch.__version__)
        return f"cuda:{self.index or 0}"

    def gpus(self) -> list[Gpu]:
        """Return the GPUs to use on this machine, one per process; none is the CPU. Raises as `gpu` does."""
        return [] if self.gpu() is None else self._numbered(n_processes())

    def _numbered(self, n: int) -> list[Gpu]:
        import torch

        numbers = range(n) if self.index is None else [self.index]
        return [Gpu(torch.cuda.get_device_name(i), torch.cuda.get_device_capability(i)) for i in numbers]


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
