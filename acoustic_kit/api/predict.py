"""Prediction of new clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.api.blend import FittedBlend
from acoustic_kit.api.progress import progress as progress_bars
from acoustic_kit.api.runs import TrainedRun
from acoustic_kit.api.session import warn
from acoustic_kit.device import Compute
from acoustic_kit.features.build.worker import worker_count
from acoustic_kit.prediction import choose_windows, open_predictor, predict_clips

if TYPE_CHECKING:
    import polars as pl


def predict(
    model: str | Path | TrainedRun | FittedBlend,
    clips: Sequence[str | Path] | Mapping[str, Path],
    *,
    window: float | None = None,
    hop: float | None = None,
    id_format: str | None = None,
    folder: str | Path = ".",
    table: str | Path | None = None,
    trust: bool = False,
    weights: str | Path | Sequence[str | Path] | None = None,
    workers: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    progress: bool = True,
) -> pl.DataFrame:
    """Predict new clips with a run or a blend; needs no workspace and no network.

    >>> akit.predict("runs/logmel_cnn-1a2b3c4d", ["new_clips/"])
    >>> akit.predict("submissions/first.json", ["soundscapes/"], window=5, hop=2.5)

    Parameters
    ----------
    model : a run's folder or a submission's JSON, or the name of one in the workspace that `folder` is in
    clips : audio files and folders of them, or files by id
    window : seconds of the windows that recordings are divided into: a row for each; default: as in training
    hop : seconds from a window to the next; windows that overlap a row are averaged; default: as in training, else
        `window`
    id_format : of the ids of rows, with `{stem}` or `{path}`, `{start}` and `{end}`; default: `{stem}_{end}`
    table : a CSV with the other inputs of the recipe: ids or file names, then columns such as `salience`
    trust : execute the recipe in the run's folder if it is not installed here
    weights : folders or ONNX files of pretrained models that compute features, if the run needs any
    workers : worker processes for features; default: one per core
    device, precision : see `Compute`
    progress : show progress bars

    Returns a row per clip or window: `id`, one probability column per class, and `error`: null, or the reason why the
    clip could not be read; its probabilities then are the class frequencies of the training clips.

    Raises
    ------
    UsageError : a run or a path does not exist
    AkitError : the run cannot predict here, or no clip can be read

    """
    import polars as pl

    source = model.path if isinstance(model, TrainedRun) else model.result if isinstance(model, FittedBlend) else model
    predictor = open_predictor(source, Path(folder), trust=trust, weights=weights, on_note=warn)
    windows = choose_windows(predictor.windows, predictor.name, window, hop, id_format, warn)
    with progress_bars(progress) as bar:
        found = predict_clips(
            predictor,
            clips,
            windows=windows,
            table=None if table is None else Path(table),
            workers=worker_count(workers),
            compute=Compute(device, precision),
            on_progress=bar,
        )
    columns = {name: found.probabilities[:, i] for i, name in enumerate(found.classes)}
    reasons = pl.Series([found.errors.get(id) for id in found.ids], dtype=pl.String)
    return pl.DataFrame({"id": list(found.ids), **columns, "error": reasons})
