"""Phrases that ``language.md`` replaced stay out of code, messages and pages; tests have short names."""

import ast
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PATHS = sorted(
    path
    for folder, pattern in (
        ("acoustic_kit", "*.py"),
        ("acoustic_kit", "*.txt"),
        ("store/acoustic_store", "*.py"),
        ("recipes", "*.py"),
        ("benchmarks", "*.py"),
        ("docs", "*.md"),
    )
    for path in (CHECKOUT / folder).rglob(pattern)
)
PATHS += [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md"]

# Phrase → what to write instead.
PLAINER = {
    r"\bhears?\b(?! of class)": "is called with",
    r"\bflatters?\b|\bflattering\b": "is optimistic, is biased upward",
    r"\b(?:can ?not|could not) be had\b|\bto be had\b": "cannot be downloaded, is missing",
    r"\b(?:is|are|was|were) not (?:t)?here\b": "is missing",
    r"\blies? (?:in|on|beside|below|behind|elsewhere|outside)\b": "is in, is stored in",
    r"\bbefalls?\b": "applies to",
    r"\bwhat (?:`{1,2}\w+`{1,2}|it) is worth\b": "say what it measures",
    r"\bway out\b": "what to do next, recovery",
    r"\bnobody listens\b|\btold of\b|\bis told to\b": "say who calls whom",
    r"\bopen_eyes\b|\bexact_products\b|\bHeldRun\b|\bStandIn\b|\btried_again\b": "the field's name",
}


@pytest.mark.parametrize("phrase", PLAINER)
def test_plain_english(phrase: str) -> None:
    pattern = re.compile(phrase, re.IGNORECASE)
    found = [
        f"{path.relative_to(CHECKOUT)}:{number}: {line.strip()}"
        for path in PATHS
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not found, f"write instead: {PLAINER[phrase]}"


def test_test_names_are_short() -> None:
    tests = [
        node.name
        for path in (CHECKOUT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert [name for name in tests if len(name) > 60] == []
