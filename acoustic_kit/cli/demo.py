"""`akit demo`: all commands from audio files to a scored submission."""

from __future__ import annotations

import shlex
import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from acoustic_kit.api.progress import escape_controls, say
from acoustic_kit.cli.app import app
from acoustic_kit.errors import UsageError
from acoustic_kit.files import write_atomically
from acoustic_kit.tables import duration

MARK = ".akit-demo"  # holds the first command of an unfinished demo
STEPS = (
    "init {work} --data {data} --test-folds 5 --metric {metric}",
    "-C {work} data inspect",
    "-C {work} features build",
    "-C {work} recipe run stats_pca_linear",
    "-C {work} recipe run stats_pca_linear --set n_components=40",
    "-C {work} runs list",
    "-C {work} blend --top 2 --metric {metric} --name first",
    "-C {work} submission check {work}/submissions/first.csv",
    "-C {work} score {work}/submissions/first.csv",
)


@app.command(epilog="Example: akit demo --data ESC-50")
def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The folder to make.")] = Path("demo"),
    data: Annotated[Path | None, typer.Option(help="Your own data set, instead of generated sounds.")] = None,
    metric: Annotated[str, typer.Option(help="Metric: f1, map3, accuracy, …")] = "f1",
) -> None:
    """Run all steps from audio files to a scored submission.

    Uses a small competition of generated sounds, or your own data set.
    """
    from acoustic_kit.data import make_synthetic

    began = time.monotonic()
    if data is not None and not data.is_dir():
        raise UsageError(f"There is no folder {data}.")
    work, sound = folder / "work", data or folder / "data"
    steps = [
        step.format(work=shlex.quote(str(work)), data=shlex.quote(str(sound)), metric=shlex.quote(metric))
        for step in STEPS
    ]
    _begin(folder, steps[0])
    if data is None and not sound.exists():
        say("Making a data set of generated sounds.")
        draft = folder / ".data"
        shutil.rmtree(draft, ignore_errors=True)  # of a demo that was stopped
        make_synthetic(draft)
        draft.rename(sound)
    for line in steps:
        if line == steps[0] and (work / "akit.toml").exists():  # of a demo that was stopped
            continue
        typer.secho(f"\n$ akit {escape_controls(line)}", bold=True)
        code = app(shlex.split(line), standalone_mode=False)
        if code:
            raise typer.Exit(code)
    (folder / MARK).unlink(missing_ok=True)
    say(f"\nAll steps took {duration(time.monotonic() - began)}.")


def _begin(folder: Path, how: str) -> None:
    """Make the folder, or resume a demo in it that was stopped. Raises UsageError if it contains anything else."""
    mark = folder / MARK
    others = folder.exists() and any(path != mark for path in folder.iterdir())
    if others and not (mark.is_file() and mark.read_bytes() == how.encode()):
        raise UsageError(f"{folder} is not empty. Name a new folder: akit demo DIR.")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(mark, how)
