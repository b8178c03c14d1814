"""A graph as a program of torch operators, for any number of clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from acoustic_kit.errors import UsageError
from acoustic_kit.features.weights import first_line

TRACED = 3  # clips; 0 and 1 would become constants


def trace(graph: nn.Module, inputs: Sequence[Sequence[Tensor]]) -> ExportedProgram:
    """Return the operators that a graph calls, in evaluation.

    - `inputs`: arguments of the graph, of `TRACED` clips each, or of one that stands for all

    Raises UsageError if a network cannot be traced, or takes only a fixed number of clips.
    """
    clips = Dim("clips", min=1)
    shapes = tuple([{0: clips if len(one) == TRACED else Dim.STATIC} for one in group] for group in inputs)
    try:
        with torch.no_grad(), _symbolic_len(graph):
            return torch.export.export(graph.eval(), tuple(map(list, inputs)), dynamic_shapes=shapes, strict=False)
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
