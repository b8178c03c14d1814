"""The documentation says what is so: every command is in it as its help prints it, and its links and examples work."""

import importlib.util
import re
from pathlib import Path

import pytest

from acoustic_kit.data import LAYOUTS
from acoustic_kit.features import FEATURES, Stats
from acoustic_kit.metrics import METRICS

CHECKOUT = Path(__file__).parents[1]
PAGES = [*sorted(CHECKOUT.glob("*.md")), *sorted((CHECKOUT / "docs").glob("*.md"))]


def test_the_commands_page_is_what_help_prints() -> None:
    path = CHECKOUT / "docs" / "generate_commands.py"
    spec = importlib.util.spec_from_file_location("generate_commands", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text("utf-8") == module.page(), f"run python {path.relative_to(CHECKOUT)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_every_page_is_reached_from_the_readme() -> None:
    readme = (CHECKOUT / "README.md").read_text("utf-8")
    assert not [page.name for page in (CHECKOUT / "docs").glob("*.md") if f"docs/{page.name}" not in readme]


def test_features_layouts_and_metrics_are_documented() -> None:
    features = (CHECKOUT / "docs" / "features.md").read_text("utf-8")
    blending = (CHECKOUT / "docs" / "blending.md").read_text("utf-8")
    assert not [name for name in FEATURES if f"| `{name}` |" not in features]
    data = (CHECKOUT / "docs" / "data.md").read_text("utf-8")
    assert not [name for name in LAYOUTS if f"| `{name}` |" not in data]
    assert not [name for name in METRICS if f"`{name}`" not in blending]
    assert f"{len(Stats().columns()):,} spectral statistics" in (CHECKOUT / "README.md").read_text("utf-8")


def test_nothing_names_a_registry_or_a_place_on_a_machine() -> None:
    forbidden = re.compile(r"files\.pythonhosted|pypi\.org|/simple/|--index-url|/home/|/root/")
    names = [path for pattern in ("*.txt", "*.toml", "Makefile", "*.md", ".ci/run") for path in CHECKOUT.glob(pattern)]
    for path in [*names, *PAGES]:
        assert not forbidden.search(path.read_text("utf-8")), path
