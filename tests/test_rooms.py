"""The layout stays true: who may import whom, what stays unloaded, and that the package names no recipe."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PACKAGE, STORE, RECIPES = CHECKOUT / "acoustic_kit", CHECKOUT / "store" / "acoustic_store", CHECKOUT / "recipes"
# A room imports only itself and those after it.
ROOMS = (
    "cli",
    "api",
    "report",
    "cluster",
    "prediction",
    "ensemble",
    "runs",
    "recipe",
    "training",
    "features",
    "nn",
    "workspace",
    "submission",
    "data",
    "blending",
    "metrics",
    "dsp",
    "root",
)
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


def modules() -> dict[str, Path]:
    """Dotted name → file of every module of the package."""
    found = {".".join(path.relative_to(CHECKOUT).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in found.items()}


def room(module: str) -> str:
    """The room of a module; the modules at the package's root, the workspace apart, are one."""
    name = module.split(".")[1]
    return name if (PACKAGE / name).is_dir() or name == "workspace" else "root"


@cache
def imports() -> dict[str, set[str]]:
    """Each module of the package, but the package itself → the modules of the package that it imports, anywhere."""
    known = modules()
    found: dict[str, set[str]] = {module: set() for module in known if module != "acoustic_kit"}
    for module in found:
        for node in ast.walk(ast.parse(known[module].read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                names = {name if name in known else node.module for name in names}
            else:
                continue
            found[module] |= names & found.keys()
    return found


def test_every_room_has_its_place() -> None:
    assert {room(module) for module in imports()} == set(ROOMS)


def test_the_package_has_few_modules_at_its_root() -> None:
    assert len([path for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]) <= 6


@pytest.mark.parametrize("module", sorted(imports()))
def test_the_package_imports_downwards(module: str) -> None:
    height = ROOMS.index(room(module))
    upwards = {name for name in imports()[module] if ROOMS.index(room(name)) < height}
    assert not upwards
    assert not within(imported(modules()[module]), "recipes")


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {module: set(names) for module, names in imports().items()}
    while free := [module for module, names in left.items() if not names]:
        for module in free:
            del left[module]
        for names in left.values():
            names.difference_update(free)
    assert not left


def test_no_public_class_name_stands_twice() -> None:
    paths = [*PACKAGE.rglob("*.py"), *STORE.rglob("*.py")]
    classes = [
        node.name
        for path in paths
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert [name for name in set(classes) if classes.count(name) > 1] == []


def test_the_package_outside_the_command_line_names_no_recipe() -> None:
    names = [path.stem for path in RECIPES.glob("*.py")]
    assert names
    recipe = re.compile(rf"\b({'|'.join(names)})(_[a-z0-9]+)*\b")
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name not in {"api", "cli"}:  # their examples do
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
        "import acoustic_kit.api.open_workspace",
        "import acoustic_kit.features, acoustic_kit.data, acoustic_kit.metrics, acoustic_kit.submission.submission",
    ],
)
def test_start_up_loads_nothing_heavy(code: str) -> None:
    report = f"{code}\nimport sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
