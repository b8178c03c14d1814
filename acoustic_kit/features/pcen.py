"""``pcen``: the mel spectrogram with per-channel energy normalization, at one or several resolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from acoustic_kit.dsp.filterbanks import MelScale, mel_filters
from acoustic_kit.dsp.mel_parameters import check_frames, check_mel
from acoustic_kit.errors import UsageError
from acoustic_kit.features.feature import Feature, StoredClip
from acoustic_kit.features.wave import Wave

if TYPE_CHECKING:
    import torch

    from acoustic_kit.nn.feature_layer import FeatureLayer
    from acoustic_kit.nn.pcen_channels import PcenChannels


@dataclass(frozen=True)
class Pcen(Feature):
    """Mel spectrogram E after PCEN (Wang et al. 2017), as ``librosa.feature.melspectrogram`` and ``librosa.pcen``.

    >>> Pcen(n_fft=(2048, 1024), precision="float64").compute(wave)  # wave: float32 (n,)

        M[t] = (1 - b) M[t-1] + b E[t]
        pcen = (E / (eps + M)^gain + bias)^power - bias^power

    The defaults are librosa's, for integer samples as it recommends; front ends with a trained PCEN mostly have another
    ``full_scale``, ``b`` and ``start``. On the same E the values equal librosa's to 1e-5. E comes from a float32 FFT:
    in bands 1e-7 below the clip's loudest, E is rounding error, which PCEN raises to the level of the other bands.

    Parameters
    ----------
    wave : the source
    n_fft : even, samples in a frame; one number for each resolution
    hop_length : samples from one frame to the next, at every resolution
    n_mels : bands
    mel_scale, fmin, fmax, pad_mode : as for ``LogMel``
    spectrum : E sums ``magnitude`` |X| or ``power`` |X|²
    full_scale : samples are multiplied by this; eps and ``start="one"`` are relative to it
    gain : 0 to 1, how much of the loudness is removed
    bias : positive, added before the compression
    power : exponent of the compression, above 0 and at most 1
    time_constant : s, from which b follows as in librosa; ignored if ``b`` is given
    eps : positive, prevents division by zero in silence
    b : weight of the newest frame in the smoother M, above 0 and at most 1
    start : M before the first frame: ``one`` as in librosa, or the ``first`` frame
    precision : of the FFT. In ``float32`` bands 1e-4 below the clip's loudest and less hold rounding errors, which PCEN
        raises to the level of the others; ``float64`` has librosa's values there too, and takes 1.5 times as long

    """

    name: ClassVar[str] = "pcen"
    version: ClassVar[int] = 1
    has_device_form: ClassVar[bool] = True

    wave: Wave = field(default_factory=Wave)
    n_fft: tuple[int, ...] = (2048, 1024)
    hop_length: int = 512
    n_mels: int = 128
    mel_scale: MelScale = "slaney"
    fmin: float = 0.0
    fmax: float | None = None
    pad_mode: Literal["constant", "reflect"] = "constant"
    spectrum: Literal["magnitude", "power"] = "magnitude"
    full_scale: float = 2.0**31
    gain: float = 0.98
    bias: float = 2.0
    power: float = 0.5
    time_constant: float = 0.4
    eps: float = 1e-6
    b: float | None = None
    start: Literal["one", "first"] = "one"
    precision: Literal["float32", "float64"] = "float32"

    def __post_init__(self) -> None:
        if not isinstance(self.n_fft, tuple) or not self.n_fft:
            raise UsageError(f"n_fft is {self.n_fft!r}; it must be a tuple of one number for each resolution")
        for n_fft in self.n_fft:
            check_frames(n_fft, self.hop_length)
        check_mel(self.wave.sample_rate, self.n_mels, self.fmin, self._fmax, self.mel_scale, self.pad_mode)
        if self.spectrum not in {"magnitude", "power"}:
            raise UsageError(f"spectrum is {self.spectrum!r}; it must be 'magnitude' or 'power'")
        if self.start not in {"one", "first"}:
            raise UsageError(f"start is {self.start!r}; it must be 'one' or 'first'")
        if self.precision not in {"float32", "float64"}:
            raise UsageError(f"precision is {self.precision!r}; it must be 'float32' or 'float64'")
        if not 0 <= self.gain <= 1:
            raise UsageError(f"gain is {self.gain}; it must be 0 to 1")
        for name in ("bias", "time_constant", "full_scale", "eps"):
            if not 1e-9 <= getattr(self, name) <= 1e10:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be 1e-9 to 1e10")
        for name, value in (("power", self.power), ("b", self._b)):
            if not 0 < value <= 1:
                raise UsageError(f"{name} is {value}; it must be above 0 and at most 1")

    @property
    def _fmax(self) -> float:
        return self.wave.sample_rate / 2 if self.fmax is None else self.fmax

    @property
    def _b(self) -> float:
        if self.b is not None:
            return self.b
        frames = self.time_constant * self.wave.sample_rate / self.hop_length
        return 2 / (math.sqrt(1 + 4 * frames**2) + 1)

    @property
    def _units(self) -> tuple[float, float]:
        """The factors of E, and of the base of the power.

        Loud samples times 2³¹, squared, would overflow float32. So E is kept, and the other terms are scaled to it:
        c E / (eps + c M)^gain = c^(1 - gain) E / (eps / c + M)^gain.
        """
        c = self.full_scale ** (1 if self.spectrum == "magnitude" else 2)
        return c, c ** (1 - self.gain)

    def compute(self, source: np.ndarray) -> np.ndarray:
        """Return the PCEN of one wave at each resolution.

        Parameters
        ----------
        source : float32 (n,), n ≥ 1, finite, at the wave's sample rate

        Returns
        -------
        float32 (len(n_fft), n_mels, 1 + n // hop_length), at least 0 but for rounding

        Raises
        ------
        AkitError
            ``source`` is empty or not finite.

        """
        from acoustic_kit.dsp.pcen_kernels import BLOCK, Parameters, pcen
        from acoustic_kit.dsp.spectrum import mel_spectrogram

        c, outer = self._units
        parameters = Parameters(self._b, self.gain, self.bias / outer, self.power, self.eps / c)
        resolutions = []
        for n_fft in self.n_fft:
            bank = mel_filters(self.wave.sample_rate, n_fft, self.n_mels, self.fmin, self._fmax, self.mel_scale)
            magnitude = self.spectrum == "magnitude"
            mel = mel_spectrogram(source, bank, n_fft, self.hop_length, self.pad_mode, magnitude, self.precision)
            start = mel[:, 0].copy() if self.start == "first" else np.full(self.n_mels, 1 / c, dtype=np.float32)
            scratch = np.empty((2, BLOCK, mel.shape[1]), dtype=np.float32)
            pcen(mel, start, parameters, *scratch, mel)
            resolutions.append(mel)
        return np.stack(resolutions) * np.float32(outer**self.power)

    def compute_on(self, device: torch.device, sources: Sequence[StoredClip]) -> list[np.ndarray]:
        """Return what `compute` returns, to 1e-4 if ``precision`` is float64.

        In float32, bands far below the loudest one differ, as the device's FFT rounds differently.
        """
        from acoustic_kit.features.on_device import from_waves

        return from_waves(
            self,
            device,
            sources,
            _on(self, device),
            cells=lambda n: (1 + n // self.hop_length) * max(self.n_fft),
            frames=lambda n: 1 + n // self.hop_length,
        )

    def torch_layer(self) -> FeatureLayer:
        """Return the layer of the wave, then `PcenChannels`."""
        from acoustic_kit.nn.feature_layer import FeatureLayer

        return FeatureLayer(self.wave.torch_layer(), self._channels(), self.hop_length)

    def _channels(self) -> PcenChannels:
        from acoustic_kit.nn.logmel import MelSpectrogram
        from acoustic_kit.nn.pcen_channels import PcenChannels

        mels = [
            MelSpectrogram(
                self.wave.sample_rate, n_fft, self.hop_length, self.n_mels, mel_scale=self.mel_scale, fmin=self.fmin,
                fmax=self.fmax, pad_mode=self.pad_mode, scale=self.spectrum, precision=self.precision,
            )
            for n_fft in self.n_fft
        ]  # fmt: skip
        c, outer = self._units
        return PcenChannels(
            mels,
            gain=self.gain,
            bias=self.bias / outer,
            power=self.power,
            b=self._b,
            eps=self.eps / c,
            start=1 / c if self.start == "one" else None,
            factor=float(outer**self.power),
        )


@lru_cache(maxsize=8)
def _on(feature: Pcen, device: torch.device) -> PcenChannels:
    return feature._channels().to(device)
