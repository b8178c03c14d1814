"""Prediction of new clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.api.blend import FittedBlend
from acoustic_kit.api.forecast import describe_forecast
from acoustic_kit.api.progress import progress as progress_bars
from acoustic_kit.api.progress import say
from acoustic_kit.api.runs import TrainedRun
from acoustic_kit.api.session import warn
from acoustic_kit.device import Compute
from acoustic_kit.ensemble.result import BlendResult
from acoustic_kit.features.build.worker import worker_count
from acoustic_kit.prediction import choose_windows
from acoustic_kit.prediction.budget import Budget, parse_time
from acoustic_kit.prediction.engine import Engine, PredictOptions, is_exported, open_model, predict_plan
from acoustic_kit.prediction.predict import plan_clips

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
    engine: Engine | None = None,
    budget: str | None = None,
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
    model : a run's folder or a submission's JSON, or the name of one in the workspace that `folder` is in; or a file
        that `export` wrote
    clips : audio files and folders of them, or files by id
    window : seconds of the windows that recordings are divided into: a row for each; default: as in training
    hop : seconds from a window to the next; windows that overlap a row are averaged; default: as in training, else
        `window`
    id_format : of the ids of rows, with `{stem}` or `{path}`, `{start}` and `{end}`; default: `{stem}_{end}`
    table : a CSV with the other inputs of the recipe: ids or file names, then columns such as `salience`
    trust : execute the recipe in the run's folder if it is not installed here
    weights : folders or ONNX files of pretrained models that compute features, if the run needs any
    engine : "torch"; or "onnx", which exports networks once, to the user's cache folder, and runs them with
        onnxruntime on the CPU, the default for files that `export` wrote
    budget : a time such as `90m`: members of a blend are dropped until the forecast fits; the forecast is printed
    workers : worker processes for features; default: one per core
    device, precision : see `Compute`
    progress : show progress bars

    Returns a row per clip or window: `id`, one probability column per class, and `error`: null, or the reason why the
    clip could not be read; its probabilities then are the class frequencies of the training clips.

    Raises
    ------
    UsageError : a run or a path does not exist
    AkitError : the run cannot predict here, no clip can be read, or no member fits the budget

    """
    import polars as pl

    limit = None if budget is None else Budget(parse_time(budget))
    source = source_of(model)
    options = PredictOptions(
        engine=engine or ("onnx" if is_exported(source) else "torch"),
        budget=limit,
        table=None if table is None else Path(table),
        workers=worker_count(workers),
        compute=Compute(device, precision),
        on_forecast=lambda forecast: say(describe_forecast(forecast)),
        on_note=warn,
    )
    predictor, file = open_model(source, Path(folder), trust=trust, weights=weights, on_note=warn)
    windows = choose_windows(predictor.windows, predictor.name, window, hop, id_format, warn)
    plan = plan_clips(clips, windows)
    with progress_bars(progress) as bar:
        _, found = predict_plan(predictor, plan, replace(options, on_progress=bar), file=file)
    columns = {name: found.probabilities[:, i] for i, name in enumerate(found.classes)}
    reasons = pl.Series([found.errors.get(id) for id in found.ids], dtype=pl.String)
    return pl.DataFrame({"id": list(found.ids), **columns, "error": reasons})


def source_of(model: str | Path | TrainedRun | FittedBlend) -> str | Path | BlendResult:
    """Return what `open_predictor` opens, for a model as the library takes it."""
    return model.path if isinstance(model, TrainedRun) else model.result if isinstance(model, FittedBlend) else model
