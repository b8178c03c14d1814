"""Slices of clips, which are predicted one after another, and their predictions on disk until the last is finished."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acoustic_kit import __version__
from acoustic_kit.device import Compute
from acoustic_kit.errors import RunError
from acoustic_kit.files import file_sha256, read_regular, replacing
from acoustic_kit.prediction.models import Predictor
from acoustic_kit.runs.run import RECORD_NAME

if TYPE_CHECKING:
    import polars as pl

_DIGITS = 32  # of the digest that is the name of a file
_OUTPUTS = {".parquet", ".jsonl"}  # predictions and logs of a fold


@dataclass(frozen=True)
class SlicePredictions:
    """Predictions of a slice of clips."""

    probabilities: np.ndarray  # float64 (members, clips, classes)
    errors: dict[str, str]  # id → why a clip could not be read


@dataclass(frozen=True)
class FinishedSlices:
    """The predictions of finished slices, each in a file, from which a stopped prediction resumes.

    The name of a file is a digest of all that its content depends on, so other inputs or options never read it.
    """

    folder: Path
    key: str  # digest of predictor and options

    @staticmethod
    def beside(out: Path, predictor: Predictor, compute: Compute) -> FinishedSlices:
        """Return the slices of a prediction that will be written to `out`: in the folder `OUT.parts`."""
        return FinishedSlices(out.with_name(f"{out.name}.parts"), predictor_digest(predictor, compute))

    def of(self, predictor: Predictor, compute: Compute, engine: str) -> FinishedSlices:
        """Return the slices of another predictor for the same output.

        - `engine`: what they depend on besides, if torch does not predict
        """
        return replace(self, key=predictor_digest(predictor, compute) + engine)

    def read(self, rows: pl.DataFrame) -> SlicePredictions | None:
        """Return the predictions of a slice; None if they are missing or damaged.

        - `rows`: its clips, as rows of a manifest
        """
        try:
            with np.load(io.BytesIO(read_regular(self._path(rows))), allow_pickle=False) as file:
                found = SlicePredictions(file["probabilities"], json.loads(file["errors"].tobytes()))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return found if found.probabilities.shape[1:2] == (len(rows),) else None

    def write(self, rows: pl.DataFrame, found: SlicePredictions) -> None:
        """Write the predictions of a slice atomically."""
        errors = np.frombuffer(json.dumps(found.errors).encode(), np.uint8)
        content = io.BytesIO()
        np.savez(content, probabilities=found.probabilities, errors=errors)
        with replacing(self._path(rows)) as temporary:
            temporary.write_bytes(content.getbuffer())

    def remove(self) -> None:
        """Delete the files, also those of earlier inputs and options, and the folder."""
        for path in self.folder.glob("[0-9a-f]" * _DIGITS + ".*"):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # it is missing, or contains a file of the user's
            self.folder.rmdir()

    def _path(self, rows: pl.DataFrame) -> Path:
        return self.path_of(rows.write_json(), ".npz")

    def path_of(self, inputs: str, suffix: str) -> Path:
        """Return the file of something that depends on the predictor, the options and these inputs."""
        return self.folder / f"{hashlib.sha256((self.key + inputs).encode()).hexdigest()[:_DIGITS]}{suffix}"


def predictor_digest(predictor: Predictor, compute: Compute) -> str:
    """Return a digest of all that predictions of a clip depend on. Raises RunError if a run's files cannot be read."""
    digest = hashlib.sha256(f"{__version__} {compute}".encode())
    if predictor.blend is not None:
        digest.update(json.dumps(predictor.blend.to_dict()).encode())
    for member in predictor.members:
        folders = [member.run.path / "folds" / fold for fold in member.folds]
        try:
            models = [p for folder in folders for p in sorted(folder.iterdir()) if p.suffix not in _OUTPUTS]
            for path in (member.run.path / RECORD_NAME, *models):
                digest.update(f"{path.name} {file_sha256(path)}\n".encode())
        except OSError as error:
            raise RunError(f"{member.run.path} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()
