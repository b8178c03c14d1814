"""Write, check and score submissions in the format of a competition's template.

A submission is a CSV whose first column is the id, followed by one label column (class names, or the data set's own
class indices; several labels of a cell in descending order) or by one probability column per class. The template
(``sample_submission.csv``) determines which, and the order of rows and columns. Rows are joined by id, never by
position. Files are untrusted: invalid content gives a message, never a traceback.

"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acoustic_kit.data.targets import scored_targets
from acoustic_kit.errors import SubmissionError
from acoustic_kit.files import replacing
from acoustic_kit.metrics import (
    MULTI_LABEL_THRESHOLD,
    all_scores,
    get_metric,
    top_k,
    validate_metric,
)
from acoustic_kit.submission.template import (
    SEPARATORS,
    Template,
    class_positions,
    default_template,
    id_problems,
    read_template,
    refuse,
    template_of,
)
from acoustic_kit.tables import Problem, Table, listed, parse_table, problems, quoted, read_table, repeated
from acoustic_kit.task import SUM_TOLERANCE, TaskSpec

__all__ = [
    "Problem",
    "Template",
    "check_submission",
    "default_template",
    "errors",
    "read_template",
    "require_writable",
    "score_submission",
    "write_submission",
]

if TYPE_CHECKING:
    import polars as pl


_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def require_writable(template: Template, task_spec: TaskSpec) -> None:
    """Raise SubmissionError if the labels of some predictions could not be written in the template's format."""
    names = template.printed(task_spec.classes)
    if template.form != "probabilities" and (task_spec.task == "multi" or _labels_a_cell(task_spec) > 1):
        template.require_joinable(names, task_spec.cell_separator)


def write_submission(
    path: Path,
    template: Template,
    ids: Sequence[str],
    probabilities: np.ndarray,
    task_spec: TaskSpec,
    *,
    check: Callable[[Path], None] = lambda _: None,
    follow: bool = False,
) -> None:
    """Write predictions atomically in the template's format.

    A label cell contains the most probable class; the best three, separated by a space, if the metric includes
    ``map3``. For several labels per clip it contains the classes of at least 0.5 (the best one if there is none), in
    descending order. Probabilities are written with all digits.

    Parameters
    ----------
    ids : ids of the predicted clips, in any order; they include all ids of the template, others are left out
    probabilities : float (clips, classes), finite, rows in the order of ``ids``
    check : called with the file before it replaces ``path``
    follow : see `replacing`

    Raises
    ------
    SubmissionError : for ids without prediction, and labels that contain the separator of a cell
    AkitError : if the file cannot be written
    ValueError : for arrays of other shapes
    UsageError : for a metric that does not fit the task

    """
    validate_metric(task_spec.metric, task_spec.task)
    classes, probabilities = task_spec.classes, np.asarray(probabilities)
    if probabilities.shape != (len(ids), len(classes)) or not np.isfinite(probabilities).all():
        raise ValueError(f"probabilities must be finite ({len(ids)}, {len(classes)}); they are {probabilities.shape}")
    position = {clip_id: row for row, clip_id in enumerate(ids)}
    if len(position) < len(ids):
        raise ValueError("an id is predicted twice")
    missing = [clip_id for clip_id in template.ids if clip_id not in position]
    if missing:
        raise SubmissionError(f"{len(missing)} of {len(template.ids)} ids have no prediction: {listed(missing)}")
    chosen = probabilities[[position[clip_id] for clip_id in template.ids]]
    if template.form == "probabilities":
        order = class_positions("the template", template.columns[1:], classes)
        cells = [
            [repr(p) for p in row] for row in chosen[:, order].astype(np.float64).tolist()
        ]  # exact, so that no two become equal
    else:
        require_writable(template, task_spec)
        ranked = _ranked_labels(template.printed(classes), chosen, task_spec)
        cells = [[template.join(labels, task_spec.cell_separator)] for labels in ranked]
    rows = [template.columns, *((clip_id, *row) for clip_id, row in zip(template.ids, cells, strict=True))]
    lines = (template.separator.join(_csv_cell(cell, template.separator) for cell in row) for row in rows)
    with replacing(path, follow=follow) as temporary:
        temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="")
        check(temporary)


def check_submission(
    path: Path,
    template: Template,
    task_spec: TaskSpec,
) -> list[Problem]:
    """Return all problems for which the competition could refuse a submission or score it as zero.

    Rows in another order are a harmless problem, as Kaggle joins them by id. If the header differs from the template's,
    the rows are not checked.

    Raises UsageError for a metric that does not fit the task; invalid content raises nothing.
    """
    validate_metric(task_spec.metric, task_spec.task)
    table = parse_table(path, template.separator)
    if isinstance(table, Problem):
        return [table]
    if table.header != list(template.columns):
        return [_header_problem(table.header, template.columns)]
    found = id_problems(table, template.ids)
    if template.form == "probabilities":
        return found + _probability_problems(table, task_spec.task)
    known = set(template.printed(task_spec.classes))
    cells = _split_cells(table, template, known, task_spec)
    return found + _label_problems(table, cells, known, most=_labels_a_cell(task_spec))


def errors(found: Sequence[Problem]) -> list[Problem]:
    """Return the problems for which a submission is refused, without the warnings."""
    return [problem for problem in found if not problem.harmless]


def score_submission(
    path: Path,
    truth: pl.DataFrame,
    task_spec: TaskSpec,
) -> dict[str, float]:
    """Score a submission with all metrics that its content allows, over the clips of ``truth``.

    Labels: metrics that need no probabilities, such as ``accuracy`` and ``f1``. The task's own metric, such as a
    weighted sum, is added, and undefined metrics are left out. Rows are joined by id; rows whose id is not in ``truth``
    are ignored.

    - ``truth``: columns ``id``, ``label`` and, if there are unknown targets, ``soft``, as in a manifest

    Raises DataError for a file that cannot be read; SubmissionError for a missing or repeated id, an unknown label, a
    probability that is not a number, and truth that does not fit the classes or the task.
    """
    table = read_table(path, SEPARATORS)
    template = template_of(path, table, task_spec.classes)
    row_of = {clip_id: row for row, clip_id in enumerate(template.ids)}
    missing = [clip_id for clip_id in truth["id"] if clip_id not in row_of]
    if missing or not len(truth):
        raise SubmissionError(f"{path} lacks {len(missing)} of the {len(truth)} clips to score: {listed(missing)}")
    targets = _targets(truth, task_spec)
    kept = [row_of[clip_id] for clip_id in truth["id"]]
    table = Table(table.header, [table.rows[i] for i in kept], [table.lines[i] for i in kept])
    names = template.printed(task_spec.classes)
    if template.form == "probabilities":
        refuse(path, problems({"not a finite number": _not_numbers(table)}))
        order = np.argsort(class_positions(str(path), template.columns[1:], task_spec.classes))
        probabilities = np.array([row[1:] for row in table.rows], dtype=np.float64)[:, order]
        return all_scores(targets, probabilities, task_spec=task_spec)
    cells = _split_cells(table, template, set(names), task_spec)
    refuse(path, _label_problems(table, cells, set(names), len(names)))
    return all_scores(targets, ranked=_ranked(cells, names), task_spec=task_spec)


def _labels_a_cell(task_spec: TaskSpec) -> int:
    """Return how many labels a cell may hold."""
    return len(task_spec.names) if task_spec.task == "multi" else max(1, get_metric(task_spec.metric).n_labels)


def _ranked_labels(names: list[str], probabilities: np.ndarray, task_spec: TaskSpec) -> list[list[str]]:
    """Return the labels of each cell, best first."""
    ranked = top_k(probabilities, _labels_a_cell(task_spec)).tolist()
    if task_spec.task == "multi":
        above = (probabilities >= MULTI_LABEL_THRESHOLD).sum(axis=1).tolist()
        ranked = [row[: max(1, n)] for row, n in zip(ranked, above, strict=True)]
    return [[names[c] for c in row] for row in ranked]


def _split_cells(table: Table, template: Template, known: Container[str], task_spec: TaskSpec) -> list[list[str]]:
    """Return the labels of each row."""
    return [template.split(row[1], known, task_spec.cell_separator) for row in table.rows]


def _ranked(cells: list[list[str]], names: list[str]) -> np.ndarray:
    """Return labels as class positions, int (rows, k), padded with -1."""
    position = {name: c for c, name in enumerate(names)}
    ranked = np.full((len(cells), max(map(len, cells))), -1)
    for row, labels in enumerate(cells):
        ranked[row, : len(labels)] = [position[label] for label in labels]
    return ranked


def _targets(truth: pl.DataFrame, task_spec: TaskSpec) -> np.ndarray:
    """Return true labels as ``scored_targets`` does. Raises SubmissionError if they do not fit the task."""
    task = task_spec.task
    for clip_id, labels in truth.select("id", "label").iter_rows():
        if not task_spec.classes.keys() >= set(labels) or (task == "single" and len(labels) != 1):
            raise SubmissionError(
                f"the truth of {quoted(clip_id)} is {labels}: not {task}-label, or not among the classes"
            )
    return scored_targets(truth, task_spec.names, task)


def _header_problem(header: list[str], columns: Sequence[str]) -> Problem:
    missing, extra = [c for c in columns if c not in header], [c for c in header if c not in columns]
    if twice := repeated(header):
        return Problem(f"more than one column of a name: {listed(twice)}", (1,))
    if not missing and not extra:
        return Problem("the columns are in another order than in the template", (1,))
    parts = [f"{what}: {listed(names)}" for what, names in (("missing", missing), ("not expected", extra)) if names]
    return Problem(f"the columns are not the template's; {'; '.join(parts)}", (1,))


def _label_problems(table: Table, cells: list[list[str]], known: Container[str], most: int) -> list[Problem]:
    empty, unknown, many, repeated = [], [], [], []
    for row, line, labels in zip(table.rows, table.lines, cells, strict=True):
        offender = (line, quoted(row[1]))
        if not row[1].strip():
            empty.append(offender)
        elif any(label not in known for label in labels):
            unknown.append(offender)
        elif len(labels) > most:
            many.append(offender)
        elif len(set(labels)) < len(labels):
            repeated.append(offender)
    more = f"more than {most} label{'s' if most > 1 else ''}"
    return problems({"no label": empty, "unknown label": unknown, more: many, "a label twice": repeated})


def _not_numbers(table: Table) -> list[tuple[int, str]]:
    """Return line and first offending cell of each row with a probability that is not a finite number."""
    found = []
    for row, line in zip(table.rows, table.lines, strict=True):
        for column, cell in zip(table.header[1:], row[1:], strict=True):
            if not _NUMBER.fullmatch(cell) or math.isinf(float(cell)):
                found.append((line, f"{quoted(cell)} in column {quoted(column)}"))
                break
    return found


def _probability_problems(table: Table, task: str) -> list[Problem]:
    not_numbers = _not_numbers(table)
    skipped = {line for line, _ in not_numbers}
    outside, sums = [], []
    for row, line in zip(table.rows, table.lines, strict=True):
        if line in skipped:
            continue
        values = [float(cell) for cell in row[1:]]
        if min(values) < 0 or max(values) > 1:
            outside.append((line, quoted(row[0])))
        elif task == "single" and abs(sum(values) - 1) > SUM_TOLERANCE:
            sums.append((line, f"{quoted(row[0])} with {sum(values):.4g}"))
    return problems(
        {
            "a probability that is not a finite number": not_numbers,
            "a probability outside 0 … 1": outside,
            "probabilities that do not sum to one": sums,
        }
    )


def _csv_cell(text: str, separator: str) -> str:
    """Quote a cell if necessary; before Python 3.13, ``csv.writer`` does not quote a lone carriage return."""
    return '"' + text.replace('"', '""') + '"' if re.search(f'[{separator}"\r\n]', text) else text
