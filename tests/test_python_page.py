"""The page on Python runs as it is written, and the exports are typed and have examples."""

import ast
import inspect
import re
from pathlib import Path

import pytest
import typer

import acoustic_kit as akit
from acoustic_kit.cli import app

CHECKOUT = Path(__file__).parents[1]
EXPORTS = sorted(set(akit.__all__) - {"__version__"})


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), flags=re.M | re.S)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute features in this process."""
    for module in ("features", "predict", "runs", "training"):
        monkeypatch.setattr(f"acoustic_kit.api.{module}.worker_count", lambda _: 0)


@pytest.mark.usefixtures("one_process")
@pytest.mark.filterwarnings("ignore::acoustic_kit.AkitWarning")
def test_the_page_on_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in blocks(CHECKOUT / "docs" / "python.md"):
        exec(compile(code, "docs/python.md", "exec"), names)
    blend, run = names["blend"], names["run"]
    assert isinstance(blend, akit.FittedBlend)
    assert isinstance(run, akit.TrainedRun)
    assert blend.submission == tmp_path / "work" / "submissions" / "first.csv"
    assert run.oof.columns == ["id", "sound_00", "sound_01", "sound_02"]
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_exports_are_the_same_for_type_checkers() -> None:
    tree = ast.parse((CHECKOUT / "acoustic_kit" / "__init__.py").read_text("utf-8"))
    typed = {
        alias.name: node.module
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == akit._MODULES  # type: ignore[attr-defined]
    assert sorted(akit.__all__) == sorted({"__version__", *typed})


@pytest.mark.parametrize("name", EXPORTS)
def test_an_exported_name_has_an_example(name: str) -> None:
    assert ">>> " in (inspect.getdoc(getattr(akit, name)) or "")


def test_init_has_the_options_of_the_command() -> None:
    command = {option.name for option in typer.main.get_command(app).commands["init"].params}  # type: ignore[attr-defined]
    assert command - {"help"} == set(inspect.signature(akit.init).parameters) - {"progress"}
