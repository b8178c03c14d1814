"""Encoders of transformers: found by `config.json`, built from safetensors, called as transformers calls them."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features.embed.encoder import Asked, WaveEncoder
from acoustic_kit.features.embed.families import FAMILIES, Family
from acoustic_kit.features.weights import CONFIG, LOCAL, TENSORS, Weights, find_weights, first_line, load_model

if TYPE_CHECKING:
    import torch

EXTRACTORS = ("preprocessor_config.json", "processor_config.json")  # the latter holds it in later versions
HOW = (
    "--set models=FOLDER for a recipe, embed:model=FOLDER for a build, --weights FOLDER for akit predict, "
    'Embed("FOLDER") in Python.'
)


@dataclass(frozen=True)
class TransformersEncoder(WaveEncoder):
    """An encoder of transformers with its feature extractor, and the output that is taken from it."""

    weights: Weights
    asked: Asked

    @classmethod
    def find(cls, model: str, asked: Asked) -> Self:
        """Return the encoder of a folder or a name on the hub. Raises as `find_weights` does."""
        if asked.sample_rate is not None:
            raise UsageError(f"sample_rate is {asked.sample_rate}; it is only for ONNX files, other models name theirs")
        return cls(find_weights(model, asked.revision, how=HOW, one_of=EXTRACTORS), asked)

    @property
    def digest(self) -> str:
        """SHA-256 of the tensors."""
        return self.weights.digest(TENSORS)

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waves, in Hz."""
        return int(self._extractor_settings.get("sampling_rate", self.family.sample_rate))

    @property
    def max_samples(self) -> int | None:
        """The longest wave that it takes; None for any."""
        return self.family.max_samples(self._config, self._extractor_settings, self.sample_rate)

    @property
    def pads(self) -> bool:
        """Whether waves of several lengths can be computed at once."""
        return self.family.pads(self._config)

    def parameters(self) -> Mapping[str, Any]:
        """Return digests of the files, the name on the hub and the commit, and the layer."""
        self.windows()
        return {
            "model": self.weights.name or LOCAL,
            "revision": self.weights.revision,
            "layer": self._layer,
            "weights_sha256": self.digest,
            "config_sha256": self.weights.digest(CONFIG),
            "extractor_sha256": self.weights.digest(self._extractor_name),
        }

    def frames(self, waves: Sequence[np.ndarray], device: torch.device) -> list[np.ndarray]:
        """Return the frames of some waves, each float32 (n,): each float32 (frames, d)."""
        import torch

        from acoustic_kit.nn.matmul_precision import full_float32_matmul

        model, extractor = self._loaded(device)
        inputs = {name: x.to(device) for name, x in self.family.inputs(self._config, extractor, waves).items()}
        with torch.inference_mode(), full_float32_matmul(device), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")  # in WavLM, of torch
            output = self.family.output(model, inputs, self._layer).float()
        lengths = self.family.n_frames(model, [len(wave) for wave in waves], self._layer)
        return [row[:n].cpu().numpy() for row, n in zip(output, lengths, strict=True)]

    @cached_property
    def family(self) -> Family:
        """The family of the model. Raises AkitError if it is unknown."""
        kind = self._config.get("model_type")
        if kind not in FAMILIES:
            known = ", ".join(sorted(FAMILIES))
            raise AkitError(
                f"{self.weights.folder / CONFIG} is of a model of type {kind}, which embed does not support. "
                f"It supports {known}, and ONNX files."
            )
        return FAMILIES[str(kind)]

    @cached_property
    def _config(self) -> dict[str, Any]:
        return self.weights.config()

    @cached_property
    def _extractor_name(self) -> str:
        return next(name for name in EXTRACTORS if (self.weights.folder / name).is_file())

    @cached_property
    def _extractor_settings(self) -> dict[str, Any]:
        """The settings of the feature extractor. Raises AkitError if they are damaged."""
        found = self.weights.settings(self._extractor_name)
        nested = found.get("feature_extractor", found)
        if not isinstance(nested, dict) or not isinstance(nested.get("sampling_rate", 1), int):
            raise AkitError(f"{self.weights.folder / self._extractor_name} describes no feature extractor")
        return nested

    @property
    def _layer(self) -> str:
        """The output that is taken: a name, or the number of a hidden state. Raises UsageError if there is none."""
        outputs, n = self.family.outputs, self.family.n_layers(self._config)
        layer = self.asked.layer
        if layer is None or layer in outputs:
            return layer or outputs[0]
        try:
            number = int(layer)
        except ValueError:
            number = n + 1
        if not -n - 1 <= number <= n:
            raise UsageError(f"layer is {layer!r}; this model has {', '.join(outputs)} and the numbers {-n - 1} to {n}")
        return str(number % (n + 1))

    def load(self) -> None:
        """Load network and extractor on the CPU."""
        import torch

        self._loaded(torch.device("cpu"))

    def _loaded(self, device: torch.device) -> tuple[torch.nn.Module, Any]:
        return _loaded(self, json.dumps(self.parameters()), device)

    def read(self) -> tuple[torch.nn.Module, Any]:
        """Return the network on the CPU, in evaluation mode, and the feature extractor.

        Raises AkitError if their files are damaged, or do not fit each other. No weight stays random.
        """
        import transformers

        family = self.family
        model_class, config_class = family.classes()
        model = load_model(
            self.weights, model_class, config_class, family.settings(self._config), family.part, family.untrained
        )
        extractor_class = getattr(transformers, family.extractor)
        known = inspect.signature(extractor_class.__init__).parameters
        settings = {name: value for name, value in self._extractor_settings.items() if name in known}
        try:
            extractor = extractor_class(**settings)
        except Exception as error:  # invalid settings raise many kinds of errors
            path = self.weights.folder / self._extractor_name
            raise AkitError(f"{path} describes no feature extractor: {first_line(error)}") from error
        return model, extractor


@lru_cache(maxsize=2)
def _loaded(encoder: TransformersEncoder, parameters: str, device: torch.device) -> tuple[torch.nn.Module, Any]:
    """Return network and extractor, the former on the device, loaded once a process.

    ``parameters`` detect replaced files.
    """
    model, extractor = encoder.read()
    return model.to(device), extractor
