"""Options for worker processes, clusters, devices and precision."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from acoustic_kit.cli.console import say
from acoustic_kit.errors import UsageError

if TYPE_CHECKING:
    from acoustic_kit.cluster import Cluster
    from acoustic_kit.device import Compute

Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Worker processes for features (default: one per core); 0 computes in the main process."),
]
OnCluster = Annotated[
    str | None,
    typer.Option(
        "--cluster", metavar="ADDRESS", help="Compute on the workers of this Dask scheduler: tcp://host:8786."
    ),
]
Device = Annotated[
    str,
    typer.Option(metavar="auto|cpu|cuda|cuda:1", help="Device for training and inference; auto: a GPU if available."),
]
Precision = Annotated[
    str,
    typer.Option(metavar="auto|32|bf16", help="Precision of networks; auto: bf16 on GPUs that support it, else 32."),
]
Devices = Annotated[
    int | None, typer.Option(min=1, help="GPUs (or processes on a CPU) that share each batch (default: 1).")
]
GRACE = 5.0  # seconds in which the first process, or torchrun, ends one that failed as it did, or because it did


def worker_count(workers: int | None) -> int:
    """Return the number of worker processes: `workers`, or one per core that this process may use."""
    if workers is not None:
        return workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def cluster_at(address: str | None, workers: int | None) -> Iterator[Cluster | None]:
    """Connect to the cluster that `--cluster` names; without an address, yield None. Raises UsageError."""
    if address is None:
        yield None
        return
    from acoustic_kit.cluster import connect

    if workers is not None:
        raise UsageError("--workers counts processes of this machine; with --cluster, the cluster's workers compute.")
    with connect(address) as cluster:
        say(f"Cluster {address}: {cluster.summary()}.")
        yield cluster


def compute_of(device: str, precision: str, devices: int | None = 1) -> Compute:
    """What the options ask for; where `devices` is None, as many as torchrun started, or one. Raises UsageError."""
    from acoustic_kit.device import Compute, processes_of_torchrun

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
