"""`akit submission`, `akit submit` and `akit score`: list, check, annotate, submit and score submissions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acoustic_kit.api.progress import say
from acoustic_kit.cli.app import app, folder_of, opened, workspace_of
from acoustic_kit.cli.console import Json, display_path, print_json, print_line, print_table

if TYPE_CHECKING:
    from acoustic_kit.ensemble.pick_submissions import Pick
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


@commands.command(epilog="Example: akit submission pick 2 --public-fraction 0.35")
def pick(
    ctx: typer.Context,
    n: Annotated[int, typer.Argument(help="How many submissions the competition lets you choose.")] = 2,
    public_fraction: Annotated[
        float | None, typer.Option(help="Fraction of the test clips on the public leaderboard (default: 0.3).")
    ] = None,
    test_clips: Annotated[
        int | None, typer.Option(help="Number of test clips (default: those of the manifest).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Choose the submissions whose best one should score highest on the private leaderboard.

    Compares nested estimates, their intervals and correlations, and the public scores that `akit submission note`
    recorded. Tells whether validation and the public leaderboard agree.
    """
    from dataclasses import asdict

    from acoustic_kit.ensemble.pick_submissions import PUBLIC_FRACTION

    fraction = PUBLIC_FRACTION if public_fraction is None else public_fraction
    found = opened(ctx).submissions.pick(n, public_fraction=fraction, test_clips=test_clips)
    if as_json:
        print_json(asdict(found))
    else:
        _print_pick(found)


def _print_pick(found: Pick) -> None:
    for name, why in found.left_out.items():
        say(f"Left out: {name} {why}.")
    _print_standings(found)
    who = "it" if len(found.names) == 1 else "the best of them"
    interval = _range(found.interval)
    print_line(f"\nChoose {_listed(found.names)}: {who} is expected to score {found.expected:.4f} ({interval}).")
    if set(found.names) == set(found.best_by_nested):
        print_line("The nested estimate alone chooses the same.")
    else:
        others = _listed(found.best_by_nested)
        print_line(f"The nested estimate alone chooses {others}, for {found.expected_by_nested:.4f}.")
    print_line(_agreement(found))
    if found.shift is None or found.shift_interval is None:
        print_line("Without public scores a shift is unknown: scores are expected for clips like the training clips.")
    else:
        print_line(f"Shift of the board, common to all: {found.shift:+.4f} ({_signed(found.shift_interval, '+.4f')}).")
    clips = found.clips
    print_line(
        f"Noise is that of {clips.validation:,} training, {clips.public:,} public and {clips.private:,} private clips "
        "(--public-fraction, --test-clips)."
    )


def _print_standings(found: Pick) -> None:
    columns = ["submission", "nested", "95 % interval", "public", "expected", "95 % interval", "chosen"]
    rows = [
        (
            one.name,
            f"{one.nested:.4f}",
            "none" if one.nested_interval is None else _range(one.nested_interval),
            "" if one.public is None else f"{one.public:.4f}",
            f"{one.private:.4f}",
            _range(one.private_interval),
            "yes" if one.chosen else "",
        )
        for one in found.submissions
    ]
    print_table(columns, rows, right=["nested", "public", "expected"])


def _agreement(found: Pick) -> str:
    """Describe whether validation and public leaderboard agree."""
    n = sum(one.public is not None for one in found.submissions)
    if found.agreement is None:
        return f"Validation and public leaderboard cannot be compared: {n} of 3 different public scores are recorded."
    agreed = found.agreement
    interval = "no interval" if agreed.interval is None else _signed(agreed.interval)
    verdict = {
        "agree": "They agree",
        "disagree": "They disagree more than the noise of their clips explains: the test clips may be of another kind",
        "unclear": "These are too few, or too similar, to tell whether they agree",
    }[agreed.verdict]
    return (
        f"Validation and public leaderboard: rank correlation {agreed.correlation:.2f} ({interval}) of {n} "
        f"submissions; noise alone leaves {_signed(agreed.expected)}. {verdict}."
    )


def _range(interval: tuple[float, float]) -> str:
    return "{:.4f} – {:.4f}".format(*interval)


def _signed(interval: tuple[float, float], form: str = ".2f") -> str:
    return " to ".join(format(bound, form) for bound in interval)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


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
