"""``ast``: embeddings of the Audio Spectrogram Transformer (Gong, Chung and Glass 2021)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features.ast_input import AstInput
from acoustic_kit.features.feature import Feature, StoredClip
from acoustic_kit.features.weights import (
    AST_NAME,
    CONFIG,
    LOCAL,
    TENSORS,
    Weights,
    ast_settings,
    find_weights,
    load_ast,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import nn
    from transformers import ASTModel

    from acoustic_kit.nn.feature_layer import FeatureLayer

AT_ONCE = 32  # clips in a batch on a GPU


@dataclass(frozen=True)
class Ast(Feature):
    """Embeddings of the Audio Spectrogram Transformer, as ``transformers.ASTModel`` computes them.

    >>> Ast(weights="my_checkpoint", output="tokens")

    They are computed in batches. The key contains digests of the weights, so that the same weights in another folder
    have the same key, and other weights another; for a name on the hub also that name and the commit.

    Parameters
    ----------
    input : the source
    weights : a name on the Hugging Face hub, or a folder with ``config.json`` and ``model.safetensors``
    revision : branch, tag or commit on the hub; None is a fixed commit for the default weights, the newest for others
    output : ``pooled``: the mean of the class and the distillation token; ``tokens``: these two and all patches
    precision : of matrix products. ``bfloat16`` is faster on GPUs, and accurate to two or three digits

    """

    name: ClassVar[str] = "ast"
    version: ClassVar[int] = 1
    batch_size: ClassVar[int] = 8  # on a CPU the time per clip does not depend on it
    uses_all_cores: ClassVar[bool] = True
    has_device_form: ClassVar[bool] = True
    weights_parameter: ClassVar[str | None] = "weights"

    input: AstInput = field(default_factory=AstInput)
    weights: str = AST_NAME
    revision: str | None = None
    output: Literal["pooled", "tokens"] = "pooled"
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.output not in {"pooled", "tokens"}:
            raise UsageError(f"output is {self.output!r}; it must be 'pooled' or 'tokens'")
        if self.precision not in {"float32", "bfloat16"}:
            raise UsageError(f"precision is {self.precision!r}; it must be 'float32' or 'bfloat16'")

    def parameters(self) -> dict[str, Any]:
        """Return the parameters as for every feature, and commit and digests of the weights instead of a path.

        Raises AkitError if the weights are missing or damaged, UsageError if they do not fit the input.
        """
        found = self._weights()
        digests = found.digests()
        return super().parameters() | {
            "weights": found.name or LOCAL,
            "revision": found.revision,
            "weights_sha256": digests[TENSORS],
            "config_sha256": digests[CONFIG],
        }

    def compute(self, source: np.ndarray) -> np.ndarray:
        """Return the embedding of one clip; see ``compute_batch``."""
        return self.compute_batch([source])[0]

    def compute_batch(self, sources: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the embeddings of some clips, computed together.

        Parameters
        ----------
        sources : each float32 (max_length, n_mels), from ``AstInput``

        Returns
        -------
        ``pooled``: each float32 (768,); ``tokens``: each float32 (1214, 768): class and distillation token, then
        12 × 101 patches, frequency by frequency. Sizes are those of the default weights

        Raises
        ------
        AkitError
            The weights are missing or damaged.
        UsageError
            The weights take another size of input.

        """
        import torch

        return self._embedded(torch.device("cpu"), sources)

    def compute_on(self, device: torch.device, sources: Sequence[StoredClip]) -> list[np.ndarray]:
        """Return what `compute_batch` returns, to 1e-3 in float32."""
        from acoustic_kit.features.on_device import as_fits, as_float

        inputs = [as_float(source) for source in sources]
        found = []
        for start in range(0, len(inputs), AT_ONCE):
            found += as_fits(partial(self._embedded, device), inputs[start : start + AT_ONCE], self.compute)
        return found

    def _embedded(self, device: torch.device, sources: Sequence[np.ndarray]) -> list[np.ndarray]:
        import torch

        from acoustic_kit.nn.matmul_precision import full_float32_matmul

        weights = self._weights()
        model = _model(weights, weights.digests()[TENSORS], device)
        batch = torch.from_numpy(np.stack(sources)).to(device)
        half = torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")
        with torch.inference_mode(), full_float32_matmul(device), half:
            output = model(batch)
        embeddings = output.pooler_output if self.output == "pooled" else output.last_hidden_state
        return list(embeddings.float().cpu().numpy())

    def torch_layer(self) -> FeatureLayer:
        """Return the layer of the input, then the network.

        Raises AkitError and UsageError as `compute_batch` does, and UsageError in bfloat16, which ONNX Runtime does not
        compute on a CPU.
        """
        import torch

        from acoustic_kit.nn.feature_layer import FeatureLayer

        if self.precision != "float32":
            raise UsageError(f"ast:precision={self.precision} has no form in ONNX; build it with precision=float32")
        weights = self._weights()
        model = _model(weights, weights.digests()[TENSORS], torch.device("cpu"))
        return FeatureLayer(self.input.torch_layer(), _network(model, self.output == "pooled"))

    def _weights(self) -> Weights:
        """Return the weights. Raises UsageError if they do not fit the input."""
        if self.weights == LOCAL:
            raise AkitError("this ast was built with weights from a folder, whose path is not stored: name the folder")
        how = 'ast:weights=FOLDER for a build, --weights FOLDER for akit predict, Ast(weights="FOLDER") in Python.'
        found = find_weights(self.weights, self.revision, how=how)
        settings = ast_settings(found)
        wanted = settings.get("max_length", 1024), settings.get("num_mel_bins", 128)
        if (self.input.max_length, self.input.n_mels) != wanted:
            raise UsageError(
                f"the weights {self.weights} take {wanted[0]} frames of {wanted[1]} bands, the input has "
                f"{self.input.max_length} of {self.input.n_mels}; set input.max_length and input.n_mels "
                "(and input.mean and input.std, which belong to the weights too)"
            )
        return found


@lru_cache(maxsize=1)
def _model(weights: Weights, digest: str, device: torch.device) -> ASTModel:
    """Return the model on the device, loaded once a process; ``digest`` detects a replaced file."""
    return load_ast(weights).to(device)


def _network(model: ASTModel, pooled: bool) -> nn.Module:
    """Return a layer of the input and of lengths, which it ignores."""
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            output = self.model(values)
            found: torch.Tensor = output.pooler_output if pooled else output.last_hidden_state
            return found

    return Network()
