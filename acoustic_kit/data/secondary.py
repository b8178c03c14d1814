"""Secondary labels: sounds that a recording also contains, as labels, soft targets or unknown classes."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from acoustic_kit.errors import DataError, UsageError
from acoustic_kit.tables import quoted

OPTION = "--secondary"
COLUMN = "secondary_labels"  # the usual name
_ITEM = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")
_NAMES = re.compile(r"[,;|]")


@dataclass(frozen=True)
class Secondary:
    """What a clip's secondary labels become: the value of `--secondary`.

    >>> Secondary.parse("soft=0.3").targets(["wren"], ["robin"], classes)
    (['wren'], [{'label': 'robin', 'target': 0.3}])

    - `positive`: labels like the primary ones
    - `soft`: a soft target of `target`; a label too if this is at least 0.5
    - `mask`: unknown, so neither positive nor negative
    - `ignore`: not present
    """

    use: Literal["positive", "soft", "mask", "ignore"]
    target: float = 1.0  # of each secondary label, with `soft`

    @staticmethod
    def parse(option: str) -> Secondary:
        """Read `positive`, `soft=0.3`, `mask` or `ignore`. Raises UsageError for anything else."""
        use, equals, number = option.strip().partition("=")
        if use in {"positive", "mask", "ignore"} and not equals:
            return Secondary(use)  # type: ignore[arg-type]
        if use == "soft" and re.fullmatch(r"[0-9]*\.?[0-9]+", number) and 0 < float(number) < 1:
            return Secondary("soft", float(number))
        raise UsageError(
            f"{OPTION} {option}: use positive, soft=PROBABILITY (above 0 and below 1: soft=0.3), mask or ignore."
        )

    def targets(
        self, primary: Sequence[str], secondary: Sequence[str], classes: Collection[str]
    ) -> tuple[list[str], list[dict[str, Any]] | None]:
        """Return a clip's labels, and its soft targets in the form of the manifest's column `soft`, None without any.

        Secondary labels that are not classes, or that are primary labels too, are left out.
        """
        others = [name for name in dict.fromkeys(secondary) if name in classes and name not in primary]
        is_label = self.use == "positive" or (self.use == "soft" and self.target >= 0.5)
        soft = None
        if others and self.use in {"soft", "mask"}:
            soft = [{"label": name, "target": self.target if self.use == "soft" else None} for name in others]
        return [*primary, *(others if is_label else [])], soft


def read_label_list(cell: str | None) -> list[str]:
    """Return the labels of a cell, each once: of `['wren', 'robin']`, as Python and JSON print lists, or `wren;robin`.

    Raises DataError, which quotes the cell, for a list that does not end.
    """
    text = (cell or "").strip()
    if text.startswith("[") != text.endswith("]"):
        raise DataError(f"{quoted(text)} is not a list of labels such as ['a', 'b'].")
    if text.startswith("["):
        inner = text[1:-1]
        if "'" in inner or '"' in inner:
            if _ITEM.sub("", inner).strip(" ,\t\r\n"):
                raise DataError(f"{quoted(text)} is not a list of labels such as ['a', 'b'].")
            parts = [re.sub(r"\\(.)", r"\1", one or other) for one, other in _ITEM.findall(inner)]
        else:
            parts = inner.split(",")
    else:
        parts = _NAMES.split(text)
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))
