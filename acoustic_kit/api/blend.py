"""Blends of an open workspace."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from acoustic_kit.ensemble.result import BlendResult


class FittedBlend:
    """A blend of runs, fitted to their out-of-fold predictions.

    >>> blend = ws.blend(top=12, metric="map3")
    >>> blend.nested_score, blend.submission
    (0.9433, PosixPath('work/submissions/blend-1a2b3c4d.csv'))
    """

    def __init__(self, result: BlendResult) -> None:
        self.result = result

    def __repr__(self) -> str:
        nested = "" if self.nested_score is None else f"nested estimate {self.nested_score:.4f}, "
        score = "not scored, " if self.score is None else f"{self.metric} {self.score:.4f}, "
        return f"<FittedBlend {self.name}: {score}{nested}{len(self.members)} of {len(self.result.candidates)} runs>"

    @property
    def name(self) -> str:
        """The name of the submission."""
        return self.result.name

    @property
    def metric(self) -> str:
        """The metric that chose the runs."""
        return self.result.metric

    @property
    def score(self) -> float | None:
        """The score on the predictions that chose the runs: optimistic. None if nothing could be scored."""
        return _finite(self.result.blend.score)

    @property
    def nested_score(self) -> float | None:
        """The score with runs and weights chosen on some folds and scored on the others: the one to rely on.

        None if it could not be estimated.
        """
        return _finite(self.result.blend.nested_score)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % bootstrap interval of `nested_score`; None without one."""
        low, high = self.result.blend.interval
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None

    @property
    def members(self) -> list[str]:
        """The chosen runs, best first, as `run`, or `run/fold` for the model of one fold."""
        return [one.name for one in self.result.members]

    @property
    def left_out(self) -> dict[str, str]:
        """The runs that could not be chosen, with the reason."""
        return self.result.left_out

    @property
    def submission(self) -> Path | None:
        """The CSV that was written and checked; None if there is none, see `no_submission`."""
        return self.result.submission

    @property
    def no_submission(self) -> str:
        """The reason why no submission was written, or an empty string."""
        return self.result.no_submission

    @property
    def frame(self) -> pl.DataFrame:
        """The members, best first: `run` and `weight` (sums to one)."""
        import polars as pl

        weights = self.result.blend.of_members().weights.tolist()
        return pl.DataFrame({"run": self.members, "weight": weights}, schema={"run": pl.String, "weight": pl.Float64})


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
