"""Comparison of training and test clips: length, level, sample rate and channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

QUANTILES = (0.05, 0.5, 0.95)
SHARE = 0.5  # of the clips by which two distributions must differ
CRITICAL = 1.22  # of the Kolmogorov–Smirnov statistic times √(nm / (n + m)): exceeded by chance once in ten times
LEAST = {"s": math.log(1.25), "dB": 6.0}  # difference of a quantile, of log-lengths and of levels
FLOOR = 1e-5  # level of silence, -100 dB


@dataclass(frozen=True)
class Comparison:
    """One property of training and of test clips."""

    name: str  # length, peak, rms, sample rate, channels
    unit: str  # s, dB (re full scale), Hz, or none
    train: tuple[float, float, float]  # quantiles: 5 %, median, 95 %
    test: tuple[float, float, float]
    differs: bool

    @property
    def line(self) -> str:
        """How the clips differ: `test clips are 60 s long, training clips 0.5 – 5 s`."""
        text = {
            "length": "test clips are {0} s long, training clips {1} s",
            "peak": "test clips have peaks of {0} dB, training clips {1} dB",
            "rms": "test clips have levels (rms) of {0} dB, training clips {1} dB",
            "sample rate": "test clips are at {0} Hz, training clips at {1} Hz",
            "channels": "test clips have {0} channels, training clips {1}",
        }[self.name]
        return text.format(_range(self.formatted(self.test)), _range(self.formatted(self.train)))

    def formatted(self, quantiles: tuple[float, ...]) -> list[str]:
        """Return quantiles in the digits of the unit."""
        digits = {"s": ".3g", "dB": ".1f"}.get(self.unit, ".0f")
        return [format(value, digits) for value in quantiles]


def compare_splits(manifest: pl.DataFrame) -> list[Comparison]:
    """Compare the training and the test clips of a manifest; empty if one of them has no readable clip.

    Lengths and levels differ if the Kolmogorov–Smirnov statistic exceeds `SHARE` and what is expected by chance, and a
    quantile differs by 25 % or 6 dB; sample rates and channels if their total variation exceeds `SHARE`.
    """
    import numpy as np
    import polars as pl

    readable = manifest.filter(pl.col("duration").is_not_null())
    splits = [readable.filter(pl.col("split") == split) for split in ("train", "test")]
    if not all(map(len, splits)):
        return []

    def of(name: str, unit: str, column: str) -> Comparison:
        train, test = (split[column].cast(pl.Float64).to_numpy() for split in splits)
        if unit == "dB":
            train, test = (20 * np.log10(np.maximum(levels, FLOOR)) for levels in (train, test))
        differs = _are_apart(train, test, unit) if unit in LEAST else _total_variation(train, test) > SHARE
        return Comparison(name, unit, _quantiles(train), _quantiles(test), differs)

    return [
        of("length", "s", "duration"),
        of("peak", "dB", "peak"),
        of("rms", "dB", "rms"),
        of("sample rate", "Hz", "sample_rate"),
        of("channels", "", "channels"),
    ]


def _quantiles(values: np.ndarray) -> tuple[float, float, float]:
    import numpy as np

    low, median, high = np.quantile(values, QUANTILES, method="nearest").tolist()
    return low, median, high


def _are_apart(x: np.ndarray, y: np.ndarray, unit: str) -> bool:
    """Return whether lengths or levels differ: by a quantile, and by the Kolmogorov–Smirnov statistic."""
    import numpy as np

    one, other = (np.array(_quantiles(values)) for values in (x, y))
    apart = np.abs(np.log(one / other)) if unit == "s" else np.abs(one - other)
    values = np.concatenate([x, y])
    below = [np.searchsorted(np.sort(sample), values, side="right") / len(sample) for sample in (x, y)]
    statistic = np.abs(below[0] - below[1]).max()
    by_chance = CRITICAL * np.sqrt(1 / len(x) + 1 / len(y))
    return bool(apart.max() >= LEAST[unit] and statistic > max(SHARE, by_chance))


def _total_variation(x: np.ndarray, y: np.ndarray) -> float:
    """Return half the sum of the differences between the shares of each value: 0 to 1."""
    import numpy as np

    return float(sum(abs(np.mean(x == value) - np.mean(y == value)) for value in np.union1d(x, y)) / 2)


def _range(quantiles: list[str]) -> str:
    low, _, high = quantiles
    return low if low == high else f"{low} – {high}"
