"""Secondary labels: sounds that a recording also contains, as labels, soft targets or unknown classes."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from acoustic_kit.data.dataset import CsvOptions, Dataset, free_separator
from acoustic_kit.data.label_tables import column_list
from acoustic_kit.data.schema import clip_schema
from acoustic_kit.errors import DataError, UsageError
from acoustic_kit.tables import quoted

if TYPE_CHECKING:
    import polars as pl

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


def with_secondary(dataset: Dataset, options: CsvOptions) -> Dataset:
    """Return the data set with its secondary labels as labels or soft targets, as `options.secondary` says.

    They make the task multi-label. Without the option it is what `dataset.secondary` says; without that, a note says
    that a column of them is not used.

    Raises
    ------
    UsageError : for an unknown option
    DataError : if the column is missing, or a cell is not a list of labels

    """
    import polars as pl

    column, clips = options.secondary_column or COLUMN, dataset.clips
    by_default = dataset.secondary if column in clips.columns else None
    if options.secondary is None and by_default is None:
        known = column in clips.columns and clips[column].dtype == pl.String
        n = sum(bool(cell) and re.search(r"\w", cell) is not None for cell in clips[column]) if known else 0
        hint = f"{n} clips have secondary labels in {quoted(column)}, which are not used (see {OPTION})"
        return replace(dataset, notes=(*dataset.notes, hint)) if n else dataset
    option = Secondary.parse(options.secondary or by_default or "")
    if column not in clips.columns:
        if not options.secondary_found:
            require_secondary(replace(dataset, lacks_secondary=True), options)
        note = f"{dataset.root} has no column {quoted(column)} of secondary labels"
        lacking = dataset if option.use == "ignore" else _of_several_labels(dataset)
        return replace(lacking, lacks_secondary=True, notes=(*dataset.notes, note))
    if option.use == "ignore":
        return dataset
    lists = _read_lists(clips, column)
    found = [
        option.targets(primary, others, dataset.classes)
        for primary, others in zip(clips["label"].to_list(), lists, strict=True)
    ]
    soft = [
        one if two is None else [*(one or []), *two]
        for one, (_, two) in zip(clips["soft"].to_list(), found, strict=True)
    ]
    clips = clips.with_columns(
        label=pl.Series([labels for labels, _ in found], dtype=clips.schema["label"]),
        soft=pl.Series(soft, dtype=clips.schema["soft"]),
    ).drop(column)  # which would be left to held-out clips
    notes = (*dataset.notes, _note(option, column, lists, dataset.classes))
    return replace(_of_several_labels(dataset), clips=clips, notes=notes)


def require_secondary(dataset: Dataset, options: CsvOptions) -> None:
    """Raise DataError if the data set lacks the column that `options.secondary` is about."""
    if dataset.lacks_secondary:
        column, has = quoted(options.secondary_column or COLUMN), _own(dataset.clips)
        raise DataError(f"{dataset.root} has no column {column} of secondary labels; it has {has}.")


def _of_several_labels(dataset: Dataset) -> Dataset:
    separator = dataset.label_separator or free_separator(dataset.classes)
    return replace(dataset, task="multi", label_separator=separator)


def _own(clips: pl.DataFrame) -> str:
    own = [name for name in clips.columns if name not in clip_schema()]
    return column_list(own) if own else "no columns of its own"


def _read_lists(clips: pl.DataFrame, column: str) -> list[list[str]]:
    """Return the secondary labels of each clip. Raises DataError that names the clip."""
    lists = []
    for path, cell in clips.select("path", column).iter_rows():
        try:
            lists.append(read_label_list(None if cell is None else str(cell)))
        except DataError as error:
            raise DataError(f"{path}: {column}: {error}") from error
    return lists


def _note(option: Secondary, column: str, lists: Sequence[Sequence[str]], classes: Collection[str]) -> str:
    what = {"positive": "labels", "soft": f"soft targets of {option.target:g}", "mask": "unknown targets"}[option.use]
    unknown = {name for names in lists for name in names if name not in classes}
    rest = f"; {len(unknown)} of their names are not classes and left out" if unknown else ""
    return f"secondary labels of {sum(map(bool, lists))} clips, in {quoted(column)}, are {what}{rest}"
