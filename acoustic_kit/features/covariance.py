"""``covariance``: how the MFCC of a clip and their changes vary together; one row of numbers a clip."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from acoustic_kit.errors import UsageError
from acoustic_kit.features.feature import Feature
from acoustic_kit.features.logmel import LogMel


@dataclass(frozen=True)
class Covariance(Feature):
    """Means of MFCC, and the logarithm of the covariance of MFCC and of their changes from frame to frame.

    >>> Covariance(LogMel(n_mels=64)).columns()[:2]
    ['mfcc_00_mean', 'mfcc_00_mfcc_00']

    Parameters
    ----------
    logmel : the source, in decibels
    n_mfcc : coefficients, at most the bands of ``logmel``
    floor : dB², added to each variance, so that steady sounds have a logarithm

    """

    name: ClassVar[str] = "covariance"
    version: ClassVar[int] = 1
    no_layer: ClassVar[str] = "numba kernels compute it"

    logmel: LogMel = field(default_factory=lambda: LogMel(n_mels=64))
    n_mfcc: int = 20
    floor: float = 1.0

    def __post_init__(self) -> None:
        if self.logmel.scale != "db":
            raise UsageError(f"logmel.scale is {self.logmel.scale!r}; it must be 'db'")
        if not 1 <= self.n_mfcc <= self.logmel.n_mels:
            raise UsageError(f"n_mfcc is {self.n_mfcc}; it must be 1 to {self.logmel.n_mels}, the bands of logmel")
        if not 1e-6 <= self.floor <= 1e6:
            raise UsageError(f"floor is {self.floor}; it must be 1e-6 to 1e6")

    def columns(self) -> list[str]:
        """Return the names of the numbers, in order: means, and pairs of coefficients and changes (``delta``)."""
        rows = [f"{kind}_{k:02d}" for kind in ("mfcc", "delta") for k in range(self.n_mfcc)]
        pairs = [f"{one}_{other}" for i, one in enumerate(rows) for other in rows[i:]]
        return [f"{row}_mean" for row in rows[: self.n_mfcc]] + pairs

    def compute(self, source: np.ndarray) -> np.ndarray:
        """Return the means and the covariance of one clip.

        Parameters
        ----------
        source : float32 (bands, frames), decibels

        Returns
        -------
        float32 (columns,), finite, in the order of ``columns()``; see ``dsp.covariance.log_covariance``

        """
        from acoustic_kit.dsp.covariance import log_covariance
        from acoustic_kit.dsp.filterbanks import dct_basis

        mfcc = dct_basis(self.n_mfcc, self.logmel.n_mels).astype(np.float64) @ source
        changes = np.diff(mfcc, axis=1, append=mfcc[:, -1:])
        rows = np.concatenate([mfcc, changes])
        return np.concatenate([mfcc.mean(axis=1), log_covariance(rows, self.floor)]).astype(np.float32)
