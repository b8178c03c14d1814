"""Scores of predictions by a table of labels: an id, and a column of labels or one column per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.data.dataset import class_order
from acoustic_kit.data.label_tables import LabelTable, column_list, read_label_table
from acoustic_kit.data.layouts.csv_columns import ID_NAMES, LABEL_NAMES, choose, guess_separator, split_labels
from acoustic_kit.data.schema import clip_schema
from acoustic_kit.data.soft_targets import target_columns
from acoustic_kit.errors import DataError, SubmissionError, UsageError
from acoustic_kit.metrics import MULTI_LABEL_THRESHOLD, get_metric, validate_metric
from acoustic_kit.submission.submission import score_submission
from acoustic_kit.submission.template import BETWEEN, SEPARATORS
from acoustic_kit.tables import Table, listed, read_table
from acoustic_kit.task import SUM_TOLERANCE, TaskSpec

if TYPE_CHECKING:
    import polars as pl


def score_by_table(path: Path, truth: Path, task_spec: TaskSpec | None = None, *, metric: str = "") -> dict[str, float]:
    """Score predictions by a table of labels, with all metrics that both allow.

    Parameters
    ----------
    path : predictions: a CSV of ids, then one column of probabilities per class, or a column of labels
    truth : a CSV of ids, then one column per class (1, 0, or empty if unknown; of probabilities, at least 0.5 is 1), or
        a column of labels
    task_spec : classes, task and metric; None: the classes of the files. Then a clip has one label if each clip in
        `truth` has one, and the probabilities of each row sum to one
    metric : to score by, without `task_spec`

    Raises UsageError for a missing file, or a metric that does not fit; AkitError for a file that cannot be read, ids
    or classes that only one of the files has, and as `score_submission` does.

    """
    for file in (path, truth):
        if not file.is_file():
            raise UsageError(f"There is no file {file}.")
    predicted = read_table(path, SEPARATORS)
    header = predicted.header
    columns = {name: index for index, name in enumerate(header[1:])} if len(header) > 2 else {}
    labeled = read_truth(truth, header, columns if task_spec is None else task_spec.classes)
    _require_same_ids(path, [row[0] for row in predicted.rows], truth, labeled["id"].to_list())
    if task_spec is None:
        task_spec = _task_of(predicted, labeled, columns, metric)
        validate_metric(task_spec.metric, task_spec.task)
    return score_submission(path, labeled, task_spec)


def read_truth(path: Path, header: Sequence[str], classes: Mapping[str, int]) -> pl.DataFrame:
    """Read a table of labels.

    Parameters
    ----------
    header : column names of the predictions: that of the id, and of a single label column, are looked for first
    classes : class name → the data set's own index; empty if they are not known

    Returns `id`, `label` and `soft`, as in a manifest: unknown classes are soft targets without a value.

    Raises DataError for a file that cannot be read, and columns that are missing or cannot be told apart.

    """
    import polars as pl

    table = read_label_table(path)
    id_name = header[0] if header[0] in table.columns else choose(table, None, ID_NAMES) or table.columns[0]
    others = [name for name in table.columns if name != id_name]
    hints = header[1:] if len(header) == 2 else []
    label = choose(table, None, [*hints, *LABEL_NAMES], but=(id_name,)) or (others[0] if len(others) == 1 else None)
    if (columns := _class_columns(table, others, classes, label)) is not None:
        labels, soft = _read_classes(table, columns)
    elif label is not None:
        labels, soft = _read_labels(table, label, classes), None
    else:
        raise DataError(f"{path}: which column contains the labels? It has {column_list(others)}. Call it 'label'.")
    found = {"id": table.ids(id_name), "label": labels, "soft": soft}
    return pl.DataFrame(found, schema={name: clip_schema()[name] for name in found})


def _class_columns(
    table: LabelTable, columns: Sequence[str], classes: Mapping[str, int], label: str | None
) -> dict[str, str] | None:
    """Return column → class if there is one column per class; None if there is a column of labels."""
    if not classes:
        return None if label is not None else dict(zip(columns, columns, strict=True))
    spellings = [dict(zip(classes, classes, strict=True)), {str(index): name for name, index in classes.items()}]
    best = max(spellings, key=lambda spelling: len(spelling.keys() & set(columns)))
    missing = [name for name in best if name not in columns]
    if not missing:
        return best
    if label is not None or len(missing) == len(best):
        return None
    raise DataError(f"{table.path} lacks the columns of {len(missing)} of {len(best)} classes: {listed(missing)}.")


def _read_classes(
    table: LabelTable, columns: Mapping[str, str]
) -> tuple[list[list[str]], list[list[dict[str, object]] | None]]:
    """Return the labels of each clip, and its unknown classes as soft targets without a value."""
    import numpy as np

    values = table.probabilities(list(columns), problem="{cell} in column {column!r} is not 0 to 1.")
    marks = np.where(np.isnan(values), np.nan, values >= MULTI_LABEL_THRESHOLD)
    labels, soft = target_columns(marks, list(columns.values()), "multi")
    return labels.to_list(), soft.to_list()


def _read_labels(table: LabelTable, column: str, classes: Mapping[str, int]) -> list[list[str]]:
    """Return the labels of each clip: none for an empty cell."""
    cells = [cell or "" for cell in table.required_column(column)]
    separator = guess_separator([cell for cell in cells if cell], ())
    if classes:
        ways = [mark.strip() or mark for mark in BETWEEN]
        fitting = (m for m in (None, *ways) if all(classes.keys() >= set(split_labels(cell, m)) for cell in cells))
        separator = next(fitting, separator)
    return [split_labels(cell, separator) for cell in cells]


def _require_same_ids(path: Path, predicted: Sequence[str], truth: Path, known: Sequence[str]) -> None:
    missing, extra = sorted(set(known) - set(predicted)), sorted(set(predicted) - set(known))
    if missing:
        raise SubmissionError(f"{path} lacks {len(missing)} of the {len(known)} ids of {truth}: {listed(missing)}.")
    if extra:
        raise SubmissionError(f"{truth} lacks {len(extra)} of the {len(predicted)} ids of {path}: {listed(extra)}.")


def _task_of(predicted: Table, labeled: pl.DataFrame, columns: Mapping[str, int], metric: str) -> TaskSpec:
    """Return the task of predictions: with the classes of their columns, else the labels of both files."""
    is_single = bool((labeled["label"].list.len() == 1).all()) and labeled["soft"].null_count() == len(labeled)
    if columns:
        is_single = is_single and _sum_to_one(predicted)
    known = set(labeled["label"].explode().drop_nulls())
    cells = {row[1].strip() for row in predicted.rows} - known if not columns else set()
    others = {cell for cell in cells if cell and known.isdisjoint(_parts(cell))}  # classes that are only predicted
    classes = columns or class_order(known | others)
    if is_single and "single" in (get_metric(metric).tasks if metric else ("single",)):
        return TaskSpec(classes, metric or "accuracy", "single")
    return TaskSpec(classes, metric or "map", "multi")


def _parts(cell: str) -> set[str]:
    """Return all that may be a label in a cell."""
    return {part for mark in BETWEEN for part in cell.split(mark)}


def _sum_to_one(predicted: Table) -> bool:
    try:
        return all(abs(sum(map(float, row[1:])) - 1) <= SUM_TOLERANCE for row in predicted.rows)
    except ValueError:  # `score_submission` names the cell
        return False
