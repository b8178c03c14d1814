"""`akit pseudo`: train a recipe on pseudo-labels in rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from acoustic_kit.cli.app import app, opened
from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.cli.compute import Device, Precision, Workers
from acoustic_kit.cli.console import MAX_SEED, Json, print_json, print_table, split_list
from acoustic_kit.cli.recipe_run import Assignments, Trust
from acoustic_kit.cli.recipes import warn_of_outside_recipes

if TYPE_CHECKING:
    from acoustic_kit.runs.rounds import Interval, Round


@app.command(epilog="Example: akit pseudo logmel_cnn --teacher first --rounds 4 --set pseudo.power=2")
def pseudo(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name or file of the recipe to train.")],
    teacher: Annotated[str, typer.Option(metavar="RUN|BLEND", help="Labels the clips without labels in round 1.")],
    rounds: Annotated[int, typer.Option(min=1, help="Largest number of rounds.")] = 4,
    assignments: Assignments = None,
    folds: Annotated[str | None, typer.Option(metavar="1,2", help="Train only these folds.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Use the recipe's small settings.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the training.")] = 0,
    note: Annotated[str, typer.Option(help="A remark, shown in the leaderboard.")] = "",
    workers: Workers = None,
    device: Device = "auto",
    precision: Precision = "auto",
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Train a recipe on pseudo-labels in rounds.

    The run of each round is the teacher of the next. Ends after a round that scores no higher than the one before. The
    same command resumes; pseudo.weight, pseudo.power, pseudo.min and pseudo.on are settings, too.
    """
    workspace = opened(ctx)
    warn_of_outside_recipes(ctx, [name])
    found = workspace.pseudo(
        name,
        teacher,
        rounds=rounds,
        settings=parse_assignments(workspace.recipes[name], assignments or ()),
        folds=None if folds is None else split_list("--folds", folds),
        fast=fast,
        seed=seed,
        note=note,
        workers=workers,
        device=device,
        precision=precision,
        trust=trust,
    )
    metric = workspace.files.config.metric
    if as_json:
        print_json([_as_json(one, metric) for one in found])
        return
    columns = ["round", "run", metric, "95 % interval", "gain", "95 % interval", "changed", "pseudo-labels"]
    print_table(columns, [_row(one) for one in found], right=["round", metric, "gain", "changed", "pseudo-labels"])
    typer.echo("\nGain and changed first labels are those of the out-of-fold predictions, over the round before.")
    if len(found) < rounds:
        typer.echo(f"Ended after round {len(found)}, which scores no higher than the one before.")


def _row(one: Round) -> list[object]:
    return [
        one.number,
        one.run.name,
        f"{one.score:.4f}",
        _between(one.interval, ""),
        "" if one.gain is None else f"{one.gain:+.4f}",
        _between(one.gain_interval, "+"),
        "" if one.changed is None else f"{one.changed:.1%}",
        f"{one.share:.0%}",
    ]


def _between(found: Interval | None, sign: str) -> str:
    return "" if found is None else f"{found[0]:{sign}.4f} – {found[1]:{sign}.4f}"


def _as_json(one: Round, metric: str) -> dict[str, Any]:
    return {
        "round": one.number,
        "run": one.run.name,
        "metric": metric,
        "score": one.score,
        "interval": one.interval,
        "gain": one.gain,
        "gain_interval": one.gain_interval,
        "changed": one.changed,
        "share": one.share,
    }
