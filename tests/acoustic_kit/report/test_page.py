"""The page: one file without external resources, in which data is escaped."""

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from acoustic_kit.cli import app
from acoustic_kit.report import build_report, render, write_report

VOID = {"meta", "link", "img", "br", "input", "hr", "line", "rect", "circle", "polyline", "polygon"}


class Elements(HTMLParser):
    """Elements of a page, their attributes and text, and whether they are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def page(competition: Any) -> str:
    for name, skill in (("good-1", 4), ("good-2", 2)):
        competition.log(competition.run(name, skill))
    competition.run("all", oof=False, full=True, folds=["full"])
    return render(build_report(competition.workspace))


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    for tag, attributes in Elements(page).found:
        for name in ("src", "href", "xlink:href", "data", "action", "poster", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
    assert "@import" not in page
    assert "url(" not in page


def test_the_policy_allows_this_script_and_this_style_only(page: str) -> None:
    (policy,) = (a["content"] for t, a in Elements(page).found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_every_element_is_closed_and_every_picture_has_words(page: str) -> None:
    elements = Elements(page)
    assert elements.open == []
    for tag, attributes in elements.found:
        if tag == "img":
            assert attributes["alt"]
        if tag in {"svg", "audio"}:
            assert attributes["aria-label"]
    levels = [int(tag[1]) for tag, _ in elements.found if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] for t, a in elements.found if t == "a"]
    assert {link[1:] for link in links if link} <= set(ids)


def test_data_is_text_whatever_it_says(hostile: Any) -> None:
    page = render(build_report(hostile.workspace))
    elements = Elements(page)
    assert elements.open == []
    assert page.count("<script") == page.count("<style") == 1
    tags = {tag for tag, _ in elements.found}
    assert not tags & {"b", "i", "iframe", "object", "foreignobject"}
    assert not [
        a for t, a in elements.found if t == "img" and not (a["src"] or "").startswith("data:image/png;base64,")
    ]
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    words = "".join(elements.words)
    for name in hostile.classes:
        assert name in words
    assert "{{ 7 * 7 }}" in words


@pytest.mark.parametrize("n_classes", [2, 20, 70])
def test_any_number_of_classes(make_competition: Callable, n_classes: int) -> None:
    competition = make_competition([f"class {i}" for i in range(n_classes)], 6 * n_classes)
    competition.run("a", 1)
    competition.run("b", 1)
    page = render(build_report(competition.workspace))
    assert ("of 70 classes with the most mistakes" in page) == (n_classes == 70)
    assert "Correlation of errors" in page


def test_a_run_that_is_never_wrong(competition: Any) -> None:
    competition.run("a", 99)
    page = render(build_report(competition.workspace))
    assert "every clip is predicted correctly" in page
    assert "1.0000" in page


def test_multi_label_tasks_have_no_confusion_matrix(make_competition: Callable) -> None:
    competition = make_competition(task="multi")
    competition.run("a", 2)
    page = render(build_report(competition.workspace))
    assert "Confusion matrix" not in page
    assert "Average precision" in page


def test_the_page_is_written_where_it_is_asked_for(competition: Any, tmp_path: Path) -> None:
    competition.run("a")
    assert write_report(competition.workspace) == competition.workspace.root / "reports" / "report.html"
    path = write_report(competition.workspace, path=tmp_path / "new" / "x.html")
    assert path.read_text("utf-8").startswith("<!doctype html>")


def test_the_command_says_where_the_page_is_and_opens_it(
    competition: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    competition.run("good-1")
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.chdir(tmp_path)
    work = str(competition.workspace.root)
    done = CliRunner().invoke(app, ["-C", work, "report"])
    assert done.exit_code == 0
    assert done.stderr.startswith("Wrote work/reports/report.html (")
    assert done.stdout == ""
    assert opened == []
    done = CliRunner().invoke(app, ["-C", work, "report", "good", "--out", "mine.html", "--open"])
    assert done.exit_code == 0
    assert opened == [(tmp_path / "mine.html").as_uri()]
    assert CliRunner().invoke(app, ["-C", work, "report", "nobody"]).exit_code == 2
