"""The interface of a pretrained model that embeds waves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch


class Encoder(Protocol):
    """A model that turns waves into frames. Its network is loaded when it first computes."""

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waves, in Hz."""

    @property
    def max_samples(self) -> int | None:
        """The longest wave that it takes; None for any."""

    @property
    def pads(self) -> bool:
        """Whether waves of several lengths can be computed at once, with the frames that each has alone."""

    def parameters(self) -> Mapping[str, Any]:
        """Return all that decides the frames, as JSON, without paths: digests, and the layer.

        Raises AkitError if a file is missing or damaged, UsageError if there is no such layer.
        """

    def frames(self, waves: Sequence[np.ndarray], device: torch.device) -> list[np.ndarray]:
        """Return the frames of some waves, each float32 (n,): each float32 (frames, d), at least one.

        Raises AkitError if the model cannot be loaded.
        """
