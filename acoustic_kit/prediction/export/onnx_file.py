"""A torch graph written as an ONNX file, with metadata and an optional input of lengths."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from acoustic_kit.errors import UsageError
from acoustic_kit.prediction.export.tracing import TRACED, trace

if TYPE_CHECKING:
    import onnx_ir
    from torch.export import ExportedProgram

MOST_BYTES = 2**31 - 2**24  # of the tensors in one file
OPSET = 20
CLASSES = "pkg.torch.onnx.class_hierarchy"  # entry of a node: the layers that it is part of
FRONT_ENDS = tuple(
    f"acoustic_kit.nn.{name}."
    for name in ("feature_layer", "kaldi", "logmel", "pcen", "pcen_channels", "prepared_wave")
)


def write_graph(
    graph: nn.Module,
    inputs: Sequence[Mapping[str, Tensor]],
    outputs: Sequence[str],
    out: Path,
    metadata: Mapping[str, Any] = MappingProxyType({}),
) -> list[str]:
    """Write a graph as an ONNX file, and return the names of the nodes of front ends.

    Parameters
    ----------
    inputs : the arguments of the graph, by the names of their tensors: of `TRACED` clips, or of one that stands for
        all, which becomes the default
    outputs : names
    metadata : values other than text are stored as JSON

    Raises UsageError if the networks cannot be traced, or their tensors are too many for one file.

    """
    import onnx
    import onnx_ir
    from onnx_ir.passes import common

    n_bytes = sum(t.numel() * t.element_size() for t in (*graph.parameters(), *graph.buffers()))
    if n_bytes > MOST_BYTES:
        raise UsageError(f"its models take {n_bytes / 1e9:.1f} GB, and an ONNX file has 2 GB at most: add --separate")
    tensors = {name: tensor for group in inputs for name, tensor in group.items()}
    program = trace(graph, [list(group.values()) for group in inputs])
    model = _translated(program, list(tensors), outputs)
    front_end = [
        node.name or ""
        for node in model.graph
        if any(kind in node.metadata_props.get(CLASSES, "") for kind in FRONT_ENDS)
    ]
    common.ClearMetadataAndDocStringPass()(model)  # paths and lines of code
    _name_clips(model)
    for name, tensor in tensors.items():
        if len(tensor) != TRACED:
            _set_default(model, name, tensor)
    model.metadata_props.update({k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()})
    proto = onnx_ir.to_proto(model)
    onnx.checker.check_model(proto)
    out.write_bytes(proto.SerializeToString())
    return front_end


def _translated(program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str]) -> onnx_ir.Model:
    """Return a program in ONNX, in which equal parts of several models are computed once.

    - `inputs`, `outputs`: names
    """
    from onnx_ir.passes import common

    with warnings.catch_warnings(), errors_only("torch.onnx"):
        warnings.simplefilter("ignore")
        found = torch.onnx.export(
            program, dynamo=True, input_names=inputs, output_names=outputs, opset_version=OPSET, verbose=False
        )
    assert found is not None
    model = found.model
    common.DeduplicateInitializersPass()(model)
    common.CommonSubexpressionEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)
    return model


def _name_clips(model: onnx_ir.Model) -> None:
    """Name the first axis of the inputs and outputs, which torch numbers."""
    import onnx_ir

    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.shape is not None and not isinstance(value.shape[0], int):
            value.shape = onnx_ir.Shape(["clips", *value.shape[1:]])


def _set_default(model: onnx_ir.Model, name: str, default: Tensor) -> None:
    """Give an input, of one or of all clips, a default."""
    import onnx_ir

    value = next(one for one in model.graph.inputs if one.name == name)
    value.shape = onnx_ir.Shape(["lengths"])
    value.const_value = onnx_ir.tensor(default.numpy(), name=name)
    model.graph.initializers[name] = value


@contextmanager
def errors_only(logger: str) -> Iterator[None]:
    """Let a logger of Python write nothing below errors; the name of the root is empty."""
    found = logging.getLogger(logger)
    level = found.level
    found.setLevel(logging.ERROR)
    try:
        yield
    finally:
        found.setLevel(level)
