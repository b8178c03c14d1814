"""``embed``: embeddings of any pretrained model, pooled over the frames of a clip."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features.embed.encoder import OPENERS, Asked, Encoder
from acoustic_kit.features.embed.onnx_model import SUFFIX, OnnxEncoder
from acoustic_kit.features.embed.transformers_models import TransformersEncoder
from acoustic_kit.features.embed.windows import POOLS, Pool, pool
from acoustic_kit.features.feature import Feature, StoredClip, Training
from acoustic_kit.features.wave import Wave
from acoustic_kit.features.weights import AST_NAME, LOCAL, TENSORS, file_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from acoustic_store import FeatureStore


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
        encoder), wav2vec 2.0, HuBERT, WavLM and their relatives. Or an ONNX file that takes waves. Or a run of akit, by
        its folder or its name in the workspace: fold k of it embeds the clips of fold k, which it has not seen
    layer : the number of a hidden state, 0 for the input of the first layer, or negative from the last; or a named
        output such as ``last_hidden_state``, which an ONNX file always takes; or a module of a run's network. None is
        the usual one; for a run, the input of its last linear layer
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
    no_layer: ClassVar[str] = "its windows are divided and pooled outside of the model"

    model: str = AST_NAME
    layer: str | None = None
    pool: Pool = "mean"
    window: float | None = None
    hop: float | None = None
    revision: str | None = None
    sample_rate: int | None = None
    wave: Wave = field(default_factory=Wave)

    training: Training | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.pool not in POOLS:
            raise UsageError(f"pool is {self.pool!r}; it must be {', '.join(POOLS)}")
        for name, seconds in {"window": self.window, "hop": self.hop}.items():
            if seconds is not None and not 0 < seconds < math.inf:
                raise UsageError(f"{name} is {seconds}; it must be a positive number of seconds")

    @property
    def source(self) -> Feature:
        """The wave, at the model's sample rate; for a run, its own feature. Raises AkitError without the model."""
        return self._encoder.source(self.wave)

    @property
    def sees_validation(self) -> bool:
        """Whether it is a run that looked at the folds that it held out, as for the best epoch."""
        return self._encoder.sees_validation

    def located(self, folders: Sequence[Path]) -> Embed:
        """Return the feature with the path of its model, if that is in one of the folders."""
        places = [] if Path(self.model).exists() else [folder / self.model for folder in folders]
        found = next((place for place in places if place.exists()), None)
        return self if found is None else replace(self, model=str(found))

    def parameters(self) -> dict[str, Any]:
        """Return the parameters as for every feature, and digests of the model's files instead of a path.

        Raises AkitError if they are missing or damaged, UsageError for parameters that the model does not have.
        """
        encoder = self._encoder
        found = super().parameters() | {**encoder.parameters(), "wave": self.source.parameters()}
        if encoder.learns:
            found["source"] = found.pop("wave")
        return {name: value for name, value in found.items() if not (name == "training" and value is None)}

    def for_fold(self, training: Training, everything: Training) -> Embed:
        """Return the feature for the models of one fold: of a run, by its model of that fold.

        Raises AkitError if there is none, or if it was trained on a clip that the fold holds out.
        """
        if not self._encoder.learns:
            return self
        held_out = {id for id, _ in everything.clips} - {id for id, _ in training.clips}
        self._encoder.require_unseen(training.fold, held_out)
        return replace(self, training=training)

    def ready(self, store: FeatureStore) -> Embed:
        """Return the feature. Raises AkitError if its model is damaged."""
        self._encoder.load()
        return self

    def with_learnt(self, fold: str, arrays: Mapping[str, np.ndarray]) -> Embed:
        """Return the feature for the models of one fold, whose run and name are `fold`: RUN/FOLD."""
        return replace(self, training=Training(fold, ())) if self._encoder.learns else self

    def compute(self, source: np.ndarray) -> np.ndarray:
        """Return the embedding of one clip; see ``compute_batch``."""
        return self.compute_batch([source])[0]

    def compute_batch(self, sources: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the embeddings of some clips.

        Parameters
        ----------
        sources : each float32 (n,), n ≥ 1, finite, at the model's sample rate, full scale ±1; for a run, arrays of its
            feature

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

    def _embedded(self, device: torch.device, sources: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [pool(frames, self.pool) for frames in self._encoder.embed(sources, device)]

    @property
    def _encoder(self) -> Encoder:
        """The model. Raises AkitError if it is missing."""
        asked = Asked(self.layer, self.window, self.hop, self.sample_rate, self.revision, self.training)
        return open_encoder(self.model, asked)


def open_encoder(model: str, asked: Asked) -> Encoder:
    """Return the encoder of a model of any kind, which is told by what `model` names.

    Raises AkitError if it is missing, UsageError for parameters that such models do not have.
    """
    if model == LOCAL:
        raise AkitError("this embed was built with a model from a folder, whose path is not stored: name the folder")
    for opener in OPENERS:
        if (found := opener(model, asked)) is not None:
            return found
    if model.endswith(SUFFIX):
        return OnnxEncoder.find(model, asked)
    return TransformersEncoder.find(model, asked)


def weights_digest(model: str) -> str:
    """Return the SHA-256 by which keys identify the weights of a model, named as for `Embed`.

    Raises AkitError if they are missing or damaged.
    """
    tensors = Path(model).expanduser() / TENSORS
    if tensors.is_file():  # perhaps without a feature extractor, which the feature `ast` does not read
        return file_digest(tensors)
    return open_encoder(model, Asked()).digest
