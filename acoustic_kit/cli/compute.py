"""Options for worker processes, clusters, devices and precision, and the output of several processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

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
    typer.Option(
        metavar="auto|32|bf16|fp16", help="Precision of networks; auto: bf16 or fp16 on GPUs that have it, else 32."
    ),
]
GRACE = 5.0  # seconds that a failed process waits; if it failed because another one did, torchrun ends it before


@contextmanager
def first_process_prints() -> Iterator[None]:
    """Discard the output of all processes but the first, except the error of one that fails by itself."""
    from acoustic_kit.device import is_first_process, n_processes

    if n_processes() > 1:  # before torch is loaded, which warns of parameters without a gradient
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if is_first_process():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the first process reports Ctrl-C
    sys.stdout.flush()
    sys.stderr.flush()
    kept, devnull = [os.dup(1), os.dup(2)], os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(devnull, descriptor)
    try:
        yield
    except BaseException:
        time.sleep(GRACE)
        for descriptor, original in zip((1, 2), kept, strict=True):
            os.dup2(original, descriptor)
        raise
