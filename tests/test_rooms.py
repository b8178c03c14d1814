"""The layout stays true: who may import whom, what stays unloaded, and that the package names no recipe."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PACKAGE, STORE, RECIPES = CHECKOUT / "acoustic_kit", CHECKOUT / "store" / "acoustic_store", CHECKOUT / "recipes"
HEAVY = ["torch", "numba", "transformers", "sklearn", "polars", "scipy", "zarr", "librosa", "optuna", "sqlalchemy"]


def imported(path: Path) -> set[str]:
    """The dotted names of all modules that a file imports, relative imports left out."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def within(names: set[str], package: str) -> set[str]:
    return {name for name in names if name == package or name.startswith(f"{package}.")}


@pytest.mark.parametrize("path", sorted(STORE.rglob("*.py")), ids=lambda p: p.name)
def test_the_store_knows_only_itself_numpy_zarr_and_checksums(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imported(path)}
    allowed = {"numpy", "zarr", "google_crc32c", "acoustic_store"}
    if path.name in {"object_files.py", "lease.py"}:
        allowed.add("obstore")  # an extra
    assert roots <= set(sys.stdlib_module_names) | allowed


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_package_imports_downwards(path: Path) -> None:
    names = imported(path)
    assert not within(names, "recipes")
    if path.parent.name != "cli":
        assert not within(names, "acoustic_kit.cli")


def test_the_package_outside_the_command_line_names_no_recipe() -> None:
    names = [path.stem for path in RECIPES.glob("*.py")]
    assert names
    recipe = re.compile(rf"\b({'|'.join(names)})(_[a-z0-9]+)*\b")
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "cli":
            assert not recipe.search(path.read_text("utf-8")), path


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.py")), ids=lambda p: p.name)
def test_recipes_import_neither_each_other_nor_the_command_line(path: Path) -> None:
    names = imported(path)
    assert not [other.stem for other in RECIPES.glob("*.py") if within(names, other.stem)]
    assert not within(names, "recipes")
    assert not within(names, "acoustic_kit.cli")


@pytest.mark.parametrize(
    "code",
    [
        "import acoustic_kit",
        "from acoustic_kit.cli import app; app(['--help'], standalone_mode=False)",
        "from acoustic_kit.cli import app; app(['recipe', 'run', '--help'], standalone_mode=False)",
        "from acoustic_kit.cli import app; app(['recipe', 'tune', '--help'], standalone_mode=False)",
        "import acoustic_kit.features, acoustic_kit.data, acoustic_kit.metrics, acoustic_kit.submission",
    ],
)
def test_start_up_loads_nothing_heavy(code: str) -> None:
    report = f"{code}\nimport sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
