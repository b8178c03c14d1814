"""Export of runs and blends to ONNX files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from acoustic_kit.api.blend import FittedBlend
from acoustic_kit.api.predict import source_of
from acoustic_kit.api.progress import progress as progress_bars
from acoustic_kit.api.runs import TrainedRun
from acoustic_kit.api.session import warn
from acoustic_kit.prediction import open_predictor
from acoustic_kit.prediction.export import export_model


def export(
    model: str | Path | TrainedRun | FittedBlend,
    out: str | Path,
    *,
    seconds: float | None = None,
    separate: bool = False,
    int8: bool = False,
    folder: str | Path = ".",
    trust: bool = False,
    weights: str | Path | Sequence[str | Path] | None = None,
    progress: bool = True,
) -> list[Path]:
    """Write a run or a blend as an ONNX file: wave in, probabilities and embedding out.

    >>> akit.export("runs/logmel_cnn-1a2b3c4d", "model.onnx")
    [PosixPath('model.onnx')]

    Parameters
    ----------
    model : a run's folder or a submission's JSON, or the name of one in the workspace that `folder` is in
    out : the file, which ends in `.onnx`
    seconds : longest clip that the file takes; default: the length of windows, or of the longest clip of the workspace
    separate : write a file for each fold model, named by run and fold
    int8 : compute networks with 8-bit integers, calibrated on training clips of the workspace
    trust, weights : see `predict`
    progress : show progress bars

    Returns the files.

    Raises
    ------
    UsageError : the run does not exist, or cannot be exported, with the reason
    AkitError : a library is missing, or a file cannot be written

    """
    predictor = open_predictor(source_of(model), Path(folder), trust=trust, weights=weights, on_note=warn)
    with progress_bars(progress) as bar:
        return export_model(
            predictor, Path(out), seconds=seconds, separate=separate, int8=int8, on_note=warn, on_progress=bar
        )
