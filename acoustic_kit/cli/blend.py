"""`akit blend`: combine runs into a checked submission."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from acoustic_kit.api.progress import say
from acoustic_kit.cli.app import app, opened
from acoustic_kit.cli.console import MAX_SEED, display_path, print_line, print_table, split_list

if TYPE_CHECKING:
    from acoustic_kit.ensemble.result import BlendResult
    from acoustic_kit.workspace.workspace import Workspace

BLEND_METHODS = ("auto", "mean", "geometric", "rank", "power", "greedy", "weights", "stack")
STEPS = {
    "smooth": "Smoothing over neighboring windows",
    "rescale": "Rescaling by the maximum of the recording",
    "mean": "Mixing with the mean of the recording",
}


@app.command(epilog="Example: akit blend --top 12 --metric f1 --name first")
def blend(
    ctx: typer.Context,
    top: Annotated[int | None, typer.Option(min=1, metavar="N", help="Choose the N best runs.")] = None,
    metric: Annotated[str | None, typer.Option(help="Metric to choose by (default: the workspace's).")] = None,
    method: Annotated[str, typer.Option(metavar="METHOD", help=f"{', '.join(BLEND_METHODS)}.")] = "auto",
    runs: Annotated[
        str | None, typer.Option(metavar="RUN[/FOLD],…", help="Choose among these runs, or blend these fold models.")
    ] = None,
    by: Annotated[Literal["run", "fold"], typer.Option(help="fold: use each fold model as a run of its own.")] = "run",
    diverse: Annotated[bool, typer.Option("--diverse", help="With --top: choose runs whose errors differ.")] = False,
    decision: Annotated[
        Literal["argmax", "tuned"], typer.Option(help="tuned: fit thresholds for several labels if the score gains.")
    ] = "argmax",
    from_: Annotated[
        Path | None, typer.Option("--from", metavar="FILE.json", help="Write the submission that FILE describes again.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the submission (default: made from its contents).")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace another submission of this name, and its record.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the nested folds and the bootstrap.")] = 0,
) -> None:
    """Blend runs into a checked submission.

    Chooses the runs by their out-of-fold scores and prints a nested estimate of the blend's score.
    """
    workspace = opened(ctx)
    if from_ is not None:
        written = workspace.submissions.rebuild(from_, name, overwrite=overwrite)
        typer.echo(f"Wrote {display_path(written)} again, with the same bytes.")
        return
    result = workspace.blend(
        top=top,
        metric=metric,
        method=method,
        runs=() if runs is None else split_list("--runs", runs),
        by=by,
        diverse=diverse,
        decision=decision,
        name=name,
        overwrite=overwrite,
        seed=seed,
    ).result
    if decision == "tuned" and result.blend.task == "single":
        say("--decision tuned changes nothing: a single label has no thresholds.")
    files = workspace.files
    _print_result(files, result)
    if result.record is None and (name or files.clip_ids("test")):
        raise typer.Exit(1)


def _say_other_labels(workspace: Workspace, result: BlendResult) -> None:
    """Name the blended runs that were trained before `akit data update` changed labels."""
    from acoustic_kit.data.targets import label_digest
    from acoustic_kit.runs.run import trained_on_other_labels

    digest = label_digest(workspace.manifest)
    runs = {one.run.name: one.run for one in result.members}
    if others := [name for name, run in runs.items() if trained_on_other_labels(run, digest)]:
        say(f"Note: these runs were trained on labels that have changed since: {', '.join(others)}.")


def _print_result(workspace: Workspace, result: BlendResult) -> None:
    for run, why in result.left_out.items():
        say(f"Left out: {run} {why}.")
    _say_other_labels(workspace, result)
    if result.by == "run" and result.scored:
        _print_scores(result)
    _print_members(result)
    if result.by == "fold":
        typer.echo("\nNo estimate: fold models have no labeled clips in common. Blend by run for an estimate.")
    elif not result.scored:
        typer.echo("\nNot scored: some run lacks out-of-fold predictions for some training clips.")
    if result.submission:
        typer.echo(f"\nWrote {display_path(result.submission)}, which passed the check against the competition's form.")
    else:
        print_line(f"\nNo submission was written: {result.no_submission}.")
    if result.record and not result.submission:
        print_line(f"The blend is recorded in {display_path(result.record)}, for `akit predict` and `akit bundle`.")


def _print_scores(result: BlendResult) -> None:
    from acoustic_kit.metrics import get_metric

    blend = result.blend
    (low, high), best = blend.interval, result.candidates[blend.single_best[0]]
    nested = blend.nested_score == blend.nested_score  # not nan
    chosen = result.method if result.method == blend.method else f"{result.method}: {blend.method}"
    print_table(
        ["", result.metric, "95 % interval", "runs"],
        [
            ("best single run", f"{blend.single_best[1]:.4f}", "", best.name),
            ("mean of all", f"{result.mean_of_all:.4f}", "", len(result.candidates)),
            (f"chosen, {chosen}", f"{blend.score:.4f}", "", len(result.members)),
            ("nested estimate", f"{blend.nested_score:.4f}" if nested else "none",
             ("none" if math.isnan(low) else f"{low:.4f} – {high:.4f}") if nested else "", ""),
        ],
        right=[result.metric],
    )  # fmt: skip
    typer.echo("")
    if result.scored_on:
        typer.echo(f"Scores are of {result.scored_on}: the clips that all of these runs predicted.")
    if blend.considered:
        typer.echo(f"auto averages {', '.join(f'{name} {value:.4f}' for name, value in blend.considered.items())}.")
    if "margin" in blend.parameters:
        odds = math.exp(min(float(blend.parameters["margin"]), math.log(100)))
        typer.echo(f"With this number of clips and classes, auto departs from the mean for odds above {odds:.2f}.")
    for step, step_gain in blend.postprocessing_gains.items():
        kept = "kept" if step in blend.postprocessing else "not kept"
        typer.echo(f"{STEPS[step]}: {step_gain:+.4f} nested, {kept}.")
    if blend.decision_gain is not None:
        taken = "not taken" if blend.decision is None else "taken"
        typer.echo(f"Tuned thresholds: {blend.decision_gain:+.4f} nested, {taken}.")
    if not nested:
        typer.echo("There are too few clips or groups for a nested estimate; the scores above are optimistic.\n")
        return
    low, high = blend.gain_interval
    verdict = "beats it" if blend.beats_best_run else "is worse" if high < 0 else "does not beat it"
    metric, (first, last) = get_metric(result.metric), (low, high)
    sign, chosen = metric.sign, "" if metric.ranks_clips else ", also chosen on other clips,"
    if sign < 0:
        first, last = -high, -low
    typer.echo(
        f"The best single run{chosen} has {blend.nested_score - sign * blend.gain:.4f}; "
        f"the blend {verdict} beyond noise: {sign * blend.gain:+.4f} ({first:+.4f} to {last:+.4f})."
    )
    typer.echo("Rely on the nested estimate: the other scores are of the predictions by which the runs were chosen.")
    if not result.by_group:
        typer.echo(
            "The data set names no recordings or speakers; if clips share one, the estimate may still be optimistic."
        )
    typer.echo("")


def _print_members(result: BlendResult) -> None:
    """Print the blended runs and their weights; for fold models also their own scores."""
    own = f"{result.metric} on its fold"
    columns = ["blended", "share", *([own] if result.own_scores else []), "optimistic"]
    rows = []
    for position, one in zip(result.blend.members, result.members, strict=True):
        scores = [f"{result.own_scores[one.name]:.4f}"] if result.own_scores else []
        share = f"{result.blend.weights[position]:.1%}"
        rows.append((one.name, share, *scores, "; ".join(one.run.bias_warnings)))
    optimistic = any(row[-1] for row in rows)
    print_table(
        columns if optimistic else columns[:-1],
        rows if optimistic else [row[:-1] for row in rows],
        right=["share", own],
    )
