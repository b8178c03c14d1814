"""Recipe files: where they lie, and what they say of themselves, read without running them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from acoustic_kit.errors import AkitError
from acoustic_kit.recipe.recipe_file import variants_in


@dataclass(frozen=True)
class RecipeSummary:
    """What a recipe's file says of it."""

    title: str
    published: str
    source: str
    features: tuple[str, ...]  # the classes of features that its `features(s)` names


def recipe_folders(workspace_recipes: Path | None = None) -> list[Path]:
    """Where recipes lie: the checkout's or the installed ones, then the workspace's own."""
    package = Path(__file__).parents[1]
    checkout = package.parent / "recipes"
    folders = [checkout if checkout.is_dir() else package / "_recipes"]
    return folders + ([workspace_recipes] if workspace_recipes else [])


def find_recipes(folders: Sequence[Path]) -> dict[str, Path]:
    """The recipe files by the names of their recipes. Raises AkitError where two recipes have one name."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("[!_.]*.py")):
            for name in variants_in(path) or [path.stem]:
                if name in found:
                    raise AkitError(f"Two recipes are called {name}: {found[name]} and {path}. Rename one.")
                found[name] = path
    return found


def summarize(name: str, path: Path) -> RecipeSummary:
    """Read a recipe's documentation and features from its file. Raises AkitError for a file that is not Python."""
    try:
        module = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise AkitError(f"{path}, line {getattr(error, 'lineno', None) or 1}: {error}") from error
    doc = documentation(ast.get_docstring(module) or "", name, variants_in(path))
    return RecipeSummary(
        first_line(doc), labeled(doc, "Published", name), labeled(doc, "Source", name), _features(module)
    )


def documentation(doc: str, name: str, variants: Iterable[str]) -> str:
    """Return a file's docstring, without what was published of other variants than `name`."""
    doc, variants = doc.strip(), set(variants)
    for other in variants - {name} if name in variants else ():
        doc = re.sub(rf"^Published {re.escape(other)}:.*\n(?:[ \t]+\S.*\n)*", "", doc, flags=re.M)
    return doc


def first_line(doc: str) -> str:
    """Return the title of a docstring."""
    return doc.strip().partition("\n")[0]


def labeled(doc: str, label: str, name: str) -> str:
    """Return the lines of a docstring after `label name:` or `label:`, as one; an empty string if there are none."""
    for start in (f"{label} {name}", label):
        if found := re.search(rf"^{start}:\s*(.*(?:\n[ \t]+\S.*)*)", doc, flags=re.M):
            return " ".join(found[1].split())
    return ""


def _features(module: ast.Module) -> tuple[str, ...]:
    """The classes that `features(s)` calls, in the order in which they stand there."""
    functions = (node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == "features")
    calls = [node.func for function in functions for node in ast.walk(function) if isinstance(node, ast.Call)]
    calls.sort(key=lambda call: (call.lineno, call.col_offset))
    names = [call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls]
    return tuple(dict.fromkeys(name for name in names if name[:1].isupper()))
