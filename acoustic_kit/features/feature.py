"""What a feature is: frozen parameters, the feature it is computed from, and a pure function from array to array."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import numpy as np


@dataclass(frozen=True)
class Feature:
    """One feature family with its parameters. Sub-classes are frozen dataclasses whose fields are the parameters.

    A field that is itself a ``Feature`` is the source: its arrays are what ``compute`` receives.
    A feature without such a field (``wave``) is computed from the audio file's path.
    """

    name: ClassVar[str]
    version: ClassVar[int]  # raise it when the same parameters give other values
    batch_size: ClassVar[int] = 1  # clips that `compute_batch` is given at once
    uses_all_cores: ClassVar[bool] = False  # True: computed in the calling process, which it fills (or a GPU) by itself

    @property
    def source(self) -> "Feature | None":
        """The feature whose arrays ``compute`` receives; None where it receives the path of the audio file."""
        sources = [value for f in fields(self) if isinstance(value := getattr(self, f.name), Feature)]
        return sources[0] if sources else None

    @property
    def storage_dtype(self) -> str:
        """How clips lie in the store: ``int16`` (with one float32 scale a clip) or ``float32``."""
        return "float32"

    def parameters(self) -> dict[str, Any]:
        """All that decides the values, as JSON: name, version, the fields, and the source's parameters in full."""
        own = {f.name: _as_json(getattr(self, f.name)) for f in fields(self)}
        return {"name": self.name, "version": self.version, **own}

    @cached_property
    def key(self) -> str:
        """``<name>-<8 hex>``: the name under which the store holds it, a hash of ``parameters()``."""
        text = json.dumps(self.parameters(), sort_keys=True, separators=(",", ":"))
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def compute(self, source: Any) -> np.ndarray:
        """The feature of one clip. See the sub-class for shapes and units."""
        raise NotImplementedError

    def compute_batch(self, sources: Sequence[Any]) -> list[np.ndarray]:
        """The feature of some clips, as many as `batch_size`; for features that compute several faster than one."""
        return [self.compute(source) for source in sources]


def _as_json(value: Any) -> Any:
    if isinstance(value, Feature):
        return value.parameters()
    return list(value) if isinstance(value, tuple) else value
