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
    from acoustic_kit.recipe.settings import is_sequence

    texts: dict[str, str] = {}
    for assignment in assignments:
        if assignment.startswith("@"):
            texts |= _read_file(Path(assignment[1:]))
            continue
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment}: write it as key=value.")
        texts[key] = text
    sequences = {name for name, field in recipe.fields.items() if is_sequence(field)}
    return {key: _split(text) if key in sequences else text for key, text in texts.items()}


def _read_file(path: Path) -> dict[str, str]:
    try:
        lines = read_regular(path).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"--set @{path}: {path} cannot be read: {reason}.") from error
    found: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line and not line.startswith("#"):
            key, equals, text = line.partition("=")
            if not equals:
                raise UsageError(f"{path}, line {number}: {line[:40]!r}: write it as key=value.")
            found[key] = text
    return found


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.strip("[]() ").split(",") if part.strip()]
