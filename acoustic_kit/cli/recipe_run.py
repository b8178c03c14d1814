"""`akit recipe run`: train recipes and store runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from acoustic_kit.api.progress import say
from acoustic_kit.cli.app import workspace_of
from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.cli.compute import (
    Device,
    OnCluster,
    Precision,
    Workers,
    first_process_prints,
)
from acoustic_kit.cli.console import display_path, print_table, split_list, whole_numbers
from acoustic_kit.cli.recipes import commands, warn_of_outside_recipes
from acoustic_kit.tables import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acoustic_kit.device import Compute
    from acoustic_kit.recipe.job import Job
    from acoustic_kit.recipe.recipe import Recipe
    from acoustic_kit.runs.run import Run
    from acoustic_kit.workspace.workspace import Workspace

Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE|@FILE", help="Override a setting, or all that a file lists; repeatable."),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Execute the recipe in a teacher's folder if it was changed since.")
]


@commands.command(epilog="Example: akit recipe run stats_pca_linear --set n_components=40 --folds 1,2")
def run(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="Recipes: names, patterns or files.")],
    assignments: Assignments = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Use the recipe's small settings, for a trial of about a minute.")
    ] = False,
    folds: Annotated[str | None, typer.Option(metavar="1,2", help="Train only these folds; others can follow.")] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Fit one model on all training clips instead of the folds.")
    ] = False,
    seed: Annotated[
        str, typer.Option(metavar="0,1,2", help="Seeds; each makes a run, if the recipe uses seeds.")
    ] = "0",
    note: Annotated[str, typer.Option(help="A remark, shown in the leaderboard.")] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Discard earlier results of this run.")] = False,
    workers: Workers = None,
    device: Device = "auto",
    precision: Precision = "auto",
    compile_: Annotated[
        bool, typer.Option("--compile", help="Train networks through torch.compile: minutes to start, faster steps.")
    ] = False,
    cluster: OnCluster = None,
    pseudo: Annotated[
        str | None,
        typer.Option(metavar="RUN|BLEND", help="Learn also from what its models predict for clips without labels."),
    ] = None,
    trust: Trust = False,
) -> None:
    """Train recipes on the folds.

    Builds missing features, trains, predicts and stores the run. The same command resumes a run that was stopped.
    With --pseudo, there are also the settings pseudo.weight, pseudo.power, pseudo.min and pseudo.on.
    """
    from acoustic_kit.api.runs import TrainOptions, train_jobs
    from acoustic_kit.api.session import warn_of_changes, warn_of_leaks
    from acoustic_kit.device import Compute, is_first_process, require_one_process
    from acoustic_kit.errors import AkitError, UsageError
    from acoustic_kit.recipe.recipe import match_recipes

    if full and folds:
        raise UsageError("--full trains one model on all clips; it cannot be combined with --folds.")
    compute = Compute(device, precision, compile_)
    if cluster is not None:
        require_one_process("recipe run --cluster")
    workspace = workspace_of(ctx)
    with first_process_prints():
        warn_of_outside_recipes(ctx, names)
        recipes = match_recipes(names, workspace.recipes_path)
        warn_of_leaks(workspace)
        warn_of_changes(workspace)
        here = compute if cluster is None else None  # workers have devices of their own
        jobs, left_out = _make_jobs(
            workspace, recipes, assignments or (), seed, pseudo, fast=fast, full=full, compute=here, trust=trust
        )
        named = None if folds is None else split_list("--folds", folds)
        options: TrainOptions = {"folds": named, "note": note, "fresh": fresh, "compute": compute}
        for made, trained in train_jobs(jobs, workers, cluster, options):
            if is_first_process():
                _print_run(workspace, made, trained)
        if left_out:
            raise AkitError(f"Not run: {', '.join(left_out)}. The warnings above say what is missing.")


def _make_jobs(
    workspace: Workspace,
    recipes: Sequence[Recipe],
    assignments: Sequence[str],
    seed: str,
    teacher: str | None,
    *,
    fast: bool,
    full: bool,
    compute: Compute | None,
    trust: bool,
) -> tuple[list[Job], list[str]]:
    """Return a job per recipe and seed, and the recipes that cannot run; all are checked before the first is trained.

    Print their warnings. Raises the error of a recipe that cannot run if no other can.
    """
    from acoustic_kit.api.session import warn
    from acoustic_kit.errors import AkitError
    from acoustic_kit.prediction.teacher import open_pseudo_labels
    from acoustic_kit.recipe.job import make_job
    from acoustic_kit.recipe.pseudo import split_settings

    jobs: list[Job] = []
    left_out: list[str] = []
    for recipe in recipes:
        values, of_pseudo = split_settings(parse_assignments(recipe, assignments))
        settings = recipe.settings(values, fast=fast)
        pseudo = open_pseudo_labels(workspace, teacher, of_pseudo, trust=trust)
        seeds = _seeds_of(recipe, seed)
        try:
            jobs += [
                make_job(workspace, recipe, settings, n, fast=fast, full=full, compute=compute, pseudo=pseudo)
                for n in seeds
            ]
        except AkitError as error:
            left_out.append(recipe.name)
            if len(left_out) == len(recipes):
                raise
            warn(f"{recipe.name} is left out: {error}")
    for warning in dict.fromkeys(job.warning for job in jobs if job.warning):
        warn(warning)
    return jobs, left_out


def _seeds_of(recipe: Recipe, text: str) -> list[int]:
    """Return the seeds, one run each: only 0 for a recipe whose result depends on no seed."""
    seeds = whole_numbers("--seed", text)
    if recipe.is_seeded or seeds == [0]:
        return seeds
    say(f"{recipe.name} draws nothing at random: every seed gives the same run, so it is made once, with seed 0.")
    return [0]


def _print_run(workspace: Workspace, run: Run, trained: bool) -> None:
    from acoustic_kit.runs.guessing import what_to_try
    from acoustic_kit.runs.leaderboard import leaderboard

    if not trained:
        say(f"{run.name} is already there; --fresh repeats it.")
    say(f"Run {display_path(run.path)}")
    config = workspace.config
    standing = leaderboard([run], workspace.manifest, config.task_spec)[0]
    rows: list[tuple[object, ...]] = [
        (fold, done.trained_on, duration(done.seconds), format_score(standing.fold_scores.get(fold)))
        for fold, done in run.done.items()
    ]
    rows.append(("all", "", duration(run.seconds), format_score(standing.score)))
    print_table(
        ["fold", "training clips", "time", config.metric], rows, right=["training clips", "time", config.metric]
    )
    for warning in run.warnings:
        say(f"Warning: {warning}.")
    if run.warnings:
        say(what_to_try(run.record.settings, fast=run.record.fast))
    for note in run.notes:
        say(f"Note: {note}.")
    without = {id for fold in run.done.values() for id in fold.without_features}
    if without:
        say(f"{len(without)} clips have no features; their predictions are the class frequencies.")
    if run.missing_folds:
        say(f"Folds to train: {', '.join(run.missing_folds)}.")


def format_score(score: float | None) -> str:
    """Format a score for a table."""
    return "" if score is None else f"{score:.4f}"
