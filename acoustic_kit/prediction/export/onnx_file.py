"""A torch graph written as an ONNX file, with metadata and an optional input of lengths."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from acoustic_kit.errors import UsageError
from acoustic_kit.prediction.export.graph import ExportGraph
from acoustic_kit.prediction.export.tracing import trace

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
OUTPUTS = ("probabilities", "embedding")


def input_names(kind: str, rates: Sequence[int]) -> list[str]:
    """Return the names of an input: its kind, followed by the sample rate if there are several."""
    return [kind if len(rates) == 1 else f"{kind}_{rate}" for rate in rates]


def write_graph(
    graph: ExportGraph, samples: Sequence[int], n_side: int, metadata: Mapping[str, Any], out: Path
) -> list[str]:
    """Write a graph as an ONNX file, and return the names of the nodes of front ends.

    Parameters
    ----------
    samples : of the waves of each sample rate
    n_side : columns of the side input; 0 if there is none
    metadata : values other than text are stored as JSON

    Raises UsageError if the networks cannot be traced, or their tensors are too many for one file.

    """
    import onnx
    import onnx_ir
    from onnx_ir.passes import common

    n_bytes = sum(t.numel() * t.element_size() for t in (*graph.parameters(), *graph.buffers()))
    if n_bytes > MOST_BYTES:
        raise UsageError(f"its models take {n_bytes / 1e9:.1f} GB, and an ONNX file has 2 GB at most: add --separate")
    names = [*input_names("wave", graph.rates), *input_names("length", graph.rates), *(["side"] if n_side else [])]
    model = _translated(trace(graph, samples, n_side), names)
    front_end = [
        node.name or ""
        for node in model.graph
        if any(kind in node.metadata_props.get(CLASSES, "") for kind in FRONT_ENDS)
    ]
    common.ClearMetadataAndDocStringPass()(model)  # paths and lines of code
    _name_clips(model)
    for rate_samples, name in zip(samples, input_names("length", graph.rates), strict=True):
        _set_default(model, name, rate_samples)
    model.metadata_props.update({k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()})
    proto = onnx_ir.to_proto(model)
    onnx.checker.check_model(proto)
    out.write_bytes(proto.SerializeToString())
    return front_end


def _translated(program: ExportedProgram, names: Sequence[str]) -> onnx_ir.Model:
    """Return a program in ONNX, in which equal parts of several models are computed once.

    - `names`: of the inputs
    """
    from onnx_ir.passes import common

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        found = torch.onnx.export(
            program, dynamo=True, input_names=names, output_names=OUTPUTS, opset_version=OPSET, verbose=False
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


def _set_default(model: onnx_ir.Model, name: str, samples: int) -> None:
    """Give an input of lengths, of one or of all clips, a default: all samples."""
    import numpy as np
    import onnx_ir

    value = next(one for one in model.graph.inputs if one.name == name)
    value.shape = onnx_ir.Shape(["lengths"])
    value.const_value = onnx_ir.tensor(np.array([samples], np.int64), name=name)
    model.graph.initializers[name] = value
