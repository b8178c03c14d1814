"""Format of a competition's submissions, inferred from its sample submission.

``classes``, throughout: class name → the data set's own index, in the class order of the workspace.
"""

import itertools
import re
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypedDict

from acoustic_kit.errors import SubmissionError
from acoustic_kit.metrics import get_metric
from acoustic_kit.tables import Problem, Table, listed, problems, quoted, read_table, repeated

SEPARATORS = ",\t;"  # possible separators of columns
BETWEEN = (" ", ",", ", ", ";", "; ", "|", " | ")  # possible separators of the labels in a cell
SAMPLED_CELLS = 1000  # cells from which their format is inferred

_INTEGERS = re.compile(r"-?\d+(?:[ ,;|]-?\d+)*", re.ASCII)  # one, or several of a multi-label or top-3 cell


class _CellForm(TypedDict):
    underscores: bool
    between: str | None
    quote: str


@dataclass(frozen=True)
class Template:
    """Format of a submission."""

    columns: tuple[str, ...]  # the first is the id
    ids: tuple[str, ...]  # in the order of the rows
    form: Literal["labels", "indices", "probabilities"]
    underscores: bool = False  # class names are printed with underscores for their spaces
    separator: str = ","  # between columns: comma, semicolon or tab
    # How several labels of a cell are written; not compared, as cells with one label do not show it.
    between: str | None = field(default=None, compare=False)  # their separator; None if unknown
    quote: str = field(default="", compare=False)  # around labels that contain blanks or `between`

    def printed(self, classes: Mapping[str, int]) -> list[str]:
        """Return the text that a cell contains for each class, in class order, without quotes.

        Raises SubmissionError if two classes have the same text.
        """
        if self.form == "indices":
            names = [str(index) for index in classes.values()]
        else:
            names = [name.replace(" ", "_") if self.underscores else name for name in classes]
        if len(set(names)) < len(names):
            raise SubmissionError("two classes have the same name or index in the template's format; they must differ")
        return names

    def require_joinable(self, names: Sequence[str], between: str) -> None:
        """Raise SubmissionError for names that cannot share a cell, as they contain the separator."""
        between = self.between or between
        torn = [name for name in names if (self.quote or between) in name]
        if torn:
            raise SubmissionError(
                f"{self.quote or between!r} separates the labels of a cell but is part of class {listed(torn)}; rename "
                "the classes, or set `template` in akit.toml to a file whose cells of several labels show another "
                "format: another separator, quotes, or underscores"
            )

    def join(self, names: Sequence[str], between: str) -> str:
        """Return the cell for some labels, separated as in the template, else by `between`."""
        between = self.between or between
        marked = (f"{self.quote}{n}{self.quote}" if " " in n or between in n else n for n in names)
        return between.join(names if len(names) == 1 else marked)

    def split(self, cell: str, known: Container[str], between: str) -> list[str]:
        """Return the labels of a cell."""
        return [cell] if cell in known else _split(cell, self.between or between, self.quote)


def read_template(path: Path, classes: Mapping[str, int]) -> Template:
    """Infer the format of submissions from a competition's ``sample_submission.csv``.

    A single column beside the id contains labels if its values are class names (several per cell are possible) or
    placeholders, and indices if the values are integers and the class names are not. Several columns contain
    probabilities and must be named exactly by the class names or exactly by the data set's own indices, in any order.
    Cells of several labels show their separator, and whether names have quotes or underscores.

    Blanks around a cell are ignored. Raises DataError for a file that cannot be read, SubmissionError for other columns
    and for an empty or repeated id.
    """
    table = read_table(path, SEPARATORS)
    header, *rows = ([cell.strip() for cell in row] for row in (table.header, *table.rows))
    return template_of(path, replace(table, header=header, rows=rows), classes)


def default_template(ids: Sequence[str], metric: str, classes: Mapping[str, int]) -> Template:
    """Return the format if there is no template: ``id,label``; if ``map`` counts, ``id`` and one column per class."""
    if get_metric(metric).needs_probabilities:
        return Template(("id", *classes), tuple(ids), "probabilities")
    return Template(("id", "label"), tuple(ids), "labels")


def template_of(path: Path, table: Table, classes: Mapping[str, int]) -> Template:
    """Infer the format from a table, see `read_template`."""
    if not table.rows:
        raise SubmissionError(f"{path} has no rows, so no ids")
    columns = tuple(table.header)
    if len(columns) < 2:
        raise SubmissionError(f"{path} has one column, {quoted(columns[0])}; an id and a label column are needed")
    if twice := repeated(columns):
        raise SubmissionError(f"{path} has more than one column of a name: {listed(twice)}")
    ids = dict.fromkeys(row[0] for row in table.rows)
    if "" in ids or len(ids) < len(table.rows):
        refuse(path, id_problems(table, [clip_id for clip_id in ids if clip_id]))
    if len(columns) > 2:
        class_positions(str(path), columns[1:], classes)
        return Template(columns, tuple(ids), "probabilities", separator=table.separator)
    values = {row[1] for row in table.rows}
    if all(_INTEGERS.fullmatch(value) for value in values) and not any(map(_INTEGERS.fullmatch, classes)):
        between = next((mark for mark in BETWEEN if any(mark in value for value in values)), None)
        return Template(columns, tuple(ids), "indices", separator=table.separator, between=between)
    return Template(columns, tuple(ids), "labels", separator=table.separator, **_cell_form(values, classes))


def _cell_form(values: Collection[str], classes: Mapping[str, int]) -> _CellForm:
    """Return how label cells are written: the format that explains most of the cells with several labels.

    A cell that is a class name counts as one label. Without cells of several labels, only underscores are inferred.
    """
    values = list(itertools.islice(values, SAMPLED_CELLS))
    best, most = _CellForm(underscores=_shows_underscores(values, classes), between=None, quote=""), 0
    for underscores in (False, True):
        known = {name.replace(" ", "_") if underscores else name for name in classes}
        for quote, between in itertools.product(("", '"', "'"), BETWEEN):
            cells = [_split(value, between, quote) for value in values if value not in known]
            explained = sum(len(labels) > 1 and known.issuperset(labels) for labels in cells)
            if explained > most:
                best, most = _CellForm(underscores=underscores, between=between, quote=quote), explained
    return best


def _shows_underscores(values: Collection[str], classes: Mapping[str, int]) -> bool:
    """Return whether class names have underscores for their spaces."""
    tokens = {token for value in values for token in (value, *re.split(r"[ ,;|]", value))}
    return not tokens.isdisjoint({name.replace(" ", "_") for name in classes} - set(classes))


def _split(cell: str, between: str, quote: str) -> list[str]:
    """Return the labels of a cell; labels in quotes may contain the separator."""
    if not quote:
        return cell.split(between)
    label = rf"{quote}([^{quote}]*){quote}|((?:(?!{re.escape(between)})[^{quote}])+)"
    if not re.fullmatch(rf"(?:{label})(?:{re.escape(between)}(?:{label}))*", cell):
        return [cell]
    return [quoted or bare for quoted, bare in re.findall(label, cell)]


def class_positions(
    where: str, columns: Sequence[str], classes: Mapping[str, int], *, underscores: bool = False
) -> list[int]:
    """Return the class position of each probability column, which is named by the class or by its own index.

    With `underscores`, names may have underscores for their spaces. Raises SubmissionError, whose message begins with
    `where`, for unknown and repeated columns.
    """
    if twice := repeated(columns):
        raise SubmissionError(f"{where} has more than one column of a name: {listed(twice)}")
    names = list(classes)
    spellings = [names, [str(index) for index in classes.values()]]
    spellings += [[name.replace(" ", "_") for name in names]] if underscores else []
    for printed in spellings:
        if sorted(columns) == sorted(printed):
            return [printed.index(column) for column in columns]
    missing = [name for name in classes if name not in columns]
    unknown = [column for column in columns if column not in classes]
    raise SubmissionError(
        f"{where}: {len(columns)} columns after the id are neither the {len(classes)} class names nor their indices: "
        f"missing: {listed(missing)}; unknown: {listed(unknown)}"
    )


def id_problems(table: Table, ids: Sequence[str]) -> list[Problem]:
    """Return the problems of a table's ids, given the expected ids."""
    expected, seen = set(ids), set[str]()
    unknown, repeated, moved = [], [], []
    for place, (row, line) in enumerate(zip(table.rows, table.lines, strict=True)):
        clip_id = row[0]
        if clip_id not in expected:
            unknown.append((line, quoted(clip_id)))
        elif clip_id in seen:
            repeated.append((line, quoted(clip_id)))
        elif place < len(ids) and clip_id != ids[place]:
            moved.append((line, quoted(clip_id)))
        seen.add(clip_id)
    found = problems({"unknown id": unknown, "repeated id": repeated})
    missing = [clip_id for clip_id in ids if clip_id not in seen]
    if missing:
        found.append(Problem(f"{len(missing)} of {len(ids)} ids are missing: {listed(missing)}"))
    return found or [
        replace(problem, harmless=True) for problem in problems({"id at another position than in the template": moved})
    ]


def refuse(path: Path, found: list[Problem]) -> None:
    """Raise SubmissionError for the first problem of a file, if there is one."""
    if found:
        raise SubmissionError(f"{path}: {found[0]}")
