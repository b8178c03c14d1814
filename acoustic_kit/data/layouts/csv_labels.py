"""Labels in a table: in the cells of one column, or as one column per class with its probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from acoustic_kit.data.dataset import CsvOptions, class_order, free_separator
from acoustic_kit.data.label_tables import LabelTable
from acoustic_kit.data.layouts.csv_columns import Columns, guess_separator, read_marks, separator_note, split_labels
from acoustic_kit.tables import quoted

if TYPE_CHECKING:
    import numpy as np

_UNKNOWN = -1.0  # in a column of a class, as in SONYC; an empty cell too
_SUM_ERROR = 1e-3  # of the probabilities of a single-label clip


class Target(NamedTuple):
    """What a row says about its clip."""

    labels: list[str]
    soft: list[dict[str, Any]] | None = None  # as in the manifest


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
        is_single = known and bool((np.abs(targets.sum(axis=1) - 1) <= _SUM_ERROR).all())
        is_soft = bool(((targets > 0) & (targets < 1)).any())
        note = (
            f"{train.path.name}: {len(names)} columns are classes ({', '.join(map(quoted, names[:3]))}, …), with "
            f"{'probabilities' if is_soft else 'a mark'} for {'one class' if is_single else 'several classes'} a clip"
            f"{'' if known else '; empty cells and -1 are unknown'} (--label-column 'A,B' or 'A*' for others)"
        )
        return _ClassColumns(names, class_order(names), None if is_single else free_separator(names), note)

    def of(self, table: LabelTable, *, may_lack: bool = False) -> list[Target]:
        import numpy as np

        targets = _probabilities(table, self.names)
        found = []
        for row, of_row in enumerate(targets):
            unknown = np.isnan(of_row)
            if may_lack and unknown.all():
                found.append(Target([]))
                continue
            soft = [
                {"label": self.names[i], "target": None if unknown[i] else float(of_row[i])}
                for i in np.flatnonzero(unknown | ((of_row > 0) & (of_row < 1)))
            ]
            if self.separator is None:
                if unknown.any() or abs(of_row.sum() - 1) > _SUM_ERROR:
                    table.fail(row, f"the columns of the {len(self.names)} classes do not sum to 1.")
                labels = [self.names[int(of_row.argmax())]]
            else:
                labels = [self.names[i] for i in np.flatnonzero(of_row >= 0.5)]
            found.append(Target(labels, soft or None))
        return found


def _probabilities(table: LabelTable, names: tuple[str, ...]) -> np.ndarray:
    """Return the cells of the columns of classes: float64 (rows, classes) in [0, 1], NaN if unknown."""
    import numpy as np

    columns = []
    for name in names:
        table.required_column(name)
        cells = table.cells[name]
        numbers = read_marks(cells)
        unknown = cells.is_null() | (numbers == _UNKNOWN).fill_null(False)
        wrong = ~unknown & ~numbers.is_between(0, 1).fill_null(False)
        if wrong.any():
            row = int(wrong.arg_max() or 0)
            table.fail(row, f"{name} {quoted(cells[row])} is no probability from 0 to 1; unknown: empty or -1.")
        columns.append(numbers.zip_with(~unknown, numbers.clear(len(numbers))).to_numpy())
    return np.stack(columns, axis=1)
