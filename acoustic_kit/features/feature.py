"""The base of all features: frozen parameters, a source, and a pure function from array to array."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, SupportsIndex

import numpy as np

from acoustic_kit.dsp.decoding import Decoding
from acoustic_kit.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from acoustic_kit.dsp.sound_file import Mono
    from acoustic_store import FeatureStore


StoredClip = tuple[np.ndarray, np.float32 | None]  # as it is stored: float32, or int16 and its scale


@dataclass(frozen=True)
class Training:
    """The clips that a feature learns from: the training clips of one fold."""

    fold: str  # its name, or "all"
    clips: tuple[tuple[str, str], ...] = field(repr=False)  # id and fingerprint

    @cached_property
    def digest(self) -> str:
        """A digest of ids and fingerprints, independent of their order."""
        lines = "".join(f"{id}\t{fingerprint}\n" for id, fingerprint in sorted(self.clips))
        return hashlib.sha256(lines.encode()).hexdigest()[:16]

    def parameters(self) -> dict[str, Any]:
        """Return the part of a feature's parameters that describes the clips, as JSON."""
        return {"fold": self.fold, "clips": len(self.clips), "digest": self.digest}


class DefiningFile(Protocol):
    """A file of a user that defines feature families, such as a recipe's; picklable."""

    @property
    def module_name(self) -> str:
        """The name of its module."""

    def module(self) -> ModuleType:
        """Return the module, loaded once a process."""


_defining: list[DefiningFile] = []


@contextmanager
def defines_families(file: DefiningFile) -> Iterator[None]:
    """Assign the feature families that are defined in the `with` block to a file."""
    _defining.append(file)
    try:
        yield
    finally:
        _defining.pop()


@dataclass(frozen=True)
class Feature:
    """One feature family with its parameters. Subclasses are frozen dataclasses whose fields are the parameters.

    >>> @dataclass(frozen=True)
    ... class Loudness(akit.Feature):
    ...     name: ClassVar[str] = "loudness"
    ...     version: ClassVar[int] = 1
    ...     wave: akit.Wave = akit.Wave(sample_rate=16000)
    ...
    ...     def compute(self, source):
    ...         return np.array([np.sqrt(np.mean(source**2))], np.float32)

    A field that is itself a ``Feature`` is the source: ``compute`` is called with its arrays.
    A feature without such a field (``wave``) is computed from the decoded audio file.

    A recipe may define its own families. They are sent to worker processes and other machines with the recipe's text.
    """

    name: ClassVar[str]
    version: ClassVar[int]  # raise it if the same parameters give other values
    batch_size: ClassVar[int] = 1  # clips in one call of `compute_batch`
    uses_all_cores: ClassVar[bool] = False  # True: computed in the calling process, on all cores or a GPU

    has_device_form: ClassVar[bool] = False  # True: `compute_on` can compute it on a GPU, with torch
    no_layer: ClassVar[str] = "it is not written in torch"  # the reason, for a family without `torch_layer`
    weights_parameter: ClassVar[str | None] = None  # the field that names a model's weights, if it has any
    defined_in: ClassVar[DefiningFile | None] = None  # the recipe that defines the family; None for akit's own

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.defined_in = None if cls.__module__.startswith("acoustic_kit.") else (_defining[-1] if _defining else None)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        if self.defined_in is None:
            return super().__reduce_ex__(protocol)
        return _restored, (self.defined_in, type(self).__module__, type(self).__qualname__, self.__dict__)

    @cached_property
    def source(self) -> Feature | None:
        """The feature whose arrays ``compute`` receives; None if it receives the decoded file."""
        sources = [value for f in fields(self) if isinstance(value := getattr(self, f.name), Feature)]
        return sources[0] if sources else None

    @property
    def decoding(self) -> Decoding:
        """Sample rate and channels of the decoded file, for features without a source."""
        return Decoding()

    def with_mono(self, mono: Mono) -> Feature:
        """Return the feature, computed from these channels of the files."""
        return self._with_sources(lambda source: source.with_mono(mono))

    def located(self, folders: Sequence[Path]) -> Feature:
        """Return the feature with the paths of models, if it names any that are in one of the folders."""
        return self._with_sources(lambda source: source.located(folders))

    def _with_sources(self, change: Callable[[Feature], Feature]) -> Feature:
        sources = {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Feature)}
        changed = {name: change(source) for name, source in sources.items()}
        return self if changed == sources else replace(self, **changed)

    @property
    def sees_validation(self) -> bool:
        """Whether it learns from clips that a fold is validated on, so that the score is optimistic."""
        return False

    @property
    def storage_dtype(self) -> str:
        """How clips are stored: ``int16`` (with one float32 scale a clip) or ``float32``."""
        return "float32"

    def parameters(self) -> dict[str, Any]:
        """Return all that decides the values, as JSON: name, version, fields, and the source's parameters in full."""
        own = {f.name: _as_json(getattr(self, f.name)) for f in fields(self) if f.compare}
        return {"name": self.name, "version": self.version, **own}

    @cached_property
    def key(self) -> str:
        """``<name>-<8 hex>``: the key in the store, a hash of ``parameters()``."""
        return key_of(self.parameters())

    def for_fold(self, training: Training, everything: Training) -> Feature:
        """Return the feature for the models of one fold: itself, unless it learns from training clips.

        ``everything`` are the training clips of all folds.
        """
        return self

    def ready(self, store: FeatureStore) -> Feature:
        """Return the feature, able to compute: itself, unless it first has to learn from the store."""
        return self

    def learnt(self, store: FeatureStore, key: str) -> dict[str, np.ndarray]:
        """Return the arrays that the feature of this key learnt, by name; none if it learns nothing."""
        return {}

    def with_learnt(self, fold: str, arrays: Mapping[str, np.ndarray]) -> Feature:
        """Return the feature, able to compute, with the arrays that `learnt` returned for the fold of this name.

        Raises AkitError if they are not the arrays that it learns.
        """
        return self

    def compute(self, source: Any) -> np.ndarray:
        """Return the feature of one clip. See the subclass for shapes and units."""
        raise NotImplementedError

    def compute_batch(self, sources: Sequence[Any]) -> list[np.ndarray]:
        """Return the feature of up to `batch_size` clips; for features that compute several faster than one."""
        return [self.compute(source) for source in sources]

    def compute_on(self, device: torch.device, sources: Sequence[StoredClip]) -> list[np.ndarray]:
        """Return the feature of any number of clips, computed by torch on a device; only if `has_device_form`.

        Values differ from the CPU's by rounding; `docs/performance.md` and the tests say by how much.
        """
        raise NotImplementedError

    def torch_layer(self) -> nn.Module:
        """Return the feature and its sources as a layer of waves, which `torch.onnx.export` exports.

        Its input is what `compute` of the root is given, decoded and resampled as its `decoding` says: float32
        (clips, n), zeros after the end of shorter clips, and int64 (clips,), the samples of each. It returns float32
        (clips, …, frames) and int64 (clips,), how many of the frames are the clip's own; the others are arbitrary.

        Raises UsageError if the feature has no such form, with the reason.
        """
        raise UsageError(f"{self.name} has no form in ONNX: {self.no_layer}")


def _restored(file: DefiningFile, module: str, name: str, state: dict[str, Any]) -> Feature:
    """Return a pickled feature of a family that a recipe defines, or a module that the recipe imports."""
    loaded = file.module()
    family = attrgetter(name)(loaded if module == file.module_name else sys.modules[module])
    feature: Feature = family.__new__(family)
    feature.__dict__.update(state)
    return feature


def key_of(parameters: Mapping[str, Any]) -> str:
    """Return the key of the feature with these `parameters()`."""
    text = json.dumps(parameters, sort_keys=True, separators=(",", ":"))
    return f"{parameters['name']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _as_json(value: Any) -> Any:
    if isinstance(value, Feature | Training):
        return value.parameters()
    return list(value) if isinstance(value, tuple) else value
