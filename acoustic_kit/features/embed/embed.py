"""``embed``: embeddings of any pretrained model, pooled over the frames of a clip."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from acoustic_kit.dsp.sound_file import check_wave
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features.embed.onnx_model import SUFFIX, OnnxEncoder
from acoustic_kit.features.embed.transformers_models import TransformersEncoder
from acoustic_kit.features.embed.windows import POOLS, Pool, batches, pool, split
from acoustic_kit.features.feature import Feature, StoredClip
from acoustic_kit.features.wave import Wave
from acoustic_kit.features.weights import AST_NAME, LOCAL, TENSORS, find_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from acoustic_kit.features.embed.encoder import Encoder

MAX_SECONDS = 30.0  # of a window, for models that take any length
SECONDS_AT_ONCE = {"cpu": 40.0, "cuda": 320.0}  # of sound in a batch


@dataclass(frozen=True)
class Embed(Feature):
    """Embeddings of a pretrained model.

    >>> Embed("facebook/hubert-base-ls960", layer="-4", pool="mean+std")

    The key contains digests of the model's files, so that the same files in another folder have the same key; for a
    name on the hub also that name and the commit.

    Parameters
    ----------
    model : a model of transformers: a name on the Hugging Face hub, or a folder with ``config.json``,
        ``preprocessor_config.json`` and ``model.safetensors``. Families: AST, CLAP (its audio tower), Whisper (its
        encoder), wav2vec 2.0, HuBERT, WavLM and their relatives. Or an ONNX file that takes waves
    layer : the number of a hidden state, 0 for the input of the first layer, or negative from the last; or a named
        output such as ``last_hidden_state``, which an ONNX file always takes. None is the usual one
    pool : over all frames of the clip: ``mean``, ``max``, both ``mean+std``, or ``none`` to store the frames
    window : seconds, at most the length that the model takes, which is the default; 30 if it takes any length.
        Longer clips are divided into windows, shorter ones padded if the model needs it, and padding is not pooled
    hop : seconds from one window to the next, at most; default: the window. The last window ends with the clip
    revision : branch, tag or commit on the hub
    sample_rate : Hz, of an ONNX file that does not name it
    wave : the source; its sample rate is that of the model

    """

    name: ClassVar[str] = "embed"
    version: ClassVar[int] = 1
    batch_size: ClassVar[int] = 8
    uses_all_cores: ClassVar[bool] = True
    has_device_form: ClassVar[bool] = True
    weights_parameter: ClassVar[str | None] = "model"

    model: str = AST_NAME
    layer: str | None = None
    pool: Pool = "mean"
    window: float | None = None
    hop: float | None = None
    revision: str | None = None
    sample_rate: int | None = None
    wave: Wave = field(default_factory=Wave)

    def __post_init__(self) -> None:
        if self.pool not in POOLS:
            raise UsageError(f"pool is {self.pool!r}; it must be {', '.join(POOLS)}")
        for name, seconds in {"window": self.window, "hop": self.hop}.items():
            if seconds is not None and not 0 < seconds < math.inf:
                raise UsageError(f"{name} is {seconds}; it must be a positive number of seconds")

    @property
    def source(self) -> Wave:
        """The wave, at the model's sample rate. Raises AkitError if the model is missing."""
        return replace(self.wave, sample_rate=self._encoder.sample_rate)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters as for every feature, and digests of the model's files instead of a path.

        Raises AkitError if they are missing or damaged, UsageError if the model has no such layer.
        """
        self._samples()
        return super().parameters() | {"wave": self.source.parameters(), **self._encoder.parameters()}

    def compute(self, source: np.ndarray) -> np.ndarray:
        """Return the embedding of one clip; see ``compute_batch``."""
        return self.compute_batch([source])[0]

    def compute_batch(self, sources: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the embeddings of some clips.

        Parameters
        ----------
        sources : each float32 (n,), n ≥ 1, finite, at the model's sample rate, full scale ±1

        Returns
        -------
        Each float32: (d,) for ``mean`` and ``max``, (2 d,) for ``mean+std``, (frames, d) for ``none``

        Raises
        ------
        AkitError
            A wave is empty or not finite, or the model is missing or damaged.

        """
        import torch

        return self._embedded(torch.device("cpu"), sources)

    def compute_on(self, device: torch.device, sources: Sequence[StoredClip]) -> list[np.ndarray]:
        """Return what `compute_batch` returns, to 1e-3 of the largest value."""
        from acoustic_kit.features.on_device import as_float

        return self._embedded(device, [as_float(source) for source in sources])

    def _embedded(self, device: torch.device, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        import torch

        from acoustic_kit.features.on_device import as_fits

        encoder, (length, hop) = self._encoder, self._samples()
        for wave in waves:
            check_wave(wave)
        windows = [split(wave, length, hop) for wave in waves]
        flat = [window for found in windows for window in found]

        def on_cpu(window: np.ndarray) -> np.ndarray:
            return encoder.frames([window], torch.device("cpu"))[0]

        frames: dict[int, np.ndarray] = {}
        at_once = round(SECONDS_AT_ONCE[device.type] * encoder.sample_rate)
        for batch in batches([len(window) for window in flat], at_once, mixed=encoder.pads):
            found = as_fits(partial(encoder.frames, device=device), [flat[i] for i in batch], on_cpu)
            frames.update(zip(batch, found, strict=True))
        ordered = iter(frames[i] for i in range(len(flat)))
        return [pool(np.concatenate([next(ordered) for _ in found]), self.pool) for found in windows]

    def _samples(self) -> tuple[int, int]:
        """Return window and hop in samples. Raises UsageError if the model takes no window so long."""
        rate, longest = self._encoder.sample_rate, self._encoder.max_samples
        length = longest or round(MAX_SECONDS * rate)
        if self.window is not None:
            length = max(1, round(self.window * rate))
            if longest is not None and length > longest:
                raise UsageError(f"window is {self.window}; the model takes at most {longest / rate:.6g} s")
        return length, length if self.hop is None else max(1, round(self.hop * rate))

    @property
    def _encoder(self) -> Encoder:
        """The model. Raises AkitError if it is missing."""
        if self.model == LOCAL:
            raise AkitError(
                "this embed was built with a model from a folder, whose path is not stored: name the folder"
            )
        if self.model.endswith(SUFFIX):
            return OnnxEncoder.find(self.model, self.layer, self.sample_rate)
        if self.sample_rate is not None:
            raise UsageError(f"sample_rate is {self.sample_rate}; it is only for ONNX files, other models name theirs")
        return TransformersEncoder.find(self.model, self.revision, self.layer)


def weights_digest(model: str) -> str:
    """Return the SHA-256 by which keys identify the weights of a model: a folder, a name on the hub or an ONNX file.

    Raises AkitError if they are missing or damaged.
    """
    if model.endswith(SUFFIX):
        return OnnxEncoder.find(model, None, None).digest
    return find_weights(model, how="--weights FOLDER.").digests()[TENSORS]
