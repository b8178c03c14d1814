"""The interface of a model that embeds clips, and what models of waves share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from acoustic_kit.dsp.sound_file import check_wave
from acoustic_kit.errors import UsageError
from acoustic_kit.features.embed.windows import batches, split

if TYPE_CHECKING:
    import torch

    from acoustic_kit.features.feature import Feature, Training
    from acoustic_kit.features.wave import Wave

MAX_SECONDS = 30.0  # of a window, for models that take any length
SECONDS_AT_ONCE = {"cpu": 10.0, "cuda": 320.0}  # of sound in a batch; on a CPU, more take as long a clip


@dataclass(frozen=True)
class Asked:
    """The parameters of `embed` that an encoder decides about; None for its own choice."""

    layer: str | None = None
    window: float | None = None  # seconds
    hop: float | None = None  # seconds
    sample_rate: int | None = None  # Hz
    revision: str | None = None
    training: Training | None = None  # the clips of a fold, for models that learnt from clips


class Encoder(Protocol):
    """A model that turns clips into frames. Its network is loaded when it first computes."""

    @property
    def learns(self) -> bool:
        """Whether it was trained on clips of the workspace, so that each fold has another model."""

    @property
    def sees_validation(self) -> bool:
        """Whether it learnt from clips that a fold is validated on."""

    @property
    def digest(self) -> str:
        """SHA-256 of its weights."""

    def require_unseen(self, fold: str, ids: Collection[str]) -> None:
        """Raise AkitError unless there is a model of the fold, and it was trained on none of these clips."""

    def source(self, wave: Wave) -> Feature:
        """Return the feature whose arrays it takes.

        - `wave`: the parameters of a wave, except the sample rate
        """

    def parameters(self) -> Mapping[str, Any]:
        """Return all that decides the frames, as JSON, without paths: digests, and the layer.

        Raises AkitError if a file is missing or damaged, UsageError for parameters that the model does not have.
        """

    def load(self) -> None:
        """Load the network, which finds damaged files before any clip is computed. Raises AkitError for one."""

    def embed(self, sources: Sequence[np.ndarray], device: torch.device) -> list[np.ndarray]:
        """Return the frames of some clips, from arrays of the source: each float32 (frames, d), at least one.

        Raises AkitError if the model cannot be loaded, or a clip not be computed.
        """


Opener = Callable[[str, Asked], Encoder | None]
"""Of a model's name and parameters: its encoder, or None if the model is of another kind."""

OPENERS: list[Opener] = []  # of the kinds of models that rooms above define


class WaveEncoder(ABC):
    """A model that takes waves. Long ones are divided into windows."""

    asked: Asked
    learns = False
    sees_validation = False

    @property
    @abstractmethod
    def sample_rate(self) -> int:
        """Sample rate of the waves, in Hz."""

    @property
    @abstractmethod
    def max_samples(self) -> int | None:
        """The longest wave that it takes; None for any."""

    @property
    @abstractmethod
    def pads(self) -> bool:
        """Whether waves of several lengths can be computed at once, with the frames that each has alone."""

    @abstractmethod
    def frames(self, waves: Sequence[np.ndarray], device: torch.device) -> list[np.ndarray]:
        """Return the frames of waves of at most `max_samples`, each float32 (n,): each float32 (frames, d)."""

    def require_unseen(self, fold: str, ids: Collection[str]) -> None:  # noqa: B027 (it has seen none)
        """Do nothing: it was trained on other clips."""

    def source(self, wave: Wave) -> Wave:
        """Return the wave at the model's sample rate."""
        return replace(wave, sample_rate=self.sample_rate)

    def windows(self) -> tuple[int, int]:
        """Return window and hop in samples. Raises UsageError if the model takes no window so long."""
        rate, longest, window = self.sample_rate, self.max_samples, self.asked.window
        length = longest or round(MAX_SECONDS * rate)
        if window is not None:
            length = max(1, round(window * rate))
            if longest is not None and length > longest:
                raise UsageError(f"window is {window}; the model takes at most {longest / rate:.6g} s")
        return length, length if self.asked.hop is None else max(1, round(self.asked.hop * rate))

    def embed(self, sources: Sequence[np.ndarray], device: torch.device) -> list[np.ndarray]:
        """Return the frames of all windows of some waves, in batches. Raises AkitError for an empty or infinite one."""
        import torch

        from acoustic_kit.features.on_device import as_fits

        for wave in sources:
            check_wave(wave)
        windows = [split(wave, *self.windows()) for wave in sources]
        flat = [window for found in windows for window in found]

        def on_cpu(window: np.ndarray) -> np.ndarray:
            return self.frames([window], torch.device("cpu"))[0]

        frames: dict[int, np.ndarray] = {}
        at_once = round(SECONDS_AT_ONCE[device.type] * self.sample_rate)
        for batch in batches([len(window) for window in flat], at_once, mixed=self.pads):
            found = as_fits(partial(self.frames, device=device), [flat[i] for i in batch], on_cpu)
            frames.update(zip(batch, found, strict=True))
        ordered = iter(frames[i] for i in range(len(flat)))
        return [np.concatenate([next(ordered) for _ in found]) for found in windows]
