"""`akit export`: write a run or a blend as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acoustic_kit.api.progress import progress, say
from acoustic_kit.cli.app import app, folder_of
from acoustic_kit.cli.console import display_path, size
from acoustic_kit.cli.predict import Source, Trust, Weights

Out = Annotated[Path, typer.Option(metavar="FILE.onnx", help="The file to write.")]
Seconds = Annotated[
    float | None,
    typer.Option(help="Longest clip that the file takes (default: that of windows, else of the workspace's clips)."),
]
Separate = Annotated[bool, typer.Option("--separate", help="Write a file for each fold model.")]

Int8 = Annotated[
    bool,
    typer.Option(
        "--int8", help="Compute networks with 8-bit integers, calibrated on training clips; says what changes."
    ),
]


@app.command(epilog="Example: akit export logmel_cnn --out model.onnx")
def export(
    ctx: typer.Context,
    run: Source,
    out: Out,
    seconds: Seconds = None,
    separate: Separate = False,
    int8: Int8 = False,
    trust: Trust = False,
    weights: Weights = None,
) -> None:
    """Write a run or a blend as an ONNX file: wave in, probabilities and embedding out.

    The file needs neither akit nor torch. It includes the front end and the fold models, and its metadata has the
    classes and the sample rate. Its predictions are compared with torch's before it replaces another file.
    """
    from acoustic_kit.prediction import open_predictor
    from acoustic_kit.prediction.export import OnnxModel, export_model

    predictor = open_predictor(run, folder_of(ctx), trust=trust, weights=weights, on_note=say)
    with progress() as bar:
        written = export_model(
            predictor, out, seconds=seconds, separate=separate, int8=int8, on_note=say, on_progress=bar
        )
    for path in written:
        say(f"Wrote {display_path(path)}, {size(path.stat().st_size)}: {OnnxModel.open(path).signature}.")
