"""Counts of soft and unknown targets and of weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class TargetSummary:
    """Targets of clips other than hard labels, each the target of one class of one clip."""

    soft: int = 0  # between 0 and 1
    soft_clips: int = 0  # that have such a target
    unknown: int = 0
    unknown_clips: int = 0
    weighted_clips: int = 0  # with a weight other than 1
    weights: tuple[float, float] | None = None  # the lowest and the highest; None if no clip is given one

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Name and figures of each kind that occurs: `("soft targets", "312 in 120 clips")`."""
        found = [
            ("soft targets", f"{self.soft:,} in {self.soft_clips:,} clips" if self.soft else ""),
            ("unknown targets", f"{self.unknown:,} in {self.unknown_clips:,} clips" if self.unknown else ""),
        ]
        if self.weights is not None:
            low, high = self.weights
            found.append(("weights", f"{low:g} – {high:g}; {self.weighted_clips:,} clips have another one than 1"))
        return [(name, text) for name, text in found if text]


def summarize_targets(rows: pl.DataFrame) -> TargetSummary:
    """Count the soft and unknown targets and the weights of rows of the manifest."""
    import polars as pl

    cells = rows.select("id", "soft").explode("soft").drop_nulls("soft").unnest("soft")
    soft = cells.filter((pl.col("target") > 0) & (pl.col("target") < 1))
    unknown = cells.filter(pl.col("target").is_null())
    given = rows["weight"].drop_nulls()
    spread = given.cast(pl.Float64).to_list() + [1.0] * (len(given) < len(rows))
    return TargetSummary(
        soft=len(soft),
        soft_clips=soft["id"].n_unique(),
        unknown=len(unknown),
        unknown_clips=unknown["id"].n_unique(),
        weighted_clips=int((given != 1).sum()),
        weights=(min(spread), max(spread)) if len(given) else None,
    )
