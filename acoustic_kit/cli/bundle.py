"""`akit bundle`: a folder with which a notebook predicts without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acoustic_kit.api.progress import progress, say
from acoustic_kit.cli.app import app, folder_of
from acoustic_kit.cli.console import display_path, print_table, size
from acoustic_kit.cli.predict import Predicting, Weights


@app.command(epilog="Example: akit bundle submissions/first.json --out first_bundle --kaggle me/first-bundle")
def bundle(
    ctx: typer.Context,
    model: Predicting,
    out: Annotated[Path, typer.Option(help="The folder to write, new or empty.")],
    kaggle: Annotated[
        str | None, typer.Option(metavar="OWNER/SLUG", help="The data set on Kaggle as which it is uploaded.")
    ] = None,
    competition: Annotated[
        str | None, typer.Option(help="Kaggle's short name of the competition (default: `competition` in akit.toml).")
    ] = None,
    wheels: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Folder of wheels to use instead of downloading them."),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Bundle recipes that are not installed here, which the notebook then runs.")
    ] = False,
    weights: Weights = None,
) -> None:
    """Write a folder with which a code competition's notebook predicts without a network.

    Contains the runs, their recipes, pretrained weights, akit and the packages that the images of Kaggle and Colab
    lack, and a script and a notebook that read /kaggle/input and write submission.csv.
    """
    from acoustic_kit.prediction.bundle import make_bundle

    with progress() as bar:
        made = make_bundle(
            model,
            out,
            folder_of(ctx),
            kaggle=kaggle,
            competition=competition,
            wheels=wheels,
            trust=trust,
            weights=weights,
            on_note=say,
            on_progress=bar,
        )
    parts = {name: [path.stat().st_size for path in files] for name, files in made.files().items()}
    rows = [(name, len(sizes), size(sum(sizes))) for name, sizes in parts.items()]
    total = [n for sizes in parts.values() for n in sizes]
    print_table(["part", "files", "size"], [*rows, ("all", len(total), size(sum(total)))], right=["files", "size"])
    if kaggle is not None and made.competition is None:
        say("The competition is unknown: name it with --competition, or add its data to the notebook.")
    say(f"Wrote {display_path(out)}. README.txt in it tells how to upload it.")
