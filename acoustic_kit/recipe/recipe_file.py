"""A recipe's file as a module: executed by its path, with the modules beside it that it imports."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType

from acoustic_kit.errors import AkitError

_loaded: dict[RecipeFile, ModuleType] = {}
_helper_places: set[str] = set()  # of all recipes that were loaded
_scratch: list[tempfile.TemporaryDirectory[str]] = []  # kept until the process ends

# Passed on as they are: the command line knows what to say of them, or they end a training from outside.
_NOT_THE_RECIPES = (AkitError, MemoryError, SystemError)
_PACKAGES = {"acoustic_kit", "acoustic_store", "optuna"}


def source_digest(source: str) -> str:
    """Return the SHA-256 of a recipe's text."""
    return hashlib.sha256(source.encode()).hexdigest()


@dataclass(frozen=True)
class RecipeFile:
    """All that makes a recipe's module: its text, and that of the modules beside it that it imports. Picklable."""

    path: Path
    called: str  # what the module is named for: one file may hold several recipes
    source: str
    helpers: tuple[tuple[str, str], ...] = ()  # path relative to the recipe's folder, text

    @staticmethod
    def read(path: Path, called: str) -> RecipeFile:
        """Read a recipe's file and its helpers, which are found in its import statements.

        Raises AkitError for a file that is no text.
        """
        source = _text(path)
        return RecipeFile(path, called, source, tuple(sorted(_helpers(path, source).items())))

    @cached_property
    def helper_digests(self) -> dict[str, str]:
        """The SHA-256 of each helper's text."""
        return {name: source_digest(text) for name, text in self.helpers}

    @property
    def module_name(self) -> str:
        """The name under which the module is known: skops and pydantic look a class up by it."""
        return f"_akit_recipe_{self.called}"

    def write(self, folder: Path, name: str) -> RecipeFile:
        """Write the recipe, under this file name, and its helpers to a folder."""
        for relative, text in ((name, self.source), *self.helpers):
            path = folder / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8", newline="")
        return replace(self, path=folder / name)

    def load(self) -> ModuleType:
        """Execute the file. Raises AkitError that names the file and the line where it fails."""
        from acoustic_kit.features.feature import defines_families
        from acoustic_kit.recipe.former_modules import provide_former_names

        if self.helpers and not (self.path.parent / self.helpers[0][0]).is_file():  # another machine's
            _scratch.append(tempfile.TemporaryDirectory(prefix="akit-recipe-"))
            module = self.write(Path(_scratch[-1].name), self.path.name).load()
            _loaded[self] = module
            return module
        spec = importlib.util.spec_from_file_location(self.module_name, self.path)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.module_name] = module
        self._forget_helpers()
        provide_former_names(self.source)
        with defines_families(self), names_line(self, always=True):
            # Not by the spec's loader: it would run a compiled file beside a recipe from elsewhere in its place.
            exec(compile(self.source, self.path, "exec", dont_inherit=True), module.__dict__)
        _loaded[self] = module
        return module

    def module(self) -> ModuleType:
        """Return the module, loaded if this process has not done so."""
        return _loaded[self] if self in _loaded else self.load()

    def _forget_helpers(self) -> None:
        """Make the recipe import its helpers anew: another recipe's may have the same names."""
        for relative, _ in self.helpers:
            name = relative.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            if str(getattr(sys.modules.get(name), "__file__", None)) in _helper_places:
                del sys.modules[name]
            _helper_places.add(str(self.path.parent / relative))


@contextmanager
def names_line(file: RecipeFile, *, always: bool = False) -> Iterator[None]:
    """Make an error in a recipe an AkitError that names the recipe's file and the deepest line of it that was at work.

    Errors that passed through no line of the recipe are left alone, unless `always`.
    """
    try:
        yield
    except _NOT_THE_RECIPES:
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] in _PACKAGES:
            raise
        places = {str(file.path), *(str(file.path.parent / name) for name, _ in file.helpers)}
        calls = traceback.extract_tb(error.__traceback__)
        frames = [frame for frame in calls if frame.filename in places]
        if isinstance(error, OSError) and frames and _is_ours(calls[calls.index(frames[-1]) :]):
            raise  # of the store or a checkpoint, such as a full disk
        if isinstance(error, SyntaxError) and error.filename in places:
            where = f"{error.filename}, line {error.lineno}"
        elif frames:
            where = f"{frames[-1].filename}, line {frames[-1].lineno}"
        elif always:
            where = str(file.path)
        else:
            raise
        raise AkitError(f"{where}: {type(error).__name__}: {error}") from error


def _is_ours(calls: Sequence[traceback.FrameSummary]) -> bool:
    """Return whether any of some calls is one of akit's own code."""
    packages = [sys.modules[name] for name in ("acoustic_kit", "acoustic_store") if name in sys.modules]
    ours = tuple(f"{Path(str(package.__file__)).parent}{os.sep}" for package in packages)
    return any(call.filename.startswith(ours) for call in calls[1:])


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AkitError(f"{path} is no Python file: it is not UTF-8 text.") from error


def variants_in(path: Path) -> list[str]:
    """Return the names under `VARIANTS` in a recipe file, which is read, not run."""
    text = path.read_text("utf-8", errors="replace")
    try:
        statements = ast.parse(text).body if "VARIANTS" in text else []
    except (SyntaxError, ValueError):
        return []  # loading the file says where
    for node in statements:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if any(isinstance(t, ast.Name) and t.id == "VARIANTS" for t in targets) and isinstance(value, ast.Dict):
            return [key.value for key in value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
    return []


def _helpers(path: Path, source: str) -> dict[str, str]:
    """Return the modules beside a recipe that it imports, directly or through others, by relative path."""
    found: dict[str, str] = {}
    waiting = [source]
    while waiting:
        for name in _imported(waiting.pop()) - set(sys.stdlib_module_names):
            package = path.parent / name
            inside = sorted(package.rglob("*.py")) if (package / "__init__.py").is_file() else []
            for module in inside or [package.with_name(f"{name}.py")]:
                relative = module.relative_to(path.parent).as_posix()
                if relative not in found and module != path and module.is_file():
                    found[relative] = _text(module)
                    waiting.append(found[relative])
    return found


def _imported(source: str) -> set[str]:
    """Return the top-level names that a text imports, anywhere in it."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return set()  # loading the file says where
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module}
    return {name.partition(".")[0] for name in names}
