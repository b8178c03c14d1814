"""`akit report`: write the HTML report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acoustic_kit.api.progress import say
from acoustic_kit.cli.app import app, opened
from acoustic_kit.cli.console import display_path, size


@app.command(epilog="Example: akit report --open")
def report(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ID…", help="Runs and submissions to analyze (default: the newest blend and the best run)."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write (default: reports/report.html).")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Write an HTML report of scores, mistakes and blends.

    The page also has learning curves, confusion matrices and clips to listen to. It is self-contained: it opens from
    disk, without a network.
    """
    import webbrowser

    path = opened(ctx).report(out, names or ())
    about = f" ({size(path.stat().st_size)})" if path.is_file() else ""
    say(f"Wrote {display_path(path)}{about}.")  # on stderr, as the page itself may go to stdout
    if open_:
        webbrowser.open(path.resolve().as_uri())
