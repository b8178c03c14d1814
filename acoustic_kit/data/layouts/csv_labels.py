"""Labels in a table: in the cells of one column, or as one column per class with its probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from acoustic_kit.data.dataset import CsvOptions, class_order, free_separator
from acoustic_kit.data.label_tables import UNKNOWN, LabelTable
from acoustic_kit.data.layouts.csv_columns import Columns, guess_separator, read_marks, separator_note, split_labels
from acoustic_kit.tables import quoted
from acoustic_kit.task import SUM_TOLERANCE

if TYPE_CHECKING:
    import numpy as np


class Target(NamedTuple):
    """What a row says about its clip."""

    labels: list[str]
    soft: list[dict[str, Any]] | None = None  # as in the manifest; an empty list: it has no other labels


class Labels(Protocol):
    """How a table labels its rows."""

    @property
    def classes(self) -> dict[str, int]:
        """Class name → the data set's own index, in class order."""

    @property
    def separator(self) -> str | None:
        """Text between several labels of a clip; None in a single-label task."""

    @property
    def note(self) -> str:
        """How the labels were read, for the user; empty if it is obvious."""

    def of(self, table: LabelTable, *, may_lack: bool = False) -> list[Target]:
        """Return what each row says. Raises DataError, which names the row; for missing labels unless `may_lack`."""


def guess_labels(train: LabelTable, columns: Columns, template: LabelTable | None, options: CsvOptions) -> Labels:
    """Return how a training table labels its rows. Raises DataError."""
    if columns.classes:
        return _ClassColumns.guess(train, columns.classes)
    return _LabelColumn.guess(train, columns, template, options)


@dataclass(frozen=True)
class _LabelColumn:
    column: str
    classes: dict[str, int]
    separator: str | None
    note: str

    @staticmethod
    def guess(train: LabelTable, columns: Columns, template: LabelTable | None, options: CsvOptions) -> _LabelColumn:
        assert columns.label is not None
        cells = [cell for cell in train.required_column(columns.label) if cell is not None]
        if columns.start is None:
            cells = train.required(columns.label)
        between = options.label_separator
        if between is None:
            between = guess_separator(cells, template.columns[1:] if template else [])
        classes = class_order(name for cell in set(cells) for name in split_labels(cell, between))
        note = separator_note(train, columns.label, between, given=options.label_separator is not None)
        return _LabelColumn(columns.label, classes, between or None, note)

    def of(self, table: LabelTable, *, may_lack: bool = False) -> list[Target]:
        cells = table.required_column(self.column) if may_lack else table.required(self.column)
        labels = [split_labels(cell or "", self.separator) for cell in cells]
        for row, names in enumerate(labels):
            if not names and not may_lack:
                table.fail(row, f"the column {self.column!r} contains no label.")
            if unknown := [name for name in names if name not in self.classes]:
                table.fail(row, f"no training clip has the label {unknown[0]!r}.")
        return [Target(names) for names in labels]


@dataclass(frozen=True)
class _ClassColumns:
    names: tuple[str, ...]
    classes: dict[str, int]
    separator: str | None
    note: str

    @staticmethod
    def guess(train: LabelTable, names: tuple[str, ...]) -> _ClassColumns:
        """Guess the task: single-label if the probabilities of every row sum to one."""
        import numpy as np

        targets = _probabilities(train, names)
        known = not np.isnan(targets).any()
        is_single = known and bool((np.abs(targets.sum(axis=1) - 1) <= SUM_TOLERANCE).all())
        is_soft = bool(((targets > 0) & (targets < 1)).any())
        note = (
            f"{train.path.name}: {len(names)} columns are classes ({', '.join(map(quoted, names[:3]))}, …), with "
            f"{'probabilities' if is_soft else 'a mark'} for {'one class' if is_single else 'several classes'} a clip"
            f"{'' if known else '; empty cells and -1 are unknown'} (--label-column 'A,B' or 'A*' for others)"
        )
        return _ClassColumns(names, class_order(names), None if is_single else free_separator(names), note)

    def of(self, table: LabelTable, *, may_lack: bool = False) -> list[Target]:
        import numpy as np

        from acoustic_kit.data.soft_targets import target_columns

        targets = _probabilities(table, self.names)
        is_empty = np.isnan(targets).all(axis=1) if may_lack else np.zeros(len(targets), bool)
        if self.separator is None:
            wrong = ~(np.abs(targets.sum(axis=1) - 1) <= SUM_TOLERANCE) & ~is_empty  # NaN is wrong too
            if wrong.any():
                table.fail(int(wrong.argmax()), f"the columns of the {len(self.names)} classes do not sum to 1.")
        labels, soft = target_columns(targets, self.names, "single" if self.separator is None else "multi")
        rows = zip(labels.to_list(), soft.to_list(), is_empty, strict=True)
        return [Target([]) if empty else Target(of_row, softly or []) for of_row, softly, empty in rows]


def _probabilities(table: LabelTable, names: tuple[str, ...]) -> np.ndarray:
    """Return the cells of the columns of classes, marks included: float64 (rows, classes), NaN if unknown."""
    return table.probabilities(names, read_marks, unknown=UNKNOWN)
