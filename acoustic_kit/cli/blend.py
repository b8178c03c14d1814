"""`akit blend`, `akit submission` and `akit score`: from runs to a checked submission, and what it is worth."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from acoustic_kit.api.progress import progress, say
from acoustic_kit.cli.app import warn_of_leaks, workspace_of
from acoustic_kit.cli.console import MAX_SEED, Json, listed, print_json, print_line, print_table, shown

if TYPE_CHECKING:
    from acoustic_kit.ensemble.result import BlendResult
    from acoustic_kit.submission.record import Sidecar
    from acoustic_kit.workspace.workspace import Workspace

BLEND_METHODS = ("auto", "mean", "geometric", "rank", "greedy", "weights", "stack")
submissions = typer.Typer(no_args_is_help=True, help="Submissions: what was written, and is it acceptable?")
File = Annotated[Path, typer.Argument(help="A submission's CSV.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(epilog="Example: akit blend --top 12 --metric f1 --name first")(blend)
    app.add_typer(submissions, name="submission")
    app.command(epilog='Example: akit submit submissions/first.csv -m "mean of 12"')(submit)
    app.command(epilog="Example: akit score submissions/first.csv --json")(score)


def blend(
    ctx: typer.Context,
    top: Annotated[int | None, typer.Option(min=1, metavar="N", help="Choose the N best runs.")] = None,
    metric: Annotated[str | None, typer.Option(help="What decides; default: the workspace's metric.")] = None,
    method: Annotated[str, typer.Option(metavar="METHOD", help=f"{', '.join(BLEND_METHODS)}.")] = "auto",
    runs: Annotated[
        str | None, typer.Option(metavar="RUN[/FOLD],…", help="Blend among these runs, or blend these fold models.")
    ] = None,
    by: Annotated[Literal["run", "fold"], typer.Option(help="fold: every fold model is a run of its own.")] = "run",
    diverse: Annotated[bool, typer.Option("--diverse", help="With --top: runs whose errors differ.")] = False,
    decision: Annotated[
        Literal["argmax", "tuned"], typer.Option(help="tuned: fit thresholds of several labels, where they gain.")
    ] = "argmax",
    from_: Annotated[
        Path | None, typer.Option("--from", metavar="FILE.json", help="Make the submission again that FILE describes.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The submission's name (default: made from what is in it).")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace another submission of this name, and what was noted of it.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of the nested folds and the bootstrap.")] = 0,
) -> None:
    """Blend runs into a checked submission.

    Chooses them by their out-of-fold scores, and says what the blend is worth.
    """
    from acoustic_kit.ensemble.blend_submission import rebuild
    from acoustic_kit.ensemble.run_blend import blend_runs

    if from_ is not None:
        written = rebuild(workspace_of(ctx, with_runs=True), from_, name, overwrite=overwrite)
        typer.echo(f"Wrote {shown(written)} again, the same bytes.")
        return
    workspace = workspace_of(ctx, with_runs=True)
    warn_of_leaks(workspace)
    with progress() as bar:
        result = blend_runs(
            workspace,
            top=top,
            metric=metric,
            method=method,
            runs=() if runs is None else listed("--runs", runs),
            by=by,
            diverse=diverse,
            decision=decision,
            name=name,
            overwrite=overwrite,
            seed=seed,
            on_progress=lambda done, total: bar("fits", done, total),
        )
    for run, why in result.left_out.items():
        say(f"Left out: {run} {why}.")
    if decision == "tuned" and result.blend.task == "single":
        say("--decision tuned changes nothing: a single label has no thresholds.")
    _say_other_labels(workspace_of(ctx), result)
    _print_result(result)
    if result.submission:
        typer.echo(f"\nWrote {shown(result.submission)}, checked: it fits the competition's form.")
    else:
        print_line(f"\nNo submission was written: {result.no_submission}.")
        if workspace.clip_ids("test"):
            raise typer.Exit(1)


def _say_other_labels(workspace: Workspace, result: BlendResult) -> None:
    """Name the blended runs that were trained before `akit data update` took in other labels."""
    from acoustic_kit.data.targets import label_digest
    from acoustic_kit.runs.run import trained_on_other_labels

    digest = label_digest(workspace.manifest)
    runs = {one.run.name: one.run for one in result.members}
    if others := [name for name, run in runs.items() if trained_on_other_labels(run, digest)]:
        say(f"Note: trained on other labels than the data set has now: {', '.join(others)}.")


def _print_result(result: BlendResult) -> None:
    if result.by == "run" and result.scored:
        _print_scores(result)
    _print_members(result)
    if result.by == "fold":
        typer.echo("\nNo estimate: fold models have no labelled clips in common. Blend by run for one.")
    elif not result.scored:
        typer.echo("\nNot scored: some run has no out-of-fold predictions for all training clips.")


def _print_scores(result: BlendResult) -> None:
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
        typer.echo(f"Scores are of {result.scored_on}: what all of these runs predicted.")
    if blend.considered:
        typer.echo(f"auto averages {', '.join(f'{name} {value:.4f}' for name, value in blend.considered.items())}.")
    if "margin" in blend.parameters:
        odds = math.exp(min(float(blend.parameters["margin"]), math.log(100)))
        typer.echo(f"With so many clips and classes it departs from the mean for odds above {odds:.2f}.")
    if blend.decision_gain is not None:
        taken = "not taken" if blend.decision is None else "taken"
        typer.echo(f"Tuned thresholds: {blend.decision_gain:+.4f} nested, {taken}.")
    if not nested:
        typer.echo("There are too few clips or groups for a nested estimate; the scores above are optimistic.\n")
        return
    low, high = blend.gain_interval
    verdict = "beats it" if blend.beats_best_run else "is worse" if high < 0 else "does not beat it"
    typer.echo(
        f"The best single run, chosen on other clips too, has {blend.nested_score - blend.gain:.4f}; "
        f"the blend {verdict} beyond noise: {blend.gain:+.4f} ({low:+.4f} to {high:+.4f})."
    )
    typer.echo("Believe the nested estimate: the other scores are of the predictions that chose the runs.")
    if not result.by_group:
        typer.echo("The data set names no recordings or speakers; where clips share one, it may still flatter.")
    typer.echo("")


def _print_members(result: BlendResult) -> None:
    """The blended runs and their shares; of fold models also their own scores."""
    own = f"{result.metric} on its fold"
    columns = ["blended", "share", *([own] if result.own_scores else []), "optimistic"]
    rows = []
    for position, one in zip(result.blend.members, result.members, strict=True):
        scores = [f"{result.own_scores[one.name]:.4f}"] if result.own_scores else []
        share = f"{result.blend.weights[position]:.1%}"
        rows.append((one.name, share, *scores, "; ".join(one.run.optimistic)))
    optimistic = any(row[-1] for row in rows)
    print_table(
        columns if optimistic else columns[:-1],
        rows if optimistic else [row[:-1] for row in rows],
        right=["share", own],
    )


@submissions.command("list", epilog="Example: akit submission list")
def list_(ctx: typer.Context, as_json: Json = False) -> None:
    """What was written: out-of-fold, nested and public score side by side."""
    from acoustic_kit.errors import AkitError
    from acoustic_kit.submission.record import list_sidecars

    found = []
    for name, sidecar in list_sidecars(workspace_of(ctx).submissions_path):
        if isinstance(sidecar, AkitError):
            say(f"Left out: {sidecar}")
        else:
            found.append((name, sidecar))
    if as_json:
        print_json([{"name": name, **sidecar.model_dump(mode="json", exclude={"blend"})} for name, sidecar in found])
    elif not found:
        say("No submissions yet. `akit blend` writes the first.")
    else:
        columns = ["submission", "metric", "out-of-fold", "nested", "public", "public - nested"]
        rows = [(name, s.metric, *_side_by_side(s), _submitted(s), _remark(s)) for name, s in found]
        print_table([*columns, "submitted", "note"], rows, right=columns[2:])


def _side_by_side(sidecar: Sidecar) -> list[str]:
    """Out-of-fold, nested and public score, and how far public and nested part."""
    own = sidecar.scores.out_of_fold if sidecar.scores else None
    nested = sidecar.scores.nested if sidecar.scores else None
    apart = None if nested is None or sidecar.public is None else sidecar.public - nested
    figures = ["" if value is None else f"{value:.4f}" for value in (own, nested, sidecar.public)]
    return [*figures, "" if apart is None else f"{apart:+.4f}"]


def _remark(sidecar: Sidecar) -> str:
    """The user's note, and which training clips the scores are of, if not of all."""
    part = sidecar.scores.scored_on if sidecar.scores else ""
    return "; ".join(filter(None, [sidecar.note, part and f"scores are of {part}"]))


def _submitted(sidecar: Sidecar) -> str:
    return sidecar.submitted[-1].partition("T")[0] if sidecar.submitted else ""


@submissions.command(epilog='Example: akit submission note first --public 0.913 "rank 14 of 231"')
def note(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The submission's name.")],
    text: Annotated[str | None, typer.Argument(help="A remark that the list shows.")] = None,
    public: Annotated[float | None, typer.Option(help="Its score on the public leaderboard.")] = None,
) -> None:
    """Keep what the competition said of a submission."""
    from acoustic_kit.errors import UsageError
    from acoustic_kit.metrics import get_metric
    from acoustic_kit.submission.record import find_sidecar, read_sidecar

    if text is None and public is None:
        raise UsageError("Say what to keep: --public 0.913, a text, or both.")
    if public is not None and not math.isfinite(public):
        raise UsageError(f"--public {public}: write a number.")
    path = find_sidecar(workspace_of(ctx).submissions_path, name)
    metric = read_sidecar(path).metric
    highest = get_metric(metric).highest
    if public is not None and not 0 <= public <= highest:
        percent = f"; of percent, --public {public / 100:.6g}" if highest == 1 and 1 < public <= 100 else ""
        raise UsageError(f"--public {public:g}: {metric} is between 0 and {highest:g}{percent}.")
    changes = {key: value for key, value in (("note", text), ("public", public)) if value is not None}
    read_sidecar(path).model_copy(update=changes).write(path)
    say(f"Noted in {shown(path)}.")


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
    from acoustic_kit.ensemble.competition import check as check_file
    from acoustic_kit.submission.submission import errors

    problems = check_file(workspace_of(ctx), file, metric)
    wrong = errors(problems)
    if as_json:
        document: dict[str, Any] = {
            "file": str(file),
            "acceptable": not wrong,
            "problems": [
                {"message": problem.message, "lines": list(problem.rows), "warning": problem.harmless}
                for problem in problems
            ],
        }
        print_json(document)
    else:
        for problem in problems:
            print_line(f"{file}: {'warning: ' if problem.harmless else ''}{problem}")
        if not wrong:
            print_line(f"{file} is acceptable.")
    if wrong:
        raise typer.Exit(1)


def submit(
    ctx: typer.Context,
    file: File,
    message: Annotated[str, typer.Option("-m", "--message", help="What the competition's list shall show.")],
    competition: Annotated[
        str | None, typer.Option(help="Kaggle's short name for it; default: `competition` in akit.toml.")
    ] = None,
) -> None:
    """Check a submission and hand it to the `kaggle` command."""
    from acoustic_kit.ensemble.competition import submit as hand_in

    done = hand_in(workspace_of(ctx), file, message, competition)
    print_line(done.said)
    if done.status == "error":
        say(f"Submitted {shown(file)}, but Kaggle could not score it: look at the competition's page for the reason.")
    elif done.public is not None:
        say(f"Submitted {shown(file)}: public score {done.public:g}, noted.")
    else:
        say(f"Submitted {shown(file)}. Keep its score: akit submission note {file.stem} --public …")


def score(
    ctx: typer.Context,
    file: File,
    metric: Annotated[str | None, typer.Option(help="Another to print; default: the workspace's.")] = None,
    as_json: Json = False,
) -> None:
    """Score a submission by kept-aside labels.

    Those of the test folds that `akit init --test-folds` kept aside.
    """
    from acoustic_kit.ensemble.competition import score_against_truth

    workspace = workspace_of(ctx)
    warn_of_leaks(workspace)
    scores = score_against_truth(workspace, file, metric)
    if as_json:
        print_json(scores)
    else:
        print_table(["metric", "score"], [(name, f"{value:.4f}") for name, value in scores.items()], right=["score"])
