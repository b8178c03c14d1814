"""The options that say on what networks are trained and predict, and the silence of all processes but the first."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from acoustic_kit.device import Compute

Device = Annotated[
    str, typer.Option(metavar="auto|cpu|cuda|cuda:1", help="Where networks are; auto is a GPU if there is one.")
]
Precision = Annotated[
    str, typer.Option(metavar="auto|32|bf16", help="Of networks; auto is bf16 on GPUs that have it, else 32.")
]
Devices = Annotated[
    int | None, typer.Option(min=1, help="GPUs (or processes on a CPU) that share each batch (default: 1).")
]
GRACE = 5.0  # seconds in which the first process, or torchrun, ends one that failed as it did, or because it did


def compute_of(device: str, precision: str, devices: int | None = 1) -> Compute:
    """What the options ask for; where `devices` is None, as many as torchrun started, or one. Raises UsageError."""
    from acoustic_kit.device import Compute, processes_of_torchrun
    from acoustic_kit.errors import UsageError

    started = processes_of_torchrun() or devices or 1
    if devices not in {None, started}:
        raise UsageError(f"torchrun started {started} processes, where {devices} would run. Leave out one of the two.")
    return Compute(device, precision, started)


@contextmanager
def one_voice(compute: Compute) -> Iterator[None]:
    """Of several processes only the first prints. Another is heard when it fails, and is not ended for it soon."""
    if compute.devices > 1:  # before torch is loaded: it warns of parameters that might not be used, and are
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if compute.is_first:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the first says that they were stopped
    sys.stdout.flush()
    sys.stderr.flush()
    kept, nowhere = [os.dup(1), os.dup(2)], os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    try:
        yield
    except BaseException:
        time.sleep(GRACE)
        for descriptor, there in zip((1, 2), kept, strict=True):
            os.dup2(there, descriptor)
        raise
