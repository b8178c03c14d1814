"""`akit predict`: new clips through a trained run or a blend, wherever its folder lies."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acoustic_kit.api.progress import progress, say
from acoustic_kit.cli.app import folder_of
from acoustic_kit.cli.compute import Device, Precision, Workers
from acoustic_kit.cli.console import shown

if TYPE_CHECKING:
    from acoustic_kit.prediction import ClipPredictions

SHOWN = 10  # clips that could not be read, by name


def register(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command(epilog="Example: akit predict runs/logmel_cnn-1a2b3c4d new_clips/ --out new.csv")(predict)


def predict(
    ctx: typer.Context,
    run: Annotated[
        str, typer.Argument(metavar="RUN|BLEND", help="A run's folder or name, or a submission's JSON or name.")
    ],
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Audio files, and folders of them.")],
    template: Annotated[
        Path | None, typer.Option(help="The competition's sample_submission.csv: its ids, order and form.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The CSV file to write (default: stdout).")] = None,
    table: Annotated[
        Path | None, typer.Option(help="A CSV of ids and what else the recipe looks at, such as salience.")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Template ids without a file get the class frequencies.")
    ] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the recipe in the run's folder where it is not installed here.")
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="The folder of a pretrained model that computes features."),
    ] = None,
    workers: Workers = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Predict new clips.

    Needs the run's folder, no workspace and no network. Fold models are averaged. A clip that cannot be read is a row
    with its reason; with a template, it gets the class frequencies.
    """
    from acoustic_kit.device import Compute, require_one_process
    from acoustic_kit.features.build.worker import worker_count
    from acoustic_kit.prediction import clips_at, clips_of_template, open_predictor, predict_clips
    from acoustic_kit.prediction.output import write_predictions
    from acoustic_kit.submission.record import refuse_over_submission
    from acoustic_kit.submission.submission import read_template, require_writable

    if out is not None:
        refuse_over_submission(out)
    require_one_process("predict")
    compute, clips = Compute(device, precision), clips_at(paths)
    predictor = open_predictor(run, folder_of(ctx), trust=trust, weights=weights, on_note=say)
    form = None if template is None else read_template(template, predictor.task_spec.classes)
    if form is not None:
        require_writable(form, predictor.task_spec)
        clips = clips_of_template(form.ids, clips, allow_missing=allow_missing)
    try:
        with progress() as bar:
            found = predict_clips(
                predictor,
                clips,
                table=table,
                workers=worker_count(workers),
                compute=compute,
                on_progress=bar,
            )
    except KeyboardInterrupt:
        say("\nStopped. Nothing was written.")
        raise typer.Exit(130) from None
    _say_errors(found, with_template=form is not None)
    with tempfile.TemporaryDirectory() as folder:
        path = out or Path(folder) / "predictions.csv"
        write_predictions(path, found, predictor, form)
        if out is None:
            sys.stdout.flush()
            with path.open("rb") as file:  # the same bytes in every locale
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    clips_said = "1 clip" if len(found.ids) == 1 else f"{len(found.ids)} clips"
    models = "" if predictor.n_models == 1 else f", {predictor.n_models} models"
    say(f"Predicted {clips_said} with {predictor.name}{models}." + (f" Wrote {shown(out)}." if out else ""))


def _say_errors(found: ClipPredictions, *, with_template: bool) -> None:
    if not found.errors:
        return
    what = "They have the class frequencies" if with_template else "Their rows have the reason"
    say(f"{len(found.errors)} of {len(found.ids)} clips could not be read. {what}:")
    for id, reason in list(found.errors.items())[:SHOWN]:
        say(f"  {id}: {reason}")
    if len(found.errors) > SHOWN:
        say(f"  … and {len(found.errors) - SHOWN} more")
