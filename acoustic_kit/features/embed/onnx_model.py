"""Models in ONNX files that take waves. Nothing in such a file is executed but the operators of ONNX Runtime."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features.embed.encoder import Asked, WaveEncoder
from acoustic_kit.features.weights import LOCAL, file_digest, first_line

if TYPE_CHECKING:
    import torch

SUFFIX = ".onnx"
FLOATS = {1: np.float32, 10: np.float16, 11: np.float64}  # by ONNX's number of the type
OWN_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}  # operators that are part of ONNX Runtime


@dataclass(frozen=True)
class OnnxEncoder(WaveEncoder):
    """An ONNX file whose only input is waves: (samples,), (waves, samples) or (waves, 1, samples).

    Its metadata may name ``sample_rate`` (Hz), ``window`` (seconds, for an input of any length) and ``output``.
    """

    path: Path
    asked: Asked  # its layer is the name of an output

    @classmethod
    def find(cls, model: str, asked: Asked) -> Self:
        """Return the encoder of a file. Raises AkitError if it is missing."""
        path = Path(model).expanduser()
        if not path.is_file():
            raise AkitError(f"There is no file {model}.")
        return cls(path, asked)

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waves, in Hz. Raises UsageError if it is unknown."""
        found = self.asked.sample_rate or self._header.number("sample_rate")
        if found is None:
            raise UsageError(f"{self.path} does not name its sample rate in its metadata; pass it: sample_rate=16000")
        return round(found)

    @property
    def max_samples(self) -> int | None:
        """The length of the input; None for any."""
        if isinstance(self._header.shape[-1], int):
            return int(self._header.shape[-1])
        window = self._header.number("window")
        return None if window is None else round(window * self.sample_rate)

    @property
    def pads(self) -> bool:
        """Whether waves of several lengths can be computed at once."""
        return self.max_samples is not None

    def parameters(self) -> Mapping[str, Any]:
        """Return the digest of the file, with the files of its tensors, the sample rate and the output."""
        self.windows()
        return {
            "model": LOCAL,
            "revision": None,
            "layer": self._output,
            "sample_rate": self.sample_rate,
            "weights_sha256": self.digest,
        }

    @property
    def files(self) -> list[Path]:
        """The file, and the files of its tensors beside it."""
        return [self.path, *(self.path.parent / name for name in self._header.beside)]

    @property
    def digest(self) -> str:
        """SHA-256 of the file; if its tensors are in other files, of the digests of all."""
        digests = [f"{name}\t{file_digest(self.path.parent / name)}" for name in self._header.beside]
        own = file_digest(self.path)
        return hashlib.sha256("\n".join([own, *digests]).encode()).hexdigest() if digests else own

    def frames(self, waves: Sequence[np.ndarray], device: torch.device) -> list[np.ndarray]:
        """Return the frames of some waves, each float32 (n,): each float32 (frames, d)."""
        header, length = self._header, self.max_samples or max(map(len, waves))
        batch: np.ndarray = np.stack([np.pad(wave, (0, length - len(wave))) for wave in waves]).astype(header.dtype)
        session = _session(self.path, self.digest, str(device))
        try:
            if header.one_at_a_time:
                rows = [self._run(session, row if len(header.shape) == 1 else row[None]) for row in batch]
            else:
                rows = list(self._run(session, batch))
        except Exception as error:  # ONNX Runtime raises many kinds of errors
            raise AkitError(f"{self.path} cannot be computed: {first_line(error)}") from error
        return [self._of_clip(row, len(wave) / length) for row, wave in zip(rows, waves, strict=True)]

    def _run(self, session: Any, batch: np.ndarray) -> np.ndarray:
        """Return the output for waves in one of the forms of the input."""
        if len(self._header.shape) == 3:
            batch = batch[:, None]
        (found,) = session.run([self._output], {self._header.input: batch})
        array = np.asarray(found, np.float32)
        return array[0] if self._header.one_at_a_time and array.ndim > 1 and len(array) == 1 else array

    @staticmethod
    def _of_clip(row: np.ndarray, fraction: float) -> np.ndarray:
        """Return the frames of one wave: a vector is one, and the last axis is d. The padding's frames are cut off."""
        if row.ndim == 2:
            return row[: math.ceil(fraction * len(row))]
        return row.reshape(-1, row.shape[-1])

    def load(self) -> None:
        """Open the session on the CPU."""
        _session(self.path, self.digest, "cpu")

    @property
    def _output(self) -> str:
        """The output that is taken. Raises UsageError if it is unknown."""
        names = self._header.outputs
        found = self.asked.layer or self._header.metadata.get("output") or (names[0] if len(names) == 1 else None)
        if found not in names:
            reason = "has several outputs" if found is None else f"has no output {found!r}"
            raise UsageError(f"{self.path} {reason}; pass one of them: layer={'|'.join(names)}")
        return str(found)

    @cached_property
    def _header(self) -> _Header:
        try:
            stat = self.path.stat()
        except OSError as error:
            raise AkitError(f"{self.path} cannot be read: {error.strerror}") from error
        return _read_header(self.path, stat.st_size, stat.st_mtime_ns)


@dataclass(frozen=True)
class _Header:
    """What an ONNX file says of itself."""

    input: str
    shape: tuple[int | None, ...]  # of the input; None for any size
    dtype: type
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]
    beside: tuple[str, ...]  # files of its tensors
    path: Path

    @property
    def one_at_a_time(self) -> bool:
        """Whether the input is one wave."""
        return len(self.shape) == 1 or self.shape[0] == 1

    def number(self, name: str) -> float | None:
        """Return a positive number of the metadata; None if it is missing. Raises AkitError if it is none."""
        if (text := self.metadata.get(name)) is None:
            return None
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not 0 < found < math.inf:
            raise AkitError(f"{self.path}: the metadata has {name}={text!r}, which is no positive number")
        return found


@lru_cache(maxsize=8)
def _read_header(path: Path, size: int, mtime_ns: int) -> _Header:
    """Return the header of a file as it is at this size and time stamp.

    Raises AkitError if it is damaged, does not take waves, needs a library of operators, or reads files elsewhere.
    """
    onnx = import_extra("onnx")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # the parser raises many kinds of errors
        raise AkitError(f"{path} is no ONNX file: {first_line(error)}") from error
    nodes = [node for graph in (model.graph, *model.functions) for node in _nodes(graph)]
    allowed = OWN_DOMAINS | {function.domain for function in model.functions}
    if foreign := next((node for node in nodes if node.domain not in allowed), None):
        raise AkitError(
            f"{path} needs the operator {foreign.domain}.{foreign.op_type} of a library, which akit does not load."
        )
    initialized = {tensor.name for tensor in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in initialized]
    tensor = inputs[0].type.tensor_type if inputs else None
    shape = tuple(d.dim_value or None for d in tensor.shape.dim) if tensor else ()
    if len(inputs) != 1 or tensor is None or tensor.elem_type not in FLOATS or not _takes_waves(shape):
        raise AkitError(
            f"{path} must have one input of waves, float (samples,), (waves, samples) or (waves, 1, samples); it has "
            f"{', '.join(one.name for one in inputs) or 'none'}{f' of shape {shape}' if shape else ''}."
        )
    beside = sorted(
        {_location(path, t) for t in _tensors(model, nodes) if t.data_location == onnx.TensorProto.EXTERNAL}
    )
    outputs = tuple(output.name for output in model.graph.output)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return _Header(inputs[0].name, shape, FLOATS[tensor.elem_type], outputs, metadata, tuple(beside), path)


def _takes_waves(shape: tuple[int | None, ...]) -> bool:
    return 1 <= len(shape) <= 3 and (len(shape) < 3 or shape[1] == 1) and (len(shape) < 2 or shape[0] in {None, 1})


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph or function, and of the graphs in their attributes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _tensors(model: Any, nodes: Sequence[Any]) -> Iterator[Any]:
    """Yield all tensors of a model."""
    attributes = [attribute for node in nodes for attribute in node.attribute]
    for graph in (model.graph, *(g for a in attributes for g in (a.g, *a.graphs))):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for attribute in attributes:
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)


def _location(path: Path, tensor: Any) -> str:
    """Return the file of a tensor, relative to the folder of the model. Raises AkitError if it is outside of it."""
    name = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    folder = path.parent.resolve()
    if not name or Path(name).is_absolute() or not (folder / name).resolve().is_relative_to(folder):
        raise AkitError(f"{path} reads its tensor {tensor.name} from {name!r}, which is outside of its folder.")
    return str(name)


@lru_cache(maxsize=2)
def _session(path: Path, digest: str, device: str) -> Any:
    """Return the session of a file, opened once a process; ``digest`` detects a replaced file."""
    import torch

    runtime = import_extra("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # as all other computations
    options.log_severity_level = 3  # errors
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.startswith("cuda") and "CUDAExecutionProvider" in runtime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": torch.device(device).index or 0}))
    try:
        return runtime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # ONNX Runtime raises many kinds of errors
        raise AkitError(f"{path} cannot be loaded: {first_line(error)}") from error


def import_extra(name: str) -> Any:
    """Return a module of the extra `onnx`. Raises AkitError that says how to install it."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise AkitError(
            f"ONNX files need {name}, which is not installed. Install it with: pip install 'acoustic-kit[onnx]'"
        ) from error
