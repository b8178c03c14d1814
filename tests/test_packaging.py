"""`pip install .` gives a working `akit` outside the checkout, recipes included."""

import json
import site
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", folder, CHECKOUT]
    subprocess.run(command, check=True)
    return next(folder.glob("acoustic_kit-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a new environment with the wheel, and only it, installed; the dependencies are ours, read-only."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "dependencies.pth").write_text(site.getsitepackages()[0] + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--ignore-installed", "-q", wheel], check=True)
    return folder / "bin"


def test_the_wheel_holds_the_packages_and_the_recipes(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for recipe in (CHECKOUT / "recipes").glob("*.py"):
        assert f"acoustic_kit/_recipes/{recipe.name}" in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"acoustic_kit", "acoustic_store"}
    assert {"acoustic_kit/recipe/recipe_template.txt", "acoustic_kit/recipe/recipe_template_torch.txt"} <= set(names)
    assert {"acoustic_kit/py.typed", "acoustic_store/py.typed"} <= set(names)


@pytest.mark.slow
def test_the_installed_command_works_outside_the_checkout(installed: Path, synthetic: Path, tmp_path: Path) -> None:
    def akit(*arguments: str) -> str:
        command = [installed / "akit", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    where = "import acoustic_kit, acoustic_store; print(acoustic_kit.__file__, acoustic_store.__file__)"
    code = [installed / "python", "-c", where]
    assert str(CHECKOUT) not in subprocess.run(code, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    (recipe,) = [r for r in json.loads(akit("recipe", "list", "--json")) if r["name"] == "stats_pca_linear"]
    assert "_recipes" in recipe["path"]
    akit("init", "work", "--data", str(synthetic), "--test-folds", "5")
    akit("-C", "work", "recipe", "run", "stats_pca_linear", "--workers", "0")
    akit("-C", "work", "recipe", "new", "mine")
    akit("-C", "work", "blend", "--name", "first")
    assert (tmp_path / "work" / "submissions" / "first.csv").exists()


def test_dependencies_are_ranges_and_exact_in_constraints() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    lines = (CHECKOUT / "constraints.txt").read_text().split()
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    for requirement in project["project"]["dependencies"] + project["dependency-groups"]["dev"]:
        name, _, version = requirement.partition(">=")
        assert version, requirement
        assert name.partition("[")[0].lower() in pinned
