"""`--set key=value` and `--set @FILE` as Python values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoustic_kit.errors import UsageError
from acoustic_kit.files import read_regular

if TYPE_CHECKING:
    from acoustic_kit.recipe.recipe import Recipe


def parse_assignments(recipe: Recipe, assignments: Sequence[str]) -> dict[str, Any]:
    """Return values for `recipe.settings`, by name; the last one counts if a setting is assigned twice.

    `@FILE` stands for the assignments in a file, one per line; empty lines and `#` are skipped. Values are texts, which
    `recipe.settings` converts; those of lists and tuples, `1,2,3` or `[1, 2, 3]`, are lists of texts.

    Raises UsageError for a file that cannot be read or an assignment without `=`.
    """
    from acoustic_kit.recipe.settings import read_assignments

    found: list[tuple[str, str]] = []
    for assignment in assignments:
        found += (
            _read_file(Path(assignment[1:])) if assignment.startswith("@") else [(f"--set {assignment}", assignment)]
        )
    return read_assignments(found, recipe.fields)


def _read_file(path: Path) -> list[tuple[str, str]]:
    """Return the assignments in a file, each after its place."""
    try:
        lines = read_regular(path).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"--set @{path}: {path} cannot be read: {reason}.") from error
    return [
        (f"{path}, line {number}: {line[:40]!r}", line)
        for number, line in enumerate(map(str.strip, lines), start=1)
        if line and not line.startswith("#")
    ]
