"""`akit blend`, `akit submission` and `akit score`: from runs to a checked submission, and what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acoustic_kit.cli.app import workspace_of
from acoustic_kit.cli.console import Json, listed, print_json, print_table, say, shown

if TYPE_CHECKING:
    from acoustic_kit.competition import BlendResult

submissions = typer.Typer(no_args_is_help=True, help="Submissions: are they acceptable?")
File = Annotated[Path, typer.Argument(help="A submission's CSV.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(epilog="Example: akit blend --top 12 --metric f1 --name first")(blend)
    app.add_typer(submissions, name="submission")
    app.command(epilog="Example: akit score submissions/first.csv --json")(score)


def blend(
    ctx: typer.Context,
    top: Annotated[int | None, typer.Option(min=1, metavar="N", help="Choose the N best runs (default: all).")] = None,
    metric: Annotated[str | None, typer.Option(help="What decides; default: the workspace's metric.")] = None,
    method: Annotated[str, typer.Option(metavar="mean|geometric|rank", help="How runs are combined.")] = "mean",
    runs: Annotated[str | None, typer.Option(metavar="ID,…", help="Blend these runs.")] = None,
    name: Annotated[str | None, typer.Option(help="The submission's name (default: made from what is in it).")] = None,
    seed: Annotated[int, typer.Option(help="Of the nested folds and the bootstrap.")] = 0,
) -> None:
    """Blend runs into a checked submission.

    Chooses them by their out-of-fold scores, and says what the blend is worth.
    """
    from acoustic_kit.competition import blend_runs

    result = blend_runs(
        workspace_of(ctx),
        top=top,
        metric=metric,
        method=method,
        runs=() if runs is None else listed("--runs", runs),
        name=name,
        seed=seed,
    )
    for run, why in result.left_out.items():
        say(f"Left out: {run} {why}.")
    _print_scores(result, method)
    for member in result.members:
        for why in member.optimistic:
            typer.echo(f"Optimistic: {member.name}, {why}.")
    if result.submission:
        typer.echo(f"\nWrote {shown(result.submission)}, checked: it fits the competition's form.")
    else:
        typer.echo(f"\nNo submission was written: {result.no_submission}.")


def _print_scores(result: BlendResult, method: str) -> None:
    blend, members = result.blend, ", ".join(run.name for run in result.members)
    if blend is None:
        typer.echo(f"Not scored: some run has no out-of-fold predictions for all training clips. Blended: {members}")
        return
    low, high = blend.interval
    best = result.candidates[blend.single_best[0]]
    nested = blend.nested_score == blend.nested_score  # not nan
    print_table(
        ["", result.metric, "95 % interval", "runs"],
        [
            ("best single run", f"{blend.single_best[1]:.4f}", "", best.name),
            ("mean of all", f"{result.mean_of_all:.4f}", "", len(result.candidates)),
            (f"chosen, {method}", f"{blend.score:.4f}", "", members),
            ("nested estimate", f"{blend.nested_score:.4f}" if nested else "none",
             f"{low:.4f} – {high:.4f}" if nested else "", ""),
        ],
        right=[result.metric],
    )  # fmt: skip
    if nested:
        typer.echo("\nBelieve the nested estimate: the other scores are of the predictions that chose the runs.")
        if not result.by_group:
            typer.echo("The data set names no recordings or speakers; where clips share one, it may still flatter.")
    else:
        typer.echo("\nThere are too few clips or groups for a nested estimate; the scores above are optimistic.")


@submissions.command("check", epilog="Example: akit submission check submissions/first.csv")
def check(
    ctx: typer.Context,
    file: File,
    metric: Annotated[str | None, typer.Option(help="map3 allows three labels; default: the blend's metric.")] = None,
    as_json: Json = False,
) -> None:
    """Say whether the competition would accept a file.

    Looks at columns, ids, order, labels, duplicates and probabilities, and names the lines.
    """
    from acoustic_kit.competition import check as check_file

    problems = check_file(workspace_of(ctx), file, metric)
    if as_json:
        document: dict[str, Any] = {
            "file": str(file),
            "acceptable": not problems,
            "problems": [{"message": problem.message, "lines": list(problem.rows)} for problem in problems],
        }
        print_json(document)
    else:
        for problem in problems:
            typer.echo(f"{file}: {problem}")
        if not problems:
            typer.echo(f"{file} is acceptable.")
    if problems:
        raise typer.Exit(1)


def score(
    ctx: typer.Context,
    file: File,
    metric: Annotated[str | None, typer.Option(help="Another to print; default: the workspace's.")] = None,
    as_json: Json = False,
) -> None:
    """Score a submission by kept-aside labels.

    Those of the test folds that `akit init --test-folds` kept aside.
    """
    from acoustic_kit.competition import score_against_truth

    scores = score_against_truth(workspace_of(ctx), file, metric)
    if as_json:
        print_json(scores)
    else:
        print_table(["metric", "score"], [(name, f"{value:.4f}") for name, value in scores.items()], right=["score"])
