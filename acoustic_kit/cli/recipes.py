"""`akit recipe list`, `show` and `new`: the recipes, their documentation and settings, and a template."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from dataclasses import asdict
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acoustic_kit.api.progress import say
from acoustic_kit.cli.app import app, folder_of, workspace_of
from acoustic_kit.cli.console import Json, display_path, print_json, print_line, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acoustic_kit.recipe.catalog import RecipeSummary
    from acoustic_kit.recipe.recipe import Recipe
    from acoustic_kit.recipe.write_up import Difference

_LABEL = re.compile(r"(Source|Data|Published|Reproduce|Differs)\b[^:]*:")
commands = typer.Typer(no_args_is_help=True, help="List, show, create, run and tune recipes.")
app.add_typer(commands, name="recipe")


def _workspace_recipes(ctx: typer.Context) -> Path | None:
    """Return the folder of the workspace's own recipes, or None outside of a workspace."""
    from acoustic_kit.workspace.workspace import Workspace

    workspace = Workspace.around(folder_of(ctx))
    return workspace.recipes_path if workspace else None


def warn_of_outside_recipes(ctx: typer.Context, names: list[str]) -> None:
    """Warn of recipe files that are neither installed nor in this workspace: they are programs."""
    from acoustic_kit.recipe.catalog import recipe_folders

    own = _workspace_recipes(ctx)
    known = [folder.resolve() for folder in (*recipe_folders(), *([own.parent] if own else []))]
    for path in (Path(name) for name in names if name.endswith(".py")):
        if path.is_file() and not any(path.resolve().is_relative_to(folder) for folder in known):
            say(f"Note: {path} comes from outside this workspace. A recipe is a program with all of your permissions.")


@commands.command("list", epilog="Example: akit recipe list")
def list_(ctx: typer.Context, as_json: Json = False) -> None:
    """List the recipes by solution.

    Prints the data set, the published score and the features that each recipe reads.
    """
    from acoustic_kit.errors import AkitError
    from acoustic_kit.recipe.catalog import find_recipes, recipe_folders, summarize

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
        _print_summaries(found)


def _print_summaries(found: Mapping[str, RecipeSummary]) -> None:
    """Print one line per recipe, below the source of its solution."""
    from acoustic_kit.features import FEATURES

    families = {feature.__name__: name for name, feature in FEATURES.items()}
    solutions: dict[str, list[tuple[str, ...]]] = {}
    for name, recipe in found.items():
        reads = ", ".join(families.get(feature, feature) for feature in recipe.features)
        row = (f"  {name}", recipe.data or "any", recipe.score or "none", reads)
        solutions.setdefault(recipe.solution or "no source", []).append(row)
    for number, (solution, rows) in enumerate(solutions.items()):
        print_line(f"\n{solution}" if number else solution)
        print_table(["  recipe", "data", "published score", "reads"], rows, header=number == 0)
    say("\n`akit recipe show NAME` shows a recipe's documentation and settings.")


def _loaded(found: Mapping[str, RecipeSummary], own: Path | None) -> list[dict[str, Any]]:
    """Load the recipes, which gives their settings and feature keys; report those that fail."""
    from acoustic_kit.errors import AkitError
    from acoustic_kit.recipe.recipe import load_recipe

    recipes = []
    for name, summary in found.items():
        try:
            recipes.append(_as_json(load_recipe(name, own)) | {"data": summary.data, "score": summary.score})
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
    name: Annotated[str, typer.Argument(help="Name or file of a recipe.")],
    as_json: Json = False,
) -> None:
    """Show a recipe: its documentation and settings, and why a default is not the published value."""
    from acoustic_kit.recipe.recipe import load_recipe
    from acoustic_kit.recipe.write_up import differences

    warn_of_outside_recipes(ctx, [name])
    recipe = load_recipe(name, _workspace_recipes(ctx))
    differing = differences(recipe)
    if as_json:
        print_json(_as_json(recipe) | {"write_up": {name: asdict(one) for name, one in differing.items()}})
        return
    print_line(f"{recipe.name} ({display_path(recipe.path)})\n\n{_wrapped(recipe.doc)}\n")
    _print_settings(recipe, differing)


def _print_settings(recipe: Recipe, differing: Mapping[str, Difference]) -> None:
    from acoustic_kit.recipe.write_up import has_write_up

    defaults = recipe.settings()
    rows = [
        (
            name,
            _value(attrgetter(name)(defaults)),
            *([f"≠ {_value(differing[name].published)}" if name in differing else ""] if differing else []),
            _value(recipe.fast.settings[name]) if name in recipe.fast.settings else "",
            field.description or "",
        )
        for name, field in recipe.fields.items()
    ]
    print_table(["setting", "default", *(["published"] if differing else []), "--fast", "meaning"], rows)
    if differing:
        reasons = "\n".join(f"- {name}: {one.reason}." for name, one in differing.items())
        print_line(f"\n{_wrapped(reasons)}")
    elif has_write_up(recipe):
        print_line("\nAll defaults are the published values.")


def _value(value: object) -> str:
    """Format a setting's value as a user would type it."""
    if isinstance(value, tuple):
        return ", ".join(map(_value, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _wrapped(doc: str) -> str:
    """Rewrap a docstring to the width of the terminal, keeping paragraphs, lists and labeled lines."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 120
    items: list[tuple[str, str, str]] = []  # indents of the first line and of the others; the text
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
    name: Annotated[str, typer.Argument(help="Name of the new recipe: a Python identifier.")],
    torch: Annotated[
        bool, typer.Option("--torch", help="Use a network on log-mel spectrograms instead of scikit-learn.")
    ] = False,
) -> None:
    """Write a commented, runnable recipe to the workspace's `recipes/`."""
    from acoustic_kit.recipe.template import new_recipe

    path = new_recipe(name, workspace_of(ctx).recipes_path, torch=torch)
    say(f"Wrote {display_path(path)}. Run it with `akit recipe run {name}`.")
