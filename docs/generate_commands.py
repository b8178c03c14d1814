"""Write docs/commands.md from the help of the commands. A test compares the two."""

import sys
from pathlib import Path

import typer
from typer.testing import CliRunner

from acoustic_kit.cli import app

PAGE = Path(__file__).parent / "commands.md"
HEAD = """# Commands

Every command works in the nearest workspace from the current folder upwards, or in `-C DIR`. The global options `-C`,
`--offline` and `--debug` are accepted before and after the command. Results go to stdout, progress bars and messages to
stderr; `AKIT_PROGRESS=0` in the environment switches the bars off. Exit codes: 0 done, 1 failed, 2 wrong usage,
130 interrupted.

"""


def page() -> str:
    """Return the text of the page."""
    sections = [_section([])]
    group = typer.main.get_command(app)
    for name in group.list_commands(None):  # type: ignore[attr-defined, arg-type]
        command = group.commands[name]  # type: ignore[attr-defined]
        names = [[name, sub] for sub in command.commands] if hasattr(command, "commands") else [[name]]
        sections += map(_section, names)
    return HEAD + "\n".join(sections)


def _section(names: list[str]) -> str:
    text = CliRunner().invoke(app, [*names, "--help"], prog_name="akit", env={"COLUMNS": "110", "TERM": "dumb"}).stdout
    return f"## akit {' '.join(names)}".rstrip() + f"\n\n```text\n{text.strip()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    sys.stdout.write(f"Wrote {PAGE}\n")
