"""`akit predict`: predict new clips with a trained run or a blend, wherever its folder is."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from acoustic_kit.api.progress import progress, say
from acoustic_kit.cli.app import app, folder_of
from acoustic_kit.cli.compute import Device, Precision, Workers
from acoustic_kit.cli.console import display_path

if TYPE_CHECKING:
    from acoustic_kit.device import Compute
    from acoustic_kit.prediction import ClipPredictions
    from acoustic_kit.prediction.models import Predictor
    from acoustic_kit.prediction.slices import FinishedSlices
    from acoustic_kit.submission.submission import Template

SHOWN = 10  # unreadable clips that are named


Source = Annotated[
    str, typer.Argument(metavar="RUN|BLEND", help="Folder or name of a run, or JSON or name of a submission.")
]
Predicting = Annotated[
    str,
    typer.Argument(
        metavar="RUN|BLEND|FILE.onnx",
        help="Folder or name of a run, JSON or name of a submission, or a file of `akit export`.",
    ),
]
Paths = Annotated[list[Path], typer.Argument(metavar="PATH…", help="Audio files and folders of audio files.")]
Form = Annotated[Path | None, typer.Option(help="The competition's sample_submission.csv: its ids, order and form.")]
Out = Annotated[Path | None, typer.Option(help="The CSV file to write (default: stdout).")]
Table = Annotated[
    Path | None, typer.Option(help="CSV of ids and of other columns that the recipe reads, such as salience.")
]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Predict the class frequencies for template ids without a file.")
]
Window = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Divide recordings into windows of this length (default: as in training)."),
]
Hop = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="From a window to the next; windows that overlap are averaged (default: as in training, else the window).",
    ),
]
IdFormat = Annotated[
    str | None,
    typer.Option(help="Form of the ids of windows, with {stem} or {path}, {start} and {end} (default: {stem}_{end})."),
]
BudgetOf = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="TIME",
        help="Forecast the time, and drop members of a blend until it fits: 45s, 90m, 1h30m.",
    ),
]
EngineOf = Annotated[
    Literal["torch", "onnx"] | None,
    typer.Option(
        "--engine",
        help="onnx: export networks once, to the cache folder, and run them with onnxruntime on the CPU.",
    ),
]
Trust = Annotated[bool, typer.Option("--trust", help="Run the recipe in the run's folder if it is not installed here.")]
Weights = Annotated[
    list[Path] | None,
    typer.Option(exists=True, help="Folder or ONNX file of a pretrained model that computes features; repeatable."),
]


@app.command(epilog="Example: akit predict runs/logmel_cnn-1a2b3c4d new_clips/ --out new.csv")
def predict(
    ctx: typer.Context,
    run: Predicting,
    paths: Paths,
    template: Form = None,
    out: Out = None,
    window: Window = None,
    hop: Hop = None,
    id_format: IdFormat = None,
    table: Table = None,
    allow_missing: AllowMissing = False,
    engine: EngineOf = None,
    budget: BudgetOf = None,
    trust: Trust = False,
    weights: Weights = None,
    workers: Workers = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Predict new clips, or windows of recordings.

    Needs the run's folder, no workspace and no network. The predictions of fold models are averaged, and so are those
    of overlapping windows. For a clip that cannot be read, the row has the reason; with a template, the class
    frequencies. A stopped command resumes if it is given again with the same --out.
    """
    began = time.monotonic()
    from acoustic_kit.api.forecast import describe_forecast
    from acoustic_kit.device import Compute, require_one_process
    from acoustic_kit.features.build.worker import worker_count
    from acoustic_kit.prediction import choose_windows, clips_at, plan_rows
    from acoustic_kit.prediction.budget import Budget, parse_time
    from acoustic_kit.prediction.engine import PredictOptions, is_exported, open_model, predict_plan
    from acoustic_kit.submission.record import refuse_over_submission
    from acoustic_kit.submission.submission import read_template, require_writable

    limit = None if budget is None else Budget(parse_time(budget), began)
    if out is not None:
        refuse_over_submission(out)
    require_one_process("predict")
    options = PredictOptions(
        engine=engine or ("onnx" if is_exported(run) else "torch"),
        budget=limit,
        table=table,
        workers=worker_count(workers),
        compute=(compute := Compute(device, precision)),
        on_forecast=lambda forecast: say(describe_forecast(forecast)),
        on_note=say,
    )
    files = clips_at(paths, allow_none=template is not None)
    predictor, file = open_model(run, folder_of(ctx), trust=trust, weights=weights, on_note=say)
    form = None if template is None else read_template(template, predictor.task_spec.classes)
    if form is not None:
        require_writable(form, predictor.task_spec)
    windows = choose_windows(predictor.windows, predictor.name, window, hop, id_format, say)
    plan = plan_rows(
        files,
        windows,
        None if form is None else form.ids,
        allow_missing=allow_missing,
        are_asked=window is not None,
        on_note=say,
    )
    finished = _finished_slices(out, predictor, compute)
    try:
        with progress() as bar:
            predictor, found = predict_plan(predictor, plan, replace(options, on_progress=bar), finished, file)
    except KeyboardInterrupt:
        is_begun = finished is not None and finished.folder.is_dir()
        say("\nStopped. " + ("The same command resumes where it was." if is_begun else "Nothing was written."))
        raise typer.Exit(130) from None
    if files:
        _say_errors(found, with_template=form is not None)
    _write(found, predictor, form and replace(form, ids=found.ids), out)
    if finished is not None:
        finished.remove()
    what = "clip" if windows is None else "row"
    n_rows = f"{len(found.ids)} {what}{'' if len(found.ids) == 1 else 's'}"
    models = "" if predictor.n_models == 1 else f", {predictor.n_models} models"
    say(f"Predicted {n_rows} with {predictor.name}{models}." + (f" Wrote {display_path(out)}." if out else ""))


def _finished_slices(out: Path | None, predictor: Predictor, compute: Compute) -> FinishedSlices | None:
    """Return where predictions of finished slices are stored; None if the output is not a file."""
    from acoustic_kit.files import followed
    from acoustic_kit.prediction.slices import FinishedSlices

    if out is None or out.is_dir() or followed(out)[0]:
        return None
    return FinishedSlices.beside(out, predictor, compute)


def _write(found: ClipPredictions, predictor: Predictor, form: Template | None, out: Path | None) -> None:
    """Write predictions to a file, or the same bytes to stdout."""
    from acoustic_kit.prediction.output import write_predictions

    if out is not None:
        write_predictions(out, found, predictor, form)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.csv"
        write_predictions(path, found, predictor, form)
        sys.stdout.flush()
        with path.open("rb") as file:  # bytes, as the encoding of stdout depends on the locale
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _say_errors(found: ClipPredictions, *, with_template: bool) -> None:
    if not found.errors:
        return
    what = "They get the class frequencies" if with_template else "Their rows have the reason"
    say(f"{len(found.errors)} of {len(found.ids)} clips could not be read. {what}:")
    for id, reason in list(found.errors.items())[:SHOWN]:
        say(f"  {id}: {reason}")
    if len(found.errors) > SHOWN:
        say(f"  … and {len(found.errors) - SHOWN} more")
