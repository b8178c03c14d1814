"""Recipe files: their folders and their documentation, read without running them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from acoustic_kit.errors import RecipeError
from acoustic_kit.recipe.recipe_file import variants_in

# "accuracy 0.9215", "balanced accuracy 0.464", "MAP@3 0.943289"
_SCORE = re.compile(r"(?:balanced )?[\w@-]+ 0?\.\d+")


@dataclass(frozen=True)
class RecipeSummary:
    """Documentation and features of a recipe, read from its file without running it."""

    title: str
    data: str  # the data set of the published score, as in `Data:`, else the first words of `Published:`
    published: str
    source: str
    features: tuple[str, ...]  # class names of the features that it reads

    @property
    def score(self) -> str:
        """The first metric and number of the published score; an empty string if there is none."""
        found = _SCORE.search(self.published)
        return found[0] if found else ""

    @property
    def solution(self) -> str:
        """The first words of the source, which recipes of one solution share."""
        return re.split(r" @ |[;,(]", self.source, maxsplit=1)[0].strip(" .")


def recipe_folders(workspace_recipes: Path | None = None) -> list[Path]:
    """Return the folders of recipes: the checkout's or the installed ones, then the workspace's own."""
    package = Path(__file__).parents[1]
    checkout = package.parent / "recipes"
    folders = [checkout if checkout.is_dir() else package / "_recipes"]
    return folders + ([workspace_recipes] if workspace_recipes else [])


def find_recipes(folders: Sequence[Path]) -> dict[str, Path]:
    """Return recipe files by the names of their recipes. Raises RecipeError if two recipes share a name."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("[!_.]*.py")):
            for name in variants_in(path) or [path.stem]:
                if name in found:
                    raise RecipeError(f"Two recipes are called {name}: {found[name]} and {path}. Rename one.")
                found[name] = path
    return found


def summarize(name: str, path: Path) -> RecipeSummary:
    """Read a recipe's documentation and features from its file. Raises RecipeError for a file that is not Python."""
    try:
        module = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise RecipeError(f"{path}, line {getattr(error, 'lineno', None) or 1}: {error}") from error
    doc = documentation(ast.get_docstring(module) or "", name, variants_in(path))
    published = labeled(doc, "Published", name)
    data = "" if published.startswith("none") else re.split("[,:]", published, maxsplit=1)[0]
    data = labeled(doc, "Data", name).rstrip(".") or data
    return RecipeSummary(first_line(doc), data, published, labeled(doc, "Source", name), _features(module))


def documentation(doc: str, name: str, variants: Iterable[str]) -> str:
    """Return a file's docstring, without the data and scores of other variants than `name`."""
    doc, variants = doc.strip(), set(variants)
    for other in variants - {name} if name in variants else ():
        doc = re.sub(rf"^(?:Data|Published) {re.escape(other)}:.*\n(?:[ \t]+\S.*\n)*", "", doc, flags=re.M)
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
    """Return the classes of the features in the dictionary that `features(s)` returns, without those they are made of.

    Returns all classes that it calls if it makes the dictionary in another way.
    """
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == "features"]
    nodes = [node for function in functions for node in ast.walk(function)]
    assigned = {
        target.id: _class_name(node.value)
        for node in nodes
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    values = [node.value for node in nodes if isinstance(node, ast.DictComp)]
    values += [value for node in nodes if isinstance(node, ast.Dict) for value in node.values]
    calls = sorted((node for node in nodes if isinstance(node, ast.Call)), key=lambda n: (n.lineno, n.col_offset))
    values += [one.value for call in calls if getattr(call.func, "id", "") == "dict" for one in call.keywords]
    names = [assigned.get(value.id, "") if isinstance(value, ast.Name) else _class_name(value) for value in values]
    return tuple(dict.fromkeys(filter(None, names))) or tuple(dict.fromkeys(filter(None, map(_class_name, calls))))


def _class_name(value: ast.expr) -> str:
    """Return the name of the class that an expression calls, or an empty string."""
    function = getattr(value, "func", None)
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name if name[:1].isupper() else ""
