"""A recipe's file as a module: executed by path, with the modules that it imports from the same folder."""

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

from acoustic_kit.errors import AkitError, RecipeError

MODULE_PREFIX = "_akit_recipe_"  # of the names of recipes' modules

_loaded: dict[RecipeFile, ModuleType] = {}
_helper_places: set[str] = set()  # of all recipes that were loaded
_scratch: list[tempfile.TemporaryDirectory[str]] = []  # kept until the process ends

# Raised unchanged: the command line has messages for them, or they end a training from outside.
_UNCHANGED_ERRORS = (AkitError, MemoryError, SystemError)
_PACKAGES = {"acoustic_kit", "acoustic_store", "optuna"}


def source_digest(source: str) -> str:
    """Return the SHA-256 of a recipe's source."""
    return hashlib.sha256(source.encode()).hexdigest()


@dataclass(frozen=True)
class RecipeFile:
    """The source of a recipe's module, and of the modules that it imports from its folder. Picklable."""

    path: Path
    called: str  # part of the module's name: one file may contain several recipes
    source: str
    helpers: tuple[tuple[str, str], ...] = ()  # path relative to the recipe's folder, text

    @staticmethod
    def read(path: Path, called: str) -> RecipeFile:
        """Read a recipe's file and its helpers, which are found in its import statements.

        Raises RecipeError if a file is not UTF-8 text.
        """
        source = _text(path)
        return RecipeFile(path, called, source, tuple(sorted(_helpers(path, source).items())))

    @cached_property
    def helper_digests(self) -> dict[str, str]:
        """The SHA-256 of each helper's source."""
        return {name: source_digest(text) for name, text in self.helpers}

    @property
    def module_name(self) -> str:
        """The name of the module, by which skops and pydantic look up its classes."""
        return f"{MODULE_PREFIX}{self.called}"

    def write(self, folder: Path, name: str) -> RecipeFile:
        """Write the recipe, under this file name, and its helpers to a folder."""
        for relative, text in ((name, self.source), *self.helpers):
            path = folder / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8", newline="")
        return replace(self, path=folder / name)

    def load(self) -> ModuleType:
        """Execute the file. Raises RecipeError with the file and the line that fails."""
        from acoustic_kit.features.feature import defines_families
        from acoustic_kit.recipe.former_modules import provide_former_names

        if self.helpers and not (self.path.parent / self.helpers[0][0]).is_file():  # the file is on another machine
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
            # Not by the spec's loader, which would execute a compiled file next to an untrusted recipe instead.
            exec(compile(self.source, self.path, "exec", dont_inherit=True), module.__dict__)
        _loaded[self] = module
        return module

    def module(self) -> ModuleType:
        """Return the module; load it if this process has not."""
        return _loaded[self] if self in _loaded else self.load()

    def _forget_helpers(self) -> None:
        """Remove the helpers from `sys.modules`: another recipe's may have the same names."""
        for relative, _ in self.helpers:
            name = relative.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            if str(getattr(sys.modules.get(name), "__file__", None)) in _helper_places:
                del sys.modules[name]
            _helper_places.add(str(self.path.parent / relative))


@contextmanager
def names_line(file: RecipeFile, *, always: bool = False) -> Iterator[None]:
    """Turn an error in a recipe into a RecipeError that names the recipe's file and its deepest line in the traceback.

    Errors without a line of the recipe in their traceback are raised unchanged, unless `always`.
    """
    try:
        yield
    except _UNCHANGED_ERRORS:
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] in _PACKAGES:
            raise
        places = {str(file.path), *(str(file.path.parent / name) for name, _ in file.helpers)}
        calls = traceback.extract_tb(error.__traceback__)
        frames = [frame for frame in calls if frame.filename in places]
        if isinstance(error, OSError) and frames and _passes_through_akit(calls[calls.index(frames[-1]) :]):
            raise  # from the store or a checkpoint, such as a full disk
        if isinstance(error, SyntaxError) and error.filename in places:
            where = f"{error.filename}, line {error.lineno}"
        elif frames:
            where = f"{frames[-1].filename}, line {frames[-1].lineno}"
        elif always:
            where = str(file.path)
        else:
            raise
        raise RecipeError(f"{where}: {type(error).__name__}: {error}") from error


def _passes_through_akit(calls: Sequence[traceback.FrameSummary]) -> bool:
    """Return whether any call but the first is in akit's own code."""
    packages = [sys.modules[name] for name in ("acoustic_kit", "acoustic_store") if name in sys.modules]
    ours = tuple(f"{Path(str(package.__file__)).parent}{os.sep}" for package in packages)
    return any(call.filename.startswith(ours) for call in calls[1:])


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not a Python file: it is not UTF-8 text.") from error


def variants_in(path: Path) -> list[str]:
    """Return the names in `VARIANTS` of a recipe file, without executing it."""
    text = path.read_text("utf-8", errors="replace")
    try:
        statements = ast.parse(text).body if "VARIANTS" in text else []
    except (SyntaxError, ValueError):
        return []  # reported when the file is loaded
    for node in statements:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if any(isinstance(t, ast.Name) and t.id == "VARIANTS" for t in targets) and isinstance(value, ast.Dict):
            return [key.value for key in value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
    return []


def _helpers(path: Path, source: str) -> dict[str, str]:
    """Return the modules that a recipe imports from its folder, directly or through others: relative path → source."""
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
    """Return the top-level names of all imports in a source."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return set()  # reported when the file is loaded
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module}
    return {name.partition(".")[0] for name in names}
