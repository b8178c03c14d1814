"""`akit submission`, `akit submit` and `akit score`: list, check, annotate, submit and score submissions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acoustic_kit.api.progress import say
from acoustic_kit.cli.app import app, folder_of, opened, workspace_of
from acoustic_kit.cli.console import Json, display_path, print_json, print_line, print_table

if TYPE_CHECKING:
    from acoustic_kit.submission.record import SubmissionRecord

commands = typer.Typer(no_args_is_help=True, help="List, check and annotate submissions.")
app.add_typer(commands, name="submission")
File = Annotated[Path, typer.Argument(help="The CSV of a submission.")]


@commands.command("list", epilog="Example: akit submission list")
def list_(ctx: typer.Context, as_json: Json = False) -> None:
    """List submissions with their scores.

    Prints the out-of-fold score, the nested estimate and the public score side by side.
    """
    from acoustic_kit.submission.record import list_records

    found = list_records(workspace_of(ctx).submissions_path, lambda why: say(f"Left out: {why}"))
    if as_json:
        print_json(
            [{"name": name, **record.model_dump(mode="json", exclude={"blend"})} for name, record in found.items()]
        )
    elif not found:
        say("No submissions yet. `akit blend` writes the first.")
    else:
        columns = ["submission", "metric", "out-of-fold", "nested", "public", "public - nested"]
        rows = [(name, s.metric, *_side_by_side(s), s.last_submitted, s.remark) for name, s in found.items()]
        print_table([*columns, "submitted", "note"], rows, right=columns[2:])


def _side_by_side(record: SubmissionRecord) -> list[str]:
    """Return the out-of-fold, nested and public score, and the public minus the nested one."""
    own = record.scores.out_of_fold if record.scores else None
    nested = record.scores.nested if record.scores else None
    apart = None if nested is None or record.public is None else record.public - nested
    figures = ["" if value is None else f"{value:.4f}" for value in (own, nested, record.public)]
    return [*figures, "" if apart is None else f"{apart:+.4f}"]


@commands.command(epilog='Example: akit submission note first --public 0.913 "rank 14 of 231"')
def note(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The submission's name.")],
    text: Annotated[str | None, typer.Argument(help="A remark, shown in the list.")] = None,
    public: Annotated[float | None, typer.Option(help="The score on the public leaderboard.")] = None,
) -> None:
    """Record the public score of a submission, or a remark."""
    from acoustic_kit.submission.record import annotate

    say(f"Recorded in {display_path(annotate(workspace_of(ctx).submissions_path, name, text, public))}.")


@commands.command("check", epilog="Example: akit submission check submissions/first.csv")
def check(
    ctx: typer.Context,
    file: File,
    metric: Annotated[
        str | None, typer.Option(help="Metric of the competition (default: the blend's); map3 allows three labels.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check whether the competition would accept a file.

    Checks columns, ids, order, labels, duplicates and probabilities, and names the lines.
    """
    from acoustic_kit.submission.submission import errors

    problems = opened(ctx).check(file, metric)
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


@app.command(epilog='Example: akit submit submissions/first.csv -m "mean of 12"')
def submit(
    ctx: typer.Context,
    file: File,
    message: Annotated[
        str, typer.Option("-m", "--message", help="Description for the competition's list of submissions.")
    ],
    competition: Annotated[
        str | None, typer.Option(help="Kaggle's short name of the competition (default: `competition` in akit.toml).")
    ] = None,
) -> None:
    """Check a submission and hand it to the `kaggle` command."""
    done = opened(ctx).submissions.submit(file, message, competition=competition)
    print_line(done.said)
    if done.status == "error":
        say(f"Submitted {display_path(file)}, but Kaggle could not score it: see the competition's page.")
    elif done.public is not None:
        say(f"Submitted {display_path(file)}: public score {done.public:g}, recorded.")
    else:
        say(f"Submitted {display_path(file)}. Record its score: akit submission note {file.stem} --public …")


@app.command(epilog="Example: akit score submissions/first.csv --json")
def score(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A CSV of ids, and of labels or probabilities.")],
    truth: Annotated[
        Path | None,
        typer.Option(help="A CSV of ids, and of labels or one column per class (default: labels held out by init)."),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Another metric to print (default: the workspace's).")] = None,
    as_json: Json = False,
) -> None:
    """Score predictions against a table of labels.

    Without --truth, uses the labels of the folds that `akit init --test-folds` held out. With it, no workspace is
    needed: the classes are those of the files. In a table with one column per class, an empty cell is unknown, and left
    out of the score of its class.
    """
    from acoustic_kit.api.submissions import score as score_by_table

    if truth is None:
        scores = opened(ctx).score(file, metric)
    else:
        scores = score_by_table(file, truth, metric, folder=folder_of(ctx))
    if as_json:
        print_json(scores)
    else:
        print_table(["metric", "score"], [(name, f"{value:.4f}") for name, value in scores.items()], right=["score"])
