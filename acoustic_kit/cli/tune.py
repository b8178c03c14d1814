"""`akit recipe tune`: search for better settings."""

from __future__ import annotations

from itertools import starmap
from typing import TYPE_CHECKING, Annotated

import typer

from acoustic_kit.api.progress import say
from acoustic_kit.cli.app import opened
from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.cli.compute import Device, Precision, Workers
from acoustic_kit.cli.console import MAX_SEED, display_path, print_table, split_list
from acoustic_kit.cli.recipe_run import Assignments, format_score
from acoustic_kit.cli.recipes import commands, warn_of_outside_recipes

if TYPE_CHECKING:
    from acoustic_kit.runs.tuning import TuneResult


@commands.command(epilog="Example: akit recipe tune stats_pca_linear --trials 30")
def tune(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name or file of a recipe that defines search(trial).")],
    trials: Annotated[int, typer.Option(min=1, help="Total number of trials, earlier calls included.")] = 50,
    assignments: Assignments = None,
    folds: Annotated[
        str | None,
        typer.Option(metavar="1,2,3", help="Folds to use (default: all): the last is held out, the others choose."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the search and of the training.")] = 0,
    fast: Annotated[bool, typer.Option("--fast", help="Use the recipe's small settings.")] = False,
    workers: Workers = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Search the recipe's search space for better settings.

    One fold is held out of the search and scores the best settings. The same command resumes a search that was stopped;
    more --trials extend it.
    """
    from acoustic_kit.device import require_one_process

    require_one_process("recipe tune")
    workspace = opened(ctx)
    warn_of_outside_recipes(ctx, [name])
    result = workspace.tune(
        name,
        trials=trials,
        settings=parse_assignments(workspace.recipes[name], assignments or ()),
        folds=None if folds is None else split_list("--folds", folds),
        fast=fast,
        seed=seed,
        workers=workers,
        device=device,
        precision=precision,
    )
    _print_tuning(result, name)


def _print_tuning(result: TuneResult, name: str) -> None:
    counts = {state: sum(t.state == state for t in result.trials) for state in ("done", "pruned", "failed")}
    say(f"{len(result.trials)} trials: " + ", ".join(f"{n} {state}" for state, n in counts.items() if n) + ".")
    best = [trial for trial in result.trials if trial.state == "done"][:10]
    rows = [(t.number, format_score(t.score), "  ".join(starmap(_short, t.settings.items()))) for t in best]
    print_table(["trial", result.metric, "settings"], rows, right=["trial", result.metric])
    searched = ", ".join(result.searched)
    typer.echo("")
    print_table(
        ["the best settings", result.metric],
        [
            (f"on folds {searched}, which chose them", format_score(result.best.score)),
            (f"on fold {result.kept_out}, which was held out", format_score(result.kept_out_score)),
        ],
        right=[result.metric],
    )
    typer.echo(f"\nRely on the second: the first is the best of {len(result.trials)}, so it is optimistic.")
    for why in result.bias_warnings:
        typer.echo(f"The second is optimistic too: {why}.")
    typer.echo(f"Wrote {display_path(result.settings_path)}. Run these settings on all folds with:")
    typer.echo(f"  akit recipe run {name} --set @{display_path(result.settings_path)}")


def _short(name: str, value: object) -> str:
    """Return a setting for a table, a number rounded to four digits."""
    return f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
