"""`akit data`: the clips of a workspace, and public data sets."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acoustic_kit.api.progress import megabytes, progress, say
from acoustic_kit.cli.app import app, opened
from acoustic_kit.cli.console import Json, display_path, print_json, print_table
from acoustic_kit.tables import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acoustic_kit.data import Comparison, Summary

commands = typer.Typer(no_args_is_help=True, help="Inspect, update and download data sets.")
app.add_typer(commands, name="data")


@commands.command(epilog="Example: akit data update")
def update(ctx: typer.Context) -> None:
    """Update the manifest after changes of the data set.

    Adds new clips, corrects labels, notes changed files and removes deleted clips since `akit init`. The others keep
    their ids, folds and features. Earlier runs are marked in `akit runs list`.
    """
    done = opened(ctx).update()
    files = f"{done.changed_files} changed files" if done.changed_files else ""
    classes = f"new classes: {', '.join(done.new_classes)}" if done.new_classes else ""
    found = "; ".join(part for part in (str(done.changes), files, classes) if part)
    say(f"Updated: {found}." if found else "Nothing to update: the data set matches the manifest.")
    if done.new_classes:
        say("Earlier runs cannot be blended with new ones: their classes differ.")


def print_summary(summary: Summary) -> None:
    """Print what a data set contains."""
    rows: list[tuple[str, object]] = [("clips", _counts(summary.clips, "{1} {0}"))]
    if summary.recordings:
        rows.append(("recordings", _counts(summary.recordings, "{1} {0}")))
    rows.append(("classes", len(summary.classes)))
    if summary.durations:
        d = summary.durations
        rows.append(("durations", f"{d.min:.2f} – {d.max:.2f} s, median {d.median:.2f} s"))
    rows.append(("sample rates", _counts(summary.sample_rates, "{0} Hz")))
    rows.append(("channels", _counts(summary.channels, "{0}")))
    rows.append(("folds", _counts(summary.folds, "{0}: {1}")))
    rows += summary.targets.rows
    rows += [("difference" if i == 0 else "", line) for i, line in enumerate(summary.differences)]
    rows += [("problem" if i == 0 else "", line) for i, line in enumerate(summary.problems)]
    print_table(["", "found"], rows)


def _counts(counts: dict[Any, int], form: str) -> str:
    """Format the keys of a count; with their numbers if there is more than one key."""
    if len(counts) > 1 and "{1}" not in form:
        form += " ({1} clips)"
    return ", ".join(form.format(key, n) for key, n in counts.items())


def _print_comparison(comparison: Sequence[Comparison]) -> None:
    """Print the quantiles of training and test clips side by side."""
    columns = ["", "train 5 %", "median", "95 %", "test 5 %", "test median", "test 95 %"]
    rows = [
        (f"{one.name}, {one.unit}" if one.unit else one.name, *one.formatted(one.train), *one.formatted(one.test))
        for one in comparison
    ]
    print_table(columns, rows, right=columns[1:])


@commands.command(epilog="Example: akit data inspect --json")
def inspect(ctx: typer.Context, as_json: Json = False) -> None:
    """Summarize the data set, class by class, compare training and test clips, and list odd clips."""
    workspace = opened(ctx)
    summary, odd = workspace.inspect(), workspace.odd_clips()
    if as_json:
        print_json(
            {
                "clips": summary.clips,
                "recordings": summary.recordings,
                "classes": summary.classes.to_dicts(),
                "durations": vars(summary.durations) if summary.durations else None,
                "sample_rates": summary.sample_rates,
                "channels": summary.channels,
                "folds": summary.folds,
                "targets": vars(summary.targets),
                "problems": summary.problems,
                "comparison": [vars(one) for one in summary.comparison],
                "differences": summary.differences,
                "odd_clips": odd.to_dicts(),
            }
        )
        return
    print_summary(summary)
    if summary.comparison:
        typer.echo("")
        _print_comparison(summary.comparison)
    typer.echo("")
    rows = [(c, index, n, duration(seconds)) for c, index, n, seconds in summary.classes.iter_rows()]
    print_table(["class", "index", "training clips", "length"], rows, right=["index", "training clips", "length"])
    typer.echo("")
    if len(odd):
        print_table(["odd clip", "what"], odd.head(20).rows())
        if len(odd) > 20:
            say(f"… and {len(odd) - 20} more: `akit data inspect --json` lists all.")
    else:
        typer.echo("No odd clips.")


@commands.command(epilog="Example: akit data download esc50 && akit init work --data ESC-50")
def download(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The data set (default: list those available).")
    ] = None,
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="The folder to make (default: named after the data set).")
    ] = None,
    keep_archives: Annotated[
        bool, typer.Option("--keep-archives", help="Keep the downloaded archives in DIR.download.")
    ] = False,
) -> None:
    """Download a public data set, verify it and unpack it.

    The same command resumes a download that was stopped.
    """
    from acoustic_kit.api.start import download as download_data_set
    from acoustic_kit.data.download import find_data_set
    from acoustic_kit.data.public_data import PUBLIC_DATA_SETS

    if name is None:
        sizes = {s.name: sum(archive.megabytes for archive in s.archives) for s in PUBLIC_DATA_SETS.values()}
        rows = [(s.name, f"{sizes[s.name] / 1000:.1f} GB", s.contents, s.licence) for s in PUBLIC_DATA_SETS.values()]
        print_table(["data set", "about", "contents", "license"], rows, right=["about"])
        return
    data_set = find_data_set(name)
    say(f"{data_set.title}: {data_set.contents}. License: {data_set.licence}.\nCite it as {data_set.citation}.")
    root = download_data_set(name, folder, keep_archives=keep_archives)
    say(f"{data_set.title} is in {display_path(root)}.\n\nNext: akit init work --data {shlex.quote(str(root))}")


@commands.command(epilog="Example: akit data extract clips.tar.gz clips")
def extract(
    archive: Annotated[Path, typer.Argument(help="A zip, tar, tar.gz, tar.bz2 or tar.xz.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to create.")],
) -> None:
    """Unpack an archive from an untrusted source.

    The archive is checked first: names that lead out of DIR, links, devices, bombs. DIR is complete or not created.
    """
    from acoustic_kit.data import archives

    with progress() as bar:
        files = archives.extract(archive, folder, on_progress=megabytes(bar))
    say(f"Unpacked {files:,} files into {display_path(folder)}.")
    say(f"\nNext: akit init work --data {shlex.quote(str(folder))}")
