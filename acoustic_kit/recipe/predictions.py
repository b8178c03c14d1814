"""Predictions of clips, as runs store, import and blend them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acoustic_kit.errors import RunError
from acoustic_kit.files import file_sha256, replacing
from acoustic_kit.tables import read_parquet

if TYPE_CHECKING:
    import polars as pl


ROUNDING = 1e-6  # by which a probability may be outside of 0 to 1


def recovery_hint(path: Path) -> str:
    """Return how to repair a damaged file of a run with the least recomputation."""
    if path.parent.parent.name == "folds":
        return f"Delete {path.parent} and run the recipe again: that retrains only this fold."
    return "Delete it and run the recipe again, which recreates only this file; or import it again, if it was imported."


def predicted_ids(path: Path) -> set[str]:
    """Return the ids in a file of predictions. Raises RunError if it cannot be read."""
    return set(_read_columns(path, ["id"])["id"].to_list())


def _read_columns(path: Path, columns: Sequence[str], digest: str | None = None) -> pl.DataFrame:
    try:
        found = read_parquet(path, columns)
        if digest is not None and file_sha256(path) != digest:
            raise OSError("its digest is not that in the run's record")
    except OSError as error:
        raise RunError(f"{path} cannot be read as predictions: {error}.\n{recovery_hint(path)}") from error
    return found


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of clips: `probabilities` is float64 (clips, classes), row i belongs to `ids[i]`."""

    ids: tuple[str, ...]
    probabilities: np.ndarray

    def aligned(self, ids: Sequence[str]) -> np.ndarray:
        """Return the probabilities of these clips, in this order. Raises KeyError for a clip that was not predicted."""
        if self.ids == tuple(ids):
            return self.probabilities
        row = {id: i for i, id in enumerate(self.ids)}
        return self.probabilities[[row[id] for id in ids]]

    def found(self, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return which of these clips were predicted, bool (ids,), and the probabilities of those, in this order."""
        if self.ids == tuple(ids):
            return np.ones(len(self.ids), dtype=bool), self.probabilities
        row = {id: i for i, id in enumerate(self.ids)}
        at = np.array([row.get(id, -1) for id in ids], dtype=np.int64)
        return at >= 0, self.probabilities[at[at >= 0]]

    def frame(self, classes: Sequence[str]) -> pl.DataFrame:
        """Return `id` and one column of probabilities, float64, per class."""
        import polars as pl

        columns = {name: self.probabilities[:, i] for i, name in enumerate(classes)}
        return pl.DataFrame({"id": list(self.ids), **columns}, schema_overrides={"id": pl.String})

    def write(self, path: Path, classes: Sequence[str]) -> str:
        """Write as parquet: `id`, then one column per class. Return the file's SHA-256."""
        frame = self.frame(classes)
        content = io.BytesIO()  # polars itself would report a full disk as a damaged file
        frame.write_parquet(content)
        with replacing(path) as temporary:
            temporary.write_bytes(content.getbuffer())
        return hashlib.sha256(content.getbuffer()).hexdigest()

    @staticmethod
    def read(path: Path, classes: Sequence[str], digest: str | None = None) -> Predictions:
        """Read what `write` wrote, in this class order.

        Raises RunError if the file is missing, lacks a column, has another SHA-256 than `digest` (None: not recorded),
        or contains a value that is not a probability.
        """
        frame = _read_columns(path, ["id", *classes], digest)
        probabilities = frame.select(classes).to_numpy(order="c").astype(np.float64, copy=False)
        if not ((probabilities >= -ROUNDING) & (probabilities <= 1 + ROUNDING)).all():  # nor is NaN
            raise RunError(f"{path} contains values that are not probabilities (0 to 1). {recovery_hint(path)}")
        return Predictions(tuple(frame["id"].to_list()), probabilities)
