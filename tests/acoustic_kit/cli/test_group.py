"""The root group: global options before and after the command, and commands by stage."""

import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from acoustic_kit.cli import app
from acoustic_kit.cli.group import STAGES, hoist_options
from acoustic_kit.workspace.workspace import Workspace

GROUP = typer.main.get_command(app)


@pytest.mark.parametrize(
    ("arguments", "hoisted"),
    [
        ("runs list -C work", "-C work runs list"),
        ("runs -Cwork list --debug", "-Cwork --debug runs list"),
        ("-C a runs list -C b", "-C a -C b runs list"),
        ("recipe run x --set C=2 --offline --seed 1", "--offline recipe run x --set C=2 --seed 1"),
        ("submission note first --public -1 -C work", "-C work submission note first --public -1"),
        ("submit x.csv -m --debug", "submit x.csv -m --debug"),
        ("recipe run x --note=--offline", "recipe run x --note=--offline"),
        ("recipe run x --note --offline", "recipe run x --note --offline"),
        ("recipe run -- --offline -C", "recipe run -- --offline -C"),
        ("runs list --help", "runs list --help"),
        ("runs list --nothing --offline", "--offline runs list --nothing"),
        ("runs rm -", "runs rm -"),
    ],
)
def test_global_options_are_moved_before_the_command(arguments: str, hoisted: str) -> None:
    assert hoist_options(GROUP, arguments.split()) == hoisted.split()


def test_global_options_after_the_command(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    result = CliRunner().invoke(app, ["runs", "list", "--offline", "-C", str(workspace.root), "--json"])
    assert (result.exit_code, result.stdout.strip()) == (0, "[]")
    assert os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("arguments", [["runs", "list", "-C", "nowhere"], ["runs", "list", "-C"]])
def test_wrong_global_options_are_misuse(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "-C" in result.stderr


def test_help_groups_all_commands_by_stage() -> None:
    assert sorted(name for names in STAGES.values() for name in names) == sorted(GROUP.commands)  # type: ignore[attr-defined]
    text = CliRunner().invoke(app, ["--help"]).stdout
    places = [text.index(f"\n{stage}:\n") for stage in STAGES]
    assert places == sorted(places)
    assert places[2] < text.index("\n  recipe ") < places[3]
