"""`akit recipe`: what recipes there are, what they do, a template for a new one, and running them."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from acoustic_kit.cli.app import folder_of, warn_of_leaks, workspace_of
from acoustic_kit.cli.compute import Device, Devices, Precision, compute_of, one_voice
from acoustic_kit.cli.console import (
    MAX_SEED,
    Json,
    duration,
    listed,
    print_json,
    print_line,
    print_table,
    progress,
    say,
    shown,
)
from acoustic_kit.cli.data import say_changes
from acoustic_kit.cli.features import OnCluster, cluster_at, say_failures, worker_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from acoustic_kit.cli.console import OnProgress
    from acoustic_kit.cluster import Cluster
    from acoustic_kit.cluster.folds import Wanted
    from acoustic_kit.device import Compute
    from acoustic_kit.recipe.job import RunEvents
    from acoustic_kit.recipe.recipe import Recipe
    from acoustic_kit.recipe.write_up import Compared
    from acoustic_kit.runs.run import Run
    from acoustic_kit.workspace.workspace import Workspace

Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE|@FILE", help="Override a setting, or all that a file lists; may be repeated."
    ),
]
Workers = Annotated[int | None, typer.Option(min=0, help="Worker processes for features (default: one a core).")]
_LABEL = re.compile(r"(Source|Published|Reproduce|Differs)\b[^:]*:")
commands = typer.Typer(no_args_is_help=True, help="Recipes: one file a documented solution.")


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.add_typer(commands, name="recipe")


def _workspace_recipes(ctx: typer.Context) -> Path | None:
    """The folder of the workspace's own recipes, or None outside a workspace."""
    from acoustic_kit.workspace.workspace import Workspace

    workspace = Workspace.around(folder_of(ctx))
    return workspace.recipes_path if workspace else None


def say_what_runs(ctx: typer.Context, names: list[str]) -> None:
    """Remind of what a recipe is where its file is neither installed nor of this workspace."""
    from acoustic_kit.recipe.catalog import recipe_folders

    own = _workspace_recipes(ctx)
    known = [folder.resolve() for folder in (*recipe_folders(), *([own.parent] if own else []))]
    for path in (Path(name) for name in names if name.endswith(".py")):
        if path.is_file() and not any(path.resolve().is_relative_to(folder) for folder in known):
            say(f"Note: {path} comes from outside this workspace. A recipe is a program, and can do all that you can.")


@commands.command("list", epilog="Example: akit recipe list")
def list_(ctx: typer.Context, as_json: Json = False) -> None:
    """What recipes there are."""
    from acoustic_kit.errors import AkitError
    from acoustic_kit.recipe.catalog import RecipeSummary, find_recipes, recipe_folders, summarize

    own = _workspace_recipes(ctx)
    found: dict[str, RecipeSummary] = {}
    for name, path in find_recipes(recipe_folders(own)).items():
        try:
            found[name] = summarize(name, path)
        except AkitError as error:
            say(f"{name} cannot be loaded: {error}")
    if as_json:
        print_json(_loaded(found, own))
    else:
        rows = [(name, s.title, s.published, ", ".join(s.features), s.source) for name, s in found.items()]
        print_table(["recipe", "what", "published score", "features", "source"], rows)


def _loaded(names: Iterable[str], own: Path | None) -> list[dict[str, Any]]:
    """What the files do not say without being run: settings and feature keys."""
    from acoustic_kit.errors import AkitError
    from acoustic_kit.recipe.recipe import load_recipe

    recipes = []
    for name in names:
        try:
            recipes.append(_as_json(load_recipe(name, own)))
        except AkitError as error:
            say(f"{name} cannot be loaded: {error}")
    return recipes


def _features(recipe: Recipe) -> list[str]:
    return [feature.key for feature in recipe.features(recipe.settings()).values()]


def _as_json(recipe: Recipe) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "path": str(recipe.path),
        "title": recipe.title,
        "source": recipe.note("Source"),
        "published": recipe.note("Published"),
        "differs": recipe.note("Differs"),
        "settings": recipe.settings().model_dump(mode="json"),
        "features": _features(recipe),
    }


@commands.command(epilog="Example: akit recipe show stats_pca_linear")
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A recipe's name or file.")],
    as_json: Json = False,
) -> None:
    """One recipe: its documentation, and each setting beside what the write-up has.

    ≠ marks a setting that is not as it stood there; the documentation says why.
    """
    from acoustic_kit.recipe.recipe import load_recipe
    from acoustic_kit.recipe.write_up import compare

    say_what_runs(ctx, [name])
    recipe = load_recipe(name, _workspace_recipes(ctx))
    settings = compare(recipe)
    if as_json:
        print_json(_as_json(recipe) | {"write_up": [_compared_as_json(setting) for setting in settings]})
        return
    print_line(f"{recipe.name} ({shown(recipe.path)})\n\n{_wrapped(recipe.doc)}\n")
    _print_settings(recipe, settings)


def _compared_as_json(setting: Compared) -> dict[str, Any]:
    there = {"there": setting.there} if setting.said else {}
    return {"name": setting.name, **there, "here": setting.here, "differs": setting.differs}


def _print_settings(recipe: Recipe, settings: list[Compared]) -> None:
    fast = {key: _value(value) for key, value in recipe.fast.settings.items()}
    about = [(fast.get(s.name, ""), recipe.fields[s.name].description or "") for s in settings]
    if not any(setting.said for setting in settings):
        rows: list[tuple[str, ...]] = [(s.name, _value(s.here), *rest) for s, rest in zip(settings, about, strict=True)]
        print_table(["setting", "default", "--fast", "meaning"], rows)
        return
    rows = [
        ("≠" if s.differs else "", s.name, _value(s.there) if s.said else "–", _value(s.here), *rest)
        for s, rest in zip(settings, about, strict=True)
    ]
    print_table(["", "setting", "write-up", "here", "--fast", "meaning"], rows)
    marked = "≠ not as in the write-up: see Differs. " if any(s.differs for s in settings) else ""
    typer.echo(f"\n{marked}– not in the write-up.")


def _value(value: object) -> str:
    """A setting's value, as one would type it."""
    if isinstance(value, tuple):
        return ", ".join(map(_value, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _wrapped(doc: str) -> str:
    """A docstring for the screen, as wide as that is: lines that go on are joined, and broken anew."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 120
    items: list[tuple[str, str, str]] = []  # what precedes the first line, and all others; the text
    for line in doc.splitlines():
        text = line.strip()
        indent = line[: len(line) - len(text)]
        if text and items and items[-1][2] and items[-1][1] == indent and not text.startswith("- "):
            items[-1] = (*items[-1][:2], f"{items[-1][2]} {text}")
        else:
            hangs = text.startswith("- ") or _LABEL.match(text)
            items.append((indent, indent + ("  " if hangs else ""), text))
    wrap = partial(textwrap.fill, width=width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(wrap(text, initial_indent=first, subsequent_indent=rest) for first, rest, text in items)


@commands.command(epilog="Example: akit recipe new my_idea --torch")
def new(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The new recipe's name: a Python name.")],
    torch: Annotated[
        bool, typer.Option("--torch", help="A network on log-mel spectrograms, not scikit-learn.")
    ] = False,
) -> None:
    """Write a commented recipe that runs to the workspace's `recipes/`."""
    from acoustic_kit.recipe.recipe import new_recipe

    path = new_recipe(name, workspace_of(ctx).recipes_path, torch=torch)
    say(f"Wrote {shown(path)}. Run it with `akit recipe run {name}`.")


@commands.command(epilog="Example: akit recipe run stats_pca_linear --set n_components=40 --folds 1,2")
def run(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="Recipes: names, patterns or files.")],
    assignments: Assignments = None,
    fast: Annotated[bool, typer.Option("--fast", help="The recipe's small form: a minute, for trying things.")] = False,
    folds: Annotated[str | None, typer.Option(metavar="1,2", help="Train these folds only; others can follow.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Fit one model on all training clips instead.")] = False,
    seed: Annotated[
        str, typer.Option(metavar="0,1,2", help="Seeds; each makes a run (of recipes that use one).")
    ] = "0",
    note: Annotated[str, typer.Option(help="A remark that the leaderboard shows.")] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Discard what there is of this run.")] = False,
    workers: Workers = None,
    device: Device = "auto",
    precision: Precision = "auto",
    devices: Devices = None,
    cluster: OnCluster = None,
) -> None:
    """Train recipes on the folds.

    Builds the features that are missing, trains, predicts and stores the run. A stopped run goes on where it was.
    """
    from acoustic_kit.errors import UsageError
    from acoustic_kit.recipe.recipe import match_recipes, read_assignments

    if full and folds:
        raise UsageError("--full trains one model on all clips; it does not go with --folds.")
    compute = compute_of(device, precision, devices)
    if cluster is not None:
        from acoustic_kit.cluster.folds import check_compute

        check_compute(compute)  # before the cluster is asked
    workspace = workspace_of(ctx)
    with one_voice(compute):
        say_what_runs(ctx, names)
        recipes = match_recipes(names, workspace.recipes_path)
        given = read_assignments(assignments or ())
        warn_of_leaks(workspace)
        say_changes(workspace)
        runs = [(recipe, recipe.settings(given, fast=fast), n) for recipe in recipes for n in _seeds_of(recipe, seed)]
        for recipe, settings, _ in runs:  # all, before the first is trained
            if warning := recipe.needs(settings).check(workspace.manifest.columns, full=full):
                say(f"Warning: {warning}")
        asked: _Asked = {
            "folds": None if folds is None else listed("--folds", folds),
            "full": full,
            "fast": fast,
            "note": note,
            "fresh": fresh,
            "compute": compute,
        }
        with cluster_at(cluster, workers) as machines:
            if machines is None:
                _run_here(workspace, runs, worker_count(workers), asked)
            else:
                _run_on_cluster(workspace, runs, machines, asked)


class _Asked(TypedDict):
    """What the command line says of every run."""

    folds: list[str] | None
    full: bool
    fast: bool
    note: str
    fresh: bool
    compute: Compute


def _run_here(workspace: Workspace, runs: Sequence[Wanted], workers: int, asked: _Asked) -> None:
    from acoustic_kit.runs.runner import run_recipe

    for recipe, settings, seed in runs:
        with progress() as bar:
            made, trained = run_recipe(
                workspace, recipe, settings, seed=seed, workers=workers, events=_events(bar), **asked
            )
        if asked["compute"].is_first:
            _print_run(workspace, made, trained)


def _run_on_cluster(workspace: Workspace, runs: Sequence[Wanted], machines: Cluster, asked: _Asked) -> None:
    from acoustic_kit.cluster.folds import run_on_cluster

    with progress() as bar:
        found = run_on_cluster(workspace, runs, machines, **asked, events=_events(bar, at_once=True))
    for made, trained in found:
        _print_run(workspace, made, trained)


def _seeds_of(recipe: Recipe, text: str) -> list[int]:
    """Return the seeds of which each makes a run: one for a recipe that gives the same with every seed."""
    seeds = _seeds(text)
    if recipe.is_seeded or seeds == [0]:
        return seeds
    say(f"{recipe.name} draws nothing at random: every seed gives the same run, which is made once, as seed 0.")
    return [0]


def _seeds(text: str) -> list[int]:
    from acoustic_kit.errors import UsageError

    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        seeds = [-1]
    if not all(0 <= seed <= MAX_SEED for seed in seeds):
        raise UsageError(f"--seed {text[:40]}: write whole numbers from 0 to {MAX_SEED}, separated by commas.")
    return seeds


def say_start(compute: str) -> None:
    """Say on what networks are trained."""
    say(f"Training on {compute}.")


def _events(bar: OnProgress, at_once: bool = False) -> RunEvents:
    """What a run's bars show; where folds are trained `at_once`, without a guess at the time."""
    from acoustic_kit.recipe.job import RunEvents

    began = time.monotonic()
    folds_to_do = 1

    def on_fold(done: int, total: int) -> None:
        nonlocal began, folds_to_do
        began, folds_to_do = time.monotonic(), total - done
        bar("folds", done, total)

    def on_epoch(fold: str, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if done == 1 and not at_once:
            expected = (time.monotonic() - began) * total * folds_to_do
            folds = "the fold" if folds_to_do == 1 else f"the {folds_to_do} folds"
            say(f"Stage {stage} takes about {duration(expected)} for {folds} to train.")
        bar(f"fold {fold}, {stage}", done, total, _in_short(figures))

    return RunEvents(
        on_start=say_start,
        on_build=lambda feature, done, total: bar(feature.name, done, total),
        on_built=say_failures,
        on_fold=on_fold,
        on_epoch=on_epoch,
    )


def _in_short(figures: Mapping[str, float]) -> str:
    """Return the losses, training before validation, and the metric of an epoch, short enough for 80 columns."""
    losses = [f"{figures[name]:.3f}" for name in ("train_loss", "valid_loss") if name in figures]
    metrics = {name: value for name, value in figures.items() if name.startswith("valid_") and name != "valid_loss"}
    if len(metrics) > 1:
        metrics.pop("valid_accuracy", None)  # logged beside the metric
    scores = [f"{name.removeprefix('valid_')} {value:.3f}" for name, value in metrics.items()]
    return "  ".join([f"loss {' / '.join(losses)}", *scores])


def _print_run(workspace: Workspace, run: Run, trained: bool) -> None:
    from acoustic_kit.runs.guessing import what_to_try
    from acoustic_kit.runs.leaderboard import leaderboard

    if not trained:
        say(f"{run.name} is already there; --fresh runs it again.")
    say(f"Run {shown(run.path)}")
    config = workspace.config
    standing = leaderboard([run], workspace.manifest, config.task_spec)[0]
    rows: list[tuple[object, ...]] = [
        (fold, done.trained_on, duration(done.seconds), number(standing.fold_scores.get(fold)))
        for fold, done in run.done.items()
    ]
    rows.append(("all", "", duration(run.seconds), number(standing.score)))
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
        say(f"{len(without)} clips have no features and are predicted with the class frequencies.")
    if run.missing_folds:
        say(f"Folds still to train: {', '.join(run.missing_folds)}.")


def number(score: float | None) -> str:
    """A score in a table."""
    return "" if score is None else f"{score:.4f}"
