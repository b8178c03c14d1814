"""On what networks are trained and predict: what was asked for. Fabric makes of it what there is, see `make_fabric`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from acoustic_kit.errors import UsageError

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

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and speaks: it is the only one, or the first of several."""
        return self.devices == 1 or os.environ.get("LOCAL_RANK", "0") == "0"


AUTO = Compute()  # what there is


def processes_of_torchrun() -> int | None:
    """How many processes torchrun started, None where it started none. Raises UsageError where on several machines."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    if os.environ["WORLD_SIZE"] != os.environ["LOCAL_WORLD_SIZE"]:
        raise UsageError("akit trains one model on one machine: torchrun with --nnodes 1.")
    return int(os.environ["WORLD_SIZE"])
