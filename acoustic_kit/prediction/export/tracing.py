"""A graph as a program of torch operators, for any number of clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from acoustic_kit.errors import UsageError
from acoustic_kit.features.weights import first_line
from acoustic_kit.prediction.export.graph import ExportGraph

TRACED = 3  # clips; 0 and 1 would become constants


def trace(graph: ExportGraph, samples: Sequence[int], n_side: int) -> ExportedProgram:
    """Return the operators that a graph calls, in evaluation.

    Parameters
    ----------
    samples : of the waves of each sample rate
    n_side : columns of the side input; 0 if there is none

    Raises UsageError if a network cannot be traced, or takes only a fixed number of clips.

    """
    waves = tuple(torch.zeros(TRACED, n) for n in samples)
    lengths = tuple(torch.full((1,), n) for n in samples)
    side = torch.zeros(TRACED, n_side) if n_side else None
    clips = {0: Dim("clips", min=1)}
    shapes = ((clips,) * len(waves), ({0: Dim.STATIC},) * len(waves), clips if n_side else None)
    try:
        with torch.no_grad(), _symbolic_len(graph):
            return torch.export.export(graph.eval(), (waves, lengths, side), dynamic_shapes=shapes, strict=False)
    except Exception as error:  # torch raises many kinds of errors
        raise UsageError(f"torch.export cannot trace its networks: {first_line(error)}") from error


@contextmanager
def _symbolic_len(net: nn.Module) -> Iterator[None]:
    """Make `len(x)` a symbol in the code of the layers. Python's own returns a number, which the graph would keep."""

    def symbolic(x: Any) -> Any:
        return x.shape[0] if isinstance(x, torch.Tensor) else len(x)

    scopes = {id(s): s for s in (getattr(type(layer).forward, "__globals__", {}) for layer in net.modules())}
    changed = [s for s in scopes.values() if "len" not in s and not s.get("__name__", "torch").startswith("torch.")]
    for scope in changed:
        scope["len"] = symbolic
    try:
        yield
    finally:
        for scope in changed:
            del scope["len"]
